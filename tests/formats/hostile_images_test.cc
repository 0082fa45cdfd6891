#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>
#include <zlib.h>

#include "formats/image.h"
#include "helpers.h"

namespace inkling::testing {
namespace {

using Clock = std::chrono::steady_clock;

void put_big_endian(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift & 255));
}

void put_chunk(Bytes& out, std::string_view type, const Bytes& data) {
  put_big_endian(out, static_cast<uint32_t>(data.size()));
  const size_t begin = out.size();
  const Bytes name = to_bytes(type);
  out.insert(out.end(), name.begin(), name.end());
  out.insert(out.end(), data.begin(), data.end());
  put_big_endian(out, static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(out.data() + begin),
                                                  static_cast<uInt>(out.size() - begin))));
}

// A PNG of zeros: a few kilobytes however large it is.
Bytes black_png(uint32_t width, uint32_t height, int depth, int color_type = 0) {
  Bytes out = to_bytes(std::string_view("\x89PNG\r\n\x1a\n", 8)), header;
  put_big_endian(header, width);
  put_big_endian(header, height);
  for (const int value : {depth, color_type, 0, 0, 0}) header.push_back(static_cast<std::byte>(value));
  put_chunk(out, "IHDR", header);
  const size_t raw_bytes = (size_t{1} + (size_t{width} * static_cast<size_t>(depth) + 7) / 8) * height;
  const std::vector<Bytef> raw(raw_bytes);
  uLongf packed_bytes = compressBound(raw.size());
  Bytes packed(packed_bytes);
  compress2(reinterpret_cast<Bytef*>(packed.data()), &packed_bytes, raw.data(), raw.size(), 1);
  packed.resize(packed_bytes);
  put_chunk(out, "IDAT", packed);
  put_chunk(out, "IEND", {});
  return out;
}

void expect_refused(const Bytes& bytes, const std::string& part, const ImageLimits& limits = {}) {
  reset_peak_memory();
  const long before = peak_memory();
  const auto begin = Clock::now();
  expect_error<ArgumentError>([&] { decode_image(bytes, "file", limits); }, part);
  EXPECT_LT(peak_memory() - before, 8 << 10);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(1));
}

TEST(HostileImages, PixelBombsAreRefusedByTheHeader) {
  expect_refused(black_png(16000, 16000, 1), "too many pixels");
  expect_refused(black_png(20000, 20000, 1), "too many pixels");
  expect_refused(black_png(40000, 1, 8), "too large");
  expect_refused(black_png(1, 40000, 8), "too large");
  Bytes absurd = black_png(1, 1, 8);
  std::fill_n(absurd.begin() + 16, 8, std::byte{0xff});
  expect_refused(absurd, "too large");
  std::fill_n(absurd.begin() + 16, 8, std::byte{0});
  expect_refused(absurd, "no pixels");
}

TEST(HostileImages, FilesAboveTheByteLimitAreRefused) {
  expect_refused(black_png(16, 16, 8), "at most 10 are allowed", ImageLimits{.max_bytes = 10});
}

TEST(HostileImages, JpegAndWebpSizesComeFromTheHeaderToo) {
  Bytes jpeg = encode_jpeg(Image::blank(64, 64, 3));
  for (size_t i = 0; i + 9 < jpeg.size(); ++i)
    if (jpeg[i] == std::byte{0xff} && jpeg[i + 1] == std::byte{0xc0})
      std::fill_n(jpeg.begin() + static_cast<std::ptrdiff_t>(i) + 5, 4, std::byte{0x7f});
  expect_refused(jpeg, "too many pixels");
  expect_refused(encode_webp(Image::blank(64, 64, 3)), "too many pixels", ImageLimits{.max_pixels = 4000});
}

TEST(HostileImages, ThinPicturesAreDefined) {
  for (const auto& [w, h] : {std::pair{1, 1}, std::pair{1, 4096}, std::pair{4096, 1}}) {
    const Image source = Image::blank(w, h, 3, 50);
    for (const auto& bytes : {encode_png(source), encode_jpeg(source), encode_webp(source)})
      EXPECT_EQ(decode_image(bytes, "file").height, h);
  }
}

// `jpeg` with its last scan `times` times more.
Bytes repeat_last_scan(const Bytes& jpeg, int times) {
  const std::array<std::byte, 2> start_of_scan{std::byte{0xff}, std::byte{0xda}};
  const auto last = std::find_end(jpeg.begin(), jpeg.end(), start_of_scan.begin(), start_of_scan.end());
  const Bytes scan(last, jpeg.end() - 2);  // without the end mark
  Bytes result(jpeg.begin(), jpeg.end() - 2);
  for (int i = 0; i < times; ++i) result.insert(result.end(), scan.begin(), scan.end());
  result.insert(result.end(), jpeg.end() - 2, jpeg.end());
  return result;
}

