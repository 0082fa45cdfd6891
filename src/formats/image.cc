#include "formats/image.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "formats/color.h"
#include "formats/image_codecs.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"
#include "formats/png_chunks.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSupported = "PNG, JPEG and WebP are supported";

struct Signature {
  size_t offset;
  std::string_view bytes;
  std::string_view kind;
};
// Kinds that we can name but not read. Order matters: specific ones first.
constexpr Signature kForeign[] = {
    {0, "GIF8", "GIF"},
    {0, "BM", "BMP"},
    {0, std::string_view("II*\0", 4), "TIFF"},
    {0, std::string_view("MM\0*", 4), "TIFF"},
    {4, "ftypavif", "AVIF"},
    {4, "ftypavis", "AVIF"},
    {4, "ftyphei", "HEIC"},
    {4, "ftyphev", "HEIC"},
    {4, "ftypmif1", "HEIF"},
    {4, "ftyp", "a video"},
    {0, "\xff\x0a", "JPEG XL"},
    {0, std::string_view("\0\0\0\x0cJXL ", 8), "JPEG XL"},
    {0, std::string_view("\0\0\0\x0cjP  ", 8), "JPEG 2000"},
    {0, "8BPS", "a Photoshop file"},
    {0, "%PDF", "PDF"},
    {0, std::string_view("\0\0\1\0", 4), "an icon"},
    {0, "\x76\x2f\x31\x01", "OpenEXR"},
    {0, "#?RADIANCE", "HDR"},
    {0, "qoif", "QOI"},
    {0, "PK\x03\x04", "a ZIP archive"},
};

bool has_at(std::span<const std::byte> bytes, size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() && std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

// SVG and HTML begin with markup after optional white space and byte order mark.
std::string_view markup_kind(std::span<const std::byte> bytes) {
  constexpr size_t kLooked = 1024;
  std::string head(reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kLooked));
  std::ranges::transform(head, head.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (head.starts_with("\xef\xbb\xbf")) head.erase(0, 3);
  const size_t first = head.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || head[first] != '<') return {};
  if (head.find("<svg") != std::string::npos) return "SVG";
  if (head.find("<html") != std::string::npos || head.find("<!doctype html") != std::string::npos) return "HTML";
  return "XML or HTML";
}

[[noreturn]] void refuse(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.empty()) throw ArgumentError("{}: the picture is empty", name);
  for (const Signature& s : kForeign)
    if (has_at(bytes, s.offset, s.bytes))
      throw ArgumentError("{}: this is {}, which is not supported; {}", name, s.kind, kSupported);
  if (const auto kind = markup_kind(bytes); !kind.empty())
    throw ArgumentError("{}: this is {}, which is not supported; {}", name, kind, kSupported);
  throw ArgumentError("{}: not a picture of a known type; {}", name, kSupported);
}

Raster decode_raster(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes)
    throw ArgumentError("{}: the picture takes {} bytes, at most {} are allowed", name, bytes.size(), limits.max_bytes);
  if (is_png(bytes)) return decode_png(bytes, name, limits);
  if (has_at(bytes, 0, "\xff\xd8\xff")) return decode_jpeg(bytes, name, limits);
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return decode_webp(bytes, name, limits);
  refuse(bytes, name);
}

// 1..4 channels to RGB; alpha over white, rounded to nearest.
Image flatten(const Raster& raster) {
  Image image = Image::blank(raster.width, raster.height, 3);
  const int channels = raster.channels;
  const bool colour = channels >= 3, alpha = raster.has_alpha();
  parallel_for(raster.height, 64, [&](int64_t begin, int64_t end) {
    const uint8_t* in = raster.pixels.data() + static_cast<size_t>(begin) * raster.row_bytes();
    uint8_t* out = image.pixels.data() + static_cast<size_t>(begin) * image.row_bytes();
    for (int64_t i = begin * raster.width; i < end * raster.width; ++i, in += channels, out += 3) {
      const int a = alpha ? in[channels - 1] : 255;
      for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>((in[colour ? c : 0] * a + 255 * (255 - a) + 127) / 255);
    }
  });
  return image;
}

