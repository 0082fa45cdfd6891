// PNG through libpng. libpng reports errors by longjmp, which must not skip a destructor: each function that
// calls setjmp holds plain C values only, and everything that owns memory lives in the class around it.
#include <png.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/color.h"
#include "formats/exif.h"
#include "formats/image_codecs.h"
#include "formats/png_chunks.h"
#include "formats/utf8.h"

namespace inkling {

namespace {

constexpr png_alloc_size_t kMaxChunkBytes = kMaxIccBytes;
constexpr int kMaxCachedChunks = 64;
constexpr int kCompression = 2;  // of 9: pictures are written while a user waits

// What went wrong, filled by the error callback.
struct PngError {
  char text[128] = "";
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  std::strncpy(error->text, message, sizeof(error->text) - 1);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> bytes) : left_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error_, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw MemoryError("PNG decoder: out of memory");
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  const char* error() const { return error_.text; }
  int width() const { return static_cast<int>(png_get_image_width(png_, info_)); }
  int height() const { return static_cast<int>(png_get_image_height(png_, info_)); }
  int channels() const { return png_get_channels(png_, info_); }

  // Reads all up to the first pixel and sets up the conversion to 8-bit grey or RGB, with or without alpha.
  bool read_header(png_uint_32 max_side) {
    // Texts are read elsewhere; dropping them here saves inflating them.
    static constexpr png_byte kSkipped[] = "tEXt\0zTXt\0iTXt\0sPLT\0hIST\0pCAL\0sCAL\0eXIf";
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, this, read_some);
    png_set_user_limits(png_, max_side, max_side);
    png_set_chunk_cache_max(png_, kMaxCachedChunks);
    png_set_chunk_malloc_max(png_, kMaxChunkBytes);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kSkipped, sizeof(kSkipped) / 5);
    png_read_info(png_, info_);
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_pixels(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    return true;
  }

  // The file's profile, or one made from its gamma; empty for sRGB.
  std::vector<std::byte> icc() const {
    png_charp label = nullptr;
    png_bytep data = nullptr;
    png_uint_32 bytes = 0;
    int method = 0, intent = 0;
    if (png_get_iCCP(png_, info_, &label, &method, &data, &bytes) != 0) {
      const auto* begin = reinterpret_cast<const std::byte*>(data);
      return {begin, begin + bytes};
    }
    double gamma = 0;
    if (png_get_sRGB(png_, info_, &intent) != 0 || png_get_gAMA(png_, info_, &gamma) == 0) return {};
    double p[8];
    const bool primaries = png_get_cHRM(png_, info_, &p[0], &p[1], &p[2], &p[3], &p[4], &p[5], &p[6], &p[7]) != 0;
    return gamma_profile(gamma, primaries ? p : nullptr, channels() <= 2);
  }

 private:
  static void read_some(png_structp png, png_bytep out, size_t count) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > self->left_.size()) png_error(png, "the file is cut short");
    std::memcpy(out, self->left_.data(), count);
    self->left_ = self->left_.subspan(count);
  }

  std::span<const std::byte> left_;
  PngError error_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

class PngWriter {
 public:
  PngWriter() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &error_, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_write_struct(&png_, nullptr);
      throw MemoryError("PNG encoder: out of memory");
    }
  }
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  const char* error() const { return error_.text; }
  std::vector<std::byte> take() { return std::move(out_); }

  bool write(const Image& image, png_textp texts, int text_count) {
    const int type = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                     : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                           : PNG_COLOR_TYPE_RGBA;
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_write_fn(png_, this, write_some, nullptr);
    png_set_user_limits(png_, 0x7fffffff, 0x7fffffff);
    png_set_compression_level(png_, kCompression);
    png_set_filter(png_, PNG_FILTER_TYPE_BASE, PNG_FILTER_UP);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8, type,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_sRGB(png_, info_, PNG_sRGB_INTENT_PERCEPTUAL);
    if (text_count > 0) png_set_text(png_, info_, texts, text_count);
    png_write_info(png_, info_);
    for (int y = 0; y < image.height; ++y) png_write_row(png_, image.at(0, y));
    png_write_end(png_, nullptr);
    return true;
  }

 private:
  static void write_some(png_structp png, png_bytep data, size_t count) {
    auto* self = static_cast<PngWriter*>(png_get_io_ptr(png));
    bool failed = false;
    try {
      const auto* begin = reinterpret_cast<const std::byte*>(data);
      self->out_.insert(self->out_.end(), begin, begin + count);
    } catch (const std::bad_alloc&) {
      failed = true;  // an exception must not pass through libpng
    }
    if (failed) png_error(png, "out of memory");
  }

  std::vector<std::byte> out_;
  PngError error_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