// Sequential, with one scan for each colour, so that a repeated scan contradicts nothing.
Bytes jpeg_of_three_scans() {
  static constexpr jpeg_scan_info kScans[3] = {
      {1, {0, 0, 0, 0}, 0, 63, 0, 0}, {1, {1, 0, 0, 0}, 0, 63, 0, 0}, {1, {2, 0, 0, 0}, 0, 63, 0, 0}};
  jpeg_compress_struct jpeg;
  jpeg_error_mgr error;
  jpeg.err = jpeg_std_error(&error);
  jpeg_create_compress(&jpeg);
  unsigned char* data = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&jpeg, &data, &bytes);
  jpeg.image_width = jpeg.image_height = 16;
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg.scan_info = kScans;
  jpeg.num_scans = 3;
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<unsigned char> row(48, 100);
  for (unsigned char* p = row.data(); jpeg.next_scanline < 16;) jpeg_write_scanlines(&jpeg, &p, 1);
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  const Bytes result = to_bytes({reinterpret_cast<const char*>(data), bytes});
  std::free(data);
  return result;
}

TEST(HostileImages, EightyThousandScansEndQuickly) {
  const Bytes jpeg = jpeg_of_three_scans();
  EXPECT_EQ(decode_image(repeat_last_scan(jpeg, 50), "file").width, 16);
  expect_refused(repeat_last_scan(jpeg, 80'000), "too many progressive scans");
  expect_refused(repeat_last_scan(read_bytes(data_path("images/progressive.jpg")), 80'000), "JPEG");
}

TEST(HostileImages, CutFilesAreRefused) {
  for (const char* name :
       {"rgb.png", "rgb16.png", "interlaced.png", "rgb.jpg", "progressive.jpg", "rgb.webp", "lossy.webp", "icc.webp"}) {
    Bytes bytes = read_bytes(data_path(std::string("images/") + name));
    bytes.resize(bytes.size() / 2);
    expect_error<ArgumentError>([&] { decode_image(bytes, name); }, name);
  }
}

TEST(HostileImages, TwelveBitJpegIsRefused) {
  Bytes jpeg = encode_jpeg(Image::blank(16, 16, 3));
  for (size_t i = 0; i + 9 < jpeg.size(); ++i)
    if (jpeg[i] == std::byte{0xff} && jpeg[i + 1] == std::byte{0xc0}) jpeg[i + 4] = std::byte{12};
  expect_refused(jpeg, "12");
}

TEST(HostileImages, AnimationsAreRefused) {
  expect_refused(read_bytes(data_path("images/animated.png")), "animated PNG");
  expect_refused(read_bytes(data_path("images/animated.webp")), "animated WebP");
}

TEST(HostileImages, OtherTypesAreNamedWhateverTheFileNameSays) {
  const TemporaryFolder folder;
  const auto expect = [&](const Bytes& bytes, const std::string& kind) {
    write_bytes(folder / "picture.png", bytes);
    expect_error<ArgumentError>([&] { read_image(folder / "picture.png"); },
                                "this is " + kind + ", which is not supported; PNG, JPEG and WebP");
  };
  expect(read_bytes(data_path("images/picture.gif")), "GIF");
  expect(read_bytes(data_path("images/picture.bmp")), "BMP");
  expect(read_bytes(data_path("images/picture.tiff")), "TIFF");
  expect(to_bytes("<?xml version=\"1.0\"?>\n<svg onload=\"alert(1)\"/>"), "SVG");
  expect(to_bytes("\xef\xbb\xbf  <!DOCTYPE HTML><script>"), "HTML");
  expect(to_bytes(std::string_view("\0\0\0\x20"
                                   "ftypavif....",
                                   16)),
         "AVIF");
  expect(to_bytes(std::string_view("\0\0\0\x20"
                                   "ftypheic....",
                                   16)),
         "HEIC");
  expect(to_bytes("%PDF-1.7"), "PDF");
  expect(to_bytes(std::string_view("PK\x03\x04....", 8)), "a ZIP archive");
  expect_refused(to_bytes("hello"), "known type");
  expect_refused({}, "empty");
  write_bytes(folder / "picture.png", read_bytes(data_path("images/rgb.jpg")));  // wrong name, right picture
  EXPECT_EQ(read_image(folder / "picture.png").width, 20);
  expect_error<ArgumentError>([&] { read_image(folder / "absent.png"); }, "cannot be opened");
  expect_error<ArgumentError>([&] { read_image(folder.path()); }, "is not a file");
}

class SurvivesDamage : public ::testing::TestWithParam<const char*> {};

TEST_P(SurvivesDamage, EveryChangedByteAndEveryPrefixIsReadOrRefused) {
  // The limits keep a changed header from asking for a picture that takes seconds.
  const ImageLimits limits{.max_pixels = 1 << 16};
  survive_damage(read_bytes(data_path(std::string("images/") + GetParam())),
                 [&](const Bytes& bytes) { decode_image(bytes, "file", limits); });
}
INSTANTIATE_TEST_SUITE_P(Images, SurvivesDamage,
                         ::testing::Values("rgb.png", "palette_alpha.png", "icc.png", "turned.png", "progressive.jpg",
                                           "grey.jpg", "turn6.jpg", "rgba.webp", "lossy.webp", "turned.webp"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (c == '.') c = '_';
                           return name;
                         });

}  // namespace
}  // namespace inkling::testing