// Turns the picture as EXIF orientation asks: 2..4 mirror or turn by 180°, 5..8 swap the axes.
Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool swaps = orientation >= 5;
  const int w = image.width, h = image.height;
  Image result = Image::blank(swaps ? h : w, swaps ? w : h, image.channels);
  parallel_for(result.height, 64, [&](int64_t begin, int64_t end) {
    for (int y = static_cast<int>(begin); y < end; ++y) {
      for (int x = 0; x < result.width; ++x) {
        int from_x = swaps ? y : x, from_y = swaps ? x : y;
        if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) from_x = w - 1 - from_x;
        if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) from_y = h - 1 - from_y;
        std::copy_n(image.at(from_x, from_y), image.channels, result.at(x, y));
      }
    }
  });
  return result;
}

}  // namespace

void check_picture_size(const std::string& name, int64_t width, int64_t height, const ImageLimits& limits) {
  if (width < 1 || height < 1) throw ArgumentError("{}: the picture has no pixels ({}x{})", name, width, height);
  if (width > limits.max_side || height > limits.max_side)
    throw ArgumentError("{}: {}x{} is too large, sides of at most {} pixels are allowed", name, width, height,
                        limits.max_side);
  if (width * height > limits.max_pixels)
    throw ArgumentError("{}: {}x{} has too many pixels, at most {} are allowed", name, width, height,
                        limits.max_pixels);
}

Image Image::blank(int width, int height, int channels, uint8_t value) {
  Image image{width, height, channels, {}};
  image.pixels.assign(image.row_bytes() * static_cast<size_t>(height), value);
  return image;
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) {
  Raster raster = decode_raster(bytes, name, limits);
  convert_to_srgb(raster);
  return upright(flatten(raster), raster.orientation);
}

Image read_image(const fs::path& path, const ImageLimits& limits) {
  return decode_image(read_small_file(path, limits.max_bytes), path.string(), limits);
}

Image decode_mask(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits,
                  bool* from_alpha) {
  Raster raster = decode_raster(bytes, name, limits);
  Image mask = Image::blank(raster.width, raster.height, 1);
  const auto channels = static_cast<size_t>(raster.channels);
  bool transparent = false;
  for (size_t i = channels - 1; raster.has_alpha() && !transparent && i < raster.pixels.size(); i += channels)
    transparent = raster.pixels[i] != 255;
  if (from_alpha != nullptr) *from_alpha = transparent;
  if (transparent) {
    for (size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = raster.pixels[i * channels + channels - 1];
  } else {
    raster.icc.clear();
    convert_to_srgb(raster);
    const Image rgb = flatten(raster);
    for (size_t i = 0; i < mask.pixels.size(); ++i) {
      const uint8_t* p = &rgb.pixels[i * 3];
      mask.pixels[i] = static_cast<uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 32768) >> 16);  // Rec. 601
    }
  }
  return upright(std::move(mask), raster.orientation);
}

Image read_mask(const fs::path& path, const ImageLimits& limits) {
  return decode_mask(read_small_file(path, limits.max_bytes), path.string(), limits);
}

std::map<std::string, std::string> read_png_text(const fs::path& path) {
  return parse_png_text(read_small_file(path, ImageLimits{}.max_bytes), path.string());
}

void write_image(const fs::path& path, const Image& image, const std::map<std::string, std::string>& text) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  Image flat;  // JPEG has no alpha, WebP no grey
  const Image* written = &image;
  const bool jpeg = extension == ".jpg" || extension == ".jpeg", webp = extension == ".webp";
  if ((jpeg && image.channels == 4) || (webp && image.channels == 1)) {
    Raster raster;
    raster.width = image.width;
    raster.height = image.height;
    raster.channels = image.channels;
    raster.pixels = image.pixels;
    flat = flatten(raster);
    written = &flat;
  }
  std::vector<std::byte> bytes;
  if (extension == ".png") {
    bytes = encode_png(*written, text);
  } else if (jpeg) {
    bytes = encode_jpeg(*written);
  } else if (webp) {
    bytes = encode_webp(*written);
  } else {
    throw ArgumentError("{}: the file name must end in .png, .jpg, .jpeg or .webp", path.string());
  }
  OutputFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace inkling