// A keyword that libpng would not have to mend: 1..79 Latin-1 characters, printable, no needless spaces.
std::string checked_keyword(const std::string& keyword) {
  std::string latin1 = utf8_to_latin1(keyword);
  const bool printable = std::ranges::all_of(latin1, [](unsigned char c) { return (c >= 32 && c < 127) || c >= 161; });
  if (latin1.empty() || latin1.size() > 79 || !printable || latin1.front() == ' ' || latin1.back() == ' ' ||
      latin1.find("  ") != std::string::npos)
    throw ArgumentError("PNG keyword \"{}\": 1 to 79 printable Latin-1 characters without needless spaces are allowed",
                        keyword);
  return latin1;
}

}  // namespace

Raster decode_png(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) {
  constexpr size_t kHeaderBytes = 8 + 8 + 13 + 4;  // signature and IHDR
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data() + 12, "IHDR", 4) != 0)
    throw ArgumentError("{}: the PNG header is damaged", name);
  check_picture_size(name, big_endian_u32(bytes.data() + 16), big_endian_u32(bytes.data() + 20), limits);

  Raster raster;
  walk_png(bytes, [&](const PngChunk& chunk) {
    if (chunk.type == "acTL" && chunk.data.size() == 8 && big_endian_u32(chunk.data.data()) > 1)
      throw ArgumentError("{}: animated PNG is not supported; use a still picture", name);
    if (chunk.type == "eXIf" && chunk.intact()) raster.orientation = exif_orientation(chunk.data);
    return true;
  });

  PngReader reader(bytes);
  if (!reader.read_header(static_cast<png_uint_32>(limits.max_side)))
    throw ArgumentError("{}: damaged PNG: {}", name, reader.error());
  raster.width = reader.width();
  raster.height = reader.height();
  raster.channels = reader.channels();
  raster.pixels.resize(raster.row_bytes() * static_cast<size_t>(raster.height));
  std::vector<png_bytep> rows(static_cast<size_t>(raster.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = &raster.pixels[y * raster.row_bytes()];
  if (!reader.read_pixels(rows.data())) throw ArgumentError("{}: damaged PNG: {}", name, reader.error());
  raster.icc = reader.icc();
  return raster;
}

std::vector<std::byte> encode_png(const Image& image, const std::map<std::string, std::string>& text) {
  constexpr size_t kCompressFrom = 1024;  // bytes; shorter texts stay readable in the file
  if (image.width < 1 || image.height < 1 || (image.channels != 1 && image.channels != 3 && image.channels != 4))
    throw ArgumentError("PNG: cannot write {}x{} with {} channels", image.width, image.height, image.channels);
  std::vector<std::string> keywords, values;
  keywords.reserve(text.size());
  values.reserve(text.size());
  std::vector<png_text> chunks;
  static char no_language[] = "";
  for (const auto& [keyword, value] : text) {
    if (!is_utf8(value) || value.find('\0') != std::string::npos)
      throw ArgumentError("PNG text \"{}\": the value is not UTF-8 text", keyword);
    keywords.push_back(checked_keyword(keyword));
    values.push_back(value);
    png_text chunk{};
    chunk.compression = value.size() >= kCompressFrom ? PNG_ITXT_COMPRESSION_zTXt : PNG_ITXT_COMPRESSION_NONE;
    chunk.key = keywords.back().data();
    chunk.text = values.back().data();
    chunk.itxt_length = value.size();
    chunk.lang = chunk.lang_key = no_language;
    chunks.push_back(chunk);
  }
  PngWriter writer;
  if (!writer.write(image, chunks.data(), static_cast<int>(chunks.size())))
    throw RuntimeError("PNG encoder: {}", writer.error());
  return writer.take();
}

}  // namespace inkling
