// JPEG through libjpeg-turbo. Errors arrive by longjmp; as in png.cc, functions that call setjmp hold plain
// values only.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs <cstdio> before it.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "formats/exif.h"
#include "formats/image_codecs.h"

namespace inkling {

namespace {

constexpr long kMaxMemory = 1L << 30;  // of the decoder itself: a progressive picture keeps all coefficients
constexpr long kMaxWarnings = 1000;

// A progressive file may hold 80,000 scans of a few bytes, each of which walks over the whole picture. Encoders
// use about 10. Large pictures get fewer, so that decoding stays near a second.
int max_scans(int64_t pixels) {
  return static_cast<int>(std::clamp<int64_t>(1'000'000'000 / std::max<int64_t>(1, pixels), 20, 100));
}

struct JpegError {
  jpeg_error_mgr manager;  // first: libjpeg hands out a pointer to it
  std::jmp_buf escape;
  char text[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void fail(j_common_ptr jpeg) {
  auto* error = reinterpret_cast<JpegError*>(jpeg->err);
  error->manager.format_message(jpeg, error->text);
  std::longjmp(error->escape, 1);
}

// level < 0: damaged data. Small damage is shown as decoded, but a file that ends early is refused.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  if (jpeg->err->msg_code == JWRN_JPEG_EOF || ++jpeg->err->num_warnings > kMaxWarnings) fail(jpeg);
}

void ignore_output(j_common_ptr) {}

jpeg_error_mgr* set_up(JpegError& error) {
  jpeg_std_error(&error.manager);
  error.manager.error_exit = fail;
  error.manager.emit_message = on_message;
  error.manager.output_message = ignore_output;
  return &error.manager;
}

class JpegReader {
 public:
  JpegReader() { jpeg_.err = set_up(error_); }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  const char* error() const { return error_.text; }
  const jpeg_decompress_struct& info() const { return jpeg_; }

  bool read_header(const unsigned char* data, unsigned long bytes) {
    if (setjmp(error_.escape)) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_.mem->max_memory_to_use = kMaxMemory;
    jpeg_save_markers(&jpeg_, JPEG_APP0 + 1, 0xffff);  // EXIF
    jpeg_save_markers(&jpeg_, JPEG_APP0 + 2, 0xffff);  // ICC
    jpeg_mem_src(&jpeg_, data, bytes);
    jpeg_read_header(&jpeg_, TRUE);
    return true;
  }

  bool read_pixels(unsigned char* pixels, size_t row_bytes, int scans) {
    if (setjmp(error_.escape)) return false;
    max_scans_ = scans;
    progress_.manager.progress_monitor = count_scans;
    progress_.reader = this;
    jpeg_.progress = &progress_.manager;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      unsigned char* row = pixels + jpeg_.output_scanline * row_bytes;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    return true;
  }

  // Chooses what the pixels become; false for colour spaces that we do not know.
  bool choose_output(Raster& raster) {
    switch (jpeg_.jpeg_color_space) {
      case JCS_GRAYSCALE:
        jpeg_.out_color_space = JCS_GRAYSCALE;
        raster.channels = 1;
        return true;
      case JCS_YCbCr:
      case JCS_RGB:
        jpeg_.out_color_space = JCS_RGB;
        raster.channels = 3;
        return true;
      case JCS_YCCK:
      case JCS_CMYK:
        jpeg_.out_color_space = JCS_CMYK;
        raster.channels = 4;
        raster.cmyk = true;
        raster.inverted_inks = jpeg_.saw_Adobe_marker != 0;
        return true;
      default: return false;
    }
  }

 private:
  struct Progress {
    jpeg_progress_mgr manager;  // first, as in JpegError
    JpegReader* reader;
  };

  static void count_scans(j_common_ptr jpeg) {
    const JpegReader* self = reinterpret_cast<Progress*>(jpeg->progress)->reader;
    if (self->jpeg_.input_scan_number <= self->max_scans_) return;
    auto* error = reinterpret_cast<JpegError*>(jpeg->err);
    std::strcpy(error->text, "too many progressive scans");
    std::longjmp(error->escape, 1);
  }

  JpegError error_;
  jpeg_decompress_struct jpeg_{};
  Progress progress_{};
  int max_scans_ = 0;
};

std::span<const std::byte> marker_bytes(const jpeg_marker_struct* m) {
  return {reinterpret_cast<const std::byte*>(m->data), m->data_length};
}

bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

int find_orientation(const jpeg_decompress_struct& jpeg) {
  for (const auto* m = jpeg.marker_list; m != nullptr; m = m->next)
    if (m->marker == JPEG_APP0 + 1 && starts_with(marker_bytes(m), std::string_view("Exif\0\0", 6)))
      return exif_orientation(marker_bytes(m));
  return 1;
}

// The profile is cut into numbered pieces, "ICC_PROFILE\0" number count data. Empty when any is missing.
std::vector<std::byte> find_icc(const jpeg_decompress_struct& jpeg) {
  constexpr std::string_view kLabel("ICC_PROFILE\0", 12);
  std::vector<std::span<const std::byte>> pieces;
  for (const auto* m = jpeg.marker_list; m != nullptr; m = m->next) {
    const auto bytes = marker_bytes(m);
    if (m->marker != JPEG_APP0 + 2 || bytes.size() < kLabel.size() + 2 || !starts_with(bytes, kLabel)) continue;
    const auto number = static_cast<size_t>(bytes[12]), count = static_cast<size_t>(bytes[13]);
    if (pieces.empty()) pieces.resize(count);
    if (count != pieces.size() || number < 1 || number > count || pieces[number - 1].data() != nullptr) return {};
    pieces[number - 1] = bytes.subspan(14);
  }
  std::vector<std::byte> icc;
  for (const auto& piece : pieces) {
    if (piece.data() == nullptr || icc.size() + piece.size() > kMaxIccBytes) return {};
    icc.insert(icc.end(), piece.begin(), piece.end());
  }
  return icc;
}

class JpegWriter {
 public:
  JpegWriter() { jpeg_.err = set_up(error_); }
  ~JpegWriter() {
    jpeg_destroy_compress(&jpeg_);
    std::free(data_);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  const char* error() const { return error_.text; }
  std::span<const std::byte> result() const { return {reinterpret_cast<const std::byte*>(data_), bytes_}; }

  // 1 or 3 channels.
  bool write(const Image& image, int quality) {
    constexpr int kFullColourFrom = 90;  // quality from which colour keeps its full resolution
    if (setjmp(error_.escape)) return false;
    jpeg_create_compress(&jpeg_);
    jpeg_mem_dest(&jpeg_, &data_, &bytes_);
    jpeg_.image_width = static_cast<JDIMENSION>(image.width);
    jpeg_.image_height = static_cast<JDIMENSION>(image.height);
    jpeg_.input_components = image.channels;
    jpeg_.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg_);
    jpeg_set_quality(&jpeg_, quality, TRUE);
    jpeg_.optimize_coding = TRUE;
    if (quality >= kFullColourFrom) jpeg_.comp_info[0].h_samp_factor = jpeg_.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&jpeg_, TRUE);
    while (jpeg_.next_scanline < jpeg_.image_height) {
      auto* row = const_cast<unsigned char*>(image.at(0, static_cast<int>(jpeg_.next_scanline)));
      jpeg_write_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_compress(&jpeg_);
    return true;
  }

 private:
  JpegError error_;
  jpeg_compress_struct jpeg_{};
  unsigned char* data_ = nullptr;  // of libjpeg, by malloc
  unsigned long bytes_ = 0;
};

}  // namespace

Raster decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) {
  JpegReader reader;
  if (!reader.read_header(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()))
    throw ArgumentError("{}: damaged or unsupported JPEG: {}", name, reader.error());
  const jpeg_decompress_struct& info = reader.info();
  check_picture_size(name, info.image_width, info.image_height, limits);
  if (info.data_precision != 8)
    throw ArgumentError("{}: JPEG with {} bits a channel is not supported; use 8", name, info.data_precision);
  Raster raster;
  raster.width = static_cast<int>(info.image_width);
  raster.height = static_cast<int>(info.image_height);
  if (!reader.choose_output(raster))
    throw ArgumentError("{}: JPEG with {} colour channels is not supported", name, info.num_components);
  raster.orientation = find_orientation(info);
  raster.icc = find_icc(info);
  raster.pixels.resize(raster.row_bytes() * static_cast<size_t>(raster.height));
  if (!reader.read_pixels(raster.pixels.data(), raster.row_bytes(), max_scans(int64_t{raster.width} * raster.height)))
    throw ArgumentError("{}: damaged or unsupported JPEG: {}", name, reader.error());
  return raster;
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  if (image.width < 1 || image.height < 1 || image.width > 65500 || image.height > 65500 ||
      (image.channels != 1 && image.channels != 3))
    throw ArgumentError("JPEG: cannot write {}x{} with {} channels", image.width, image.height, image.channels);
  JpegWriter writer;
  if (!writer.write(image, std::clamp(quality, 1, 100))) throw RuntimeError("JPEG encoder: {}", writer.error());
  return {writer.result().begin(), writer.result().end()};
}

}  // namespace inkling
