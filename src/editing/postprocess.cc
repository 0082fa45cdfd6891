#include "editing/postprocess.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "editing/planes.h"
#include "formats/resample.h"

namespace inkling {

namespace {

using namespace planes;

constexpr auto kPresets = std::to_array<SizePreset>({
    {"square_1000", 1000, 1000},  // shop listings
    {"taobao_800", 800, 800},     // main picture
    {"taobao_detail_790", 790, 1053},
    {"jd_800", 800, 800},
    {"amazon_2000", 2000, 2000},  // zoom needs 1,600 or more
    {"etsy_2000x1500", 2000, 1500},
    {"xiaohongshu_3x4", 1080, 1440},
    {"douyin_9x16", 1080, 1920},
    {"wechat_moments_1080", 1080, 1080},
    {"instagram_4x5", 1080, 1350},
    {"story_9x16", 1080, 1920},
    {"wide_16x9", 1920, 1080},
    {"id_photo_1inch", 295, 413},  // 25 x 35 mm at 300 dpi
    {"id_photo_2inch", 413, 579},  // 35 x 49 mm
    {"icon_512", 512, 512},
});

constexpr float kMaxGain = 1.5f;            // of white balance: more is a colour that was meant
constexpr float kMaxStretch = 2.f;          // of colour match
constexpr float kGuidedEps = 4e-4f;         // edges of more than about 2 % contrast stay
constexpr float kSharpenFloor = 2 / 255.f;  // noise below is not sharpened

int whole(const nlohmann::json& v, const std::string& field, int min, int max) {
  if (!v.is_number_integer() || v.get<double>() < min || v.get<double>() > max)
    throw ArgumentError("postprocess.{}: expected a whole number between {} and {}", field, min, max);
  return v.get<int>();
}

float real(const nlohmann::json& v, const std::string& field, double max) {
  if (!v.is_number() || !(v.get<double>() >= 0 && v.get<double>() <= max))
    throw ArgumentError("postprocess.{}: expected a number between 0 and {:g}", field, max);
  return v.get<float>();
}

bool flag(const nlohmann::json& v, const std::string& field) {
  if (!v.is_boolean()) throw ArgumentError("postprocess.{}: expected true or false", field);
  return v.get<bool>();
}

struct Moments {
  double n = 0;
  std::array<double, 3> sum{}, squares{};
  void add(const Lab& c) {
    const float v[3] = {c.l, c.a, c.b};
    ++n;
    for (size_t i = 0; i < 3; ++i) sum[i] += v[i], squares[i] += double{v[i]} * v[i];
  }
  double mean(size_t i) const { return sum[i] / n; }
  double deviation(size_t i) const { return std::sqrt(std::max(0.0, squares[i] / n - mean(i) * mean(i))); }
};

// Reinhard et al.: Color Transfer between Images (2001), in Lab; measured where nothing was meant to change.
void match_colors(Image& result, const Image& original, const Image* mask) {
  const Image same = original.width == result.width && original.height == result.height
                         ? original
                         : resample(original, result.width, result.height, ResampleFilter::bicubic);
  Moments from, to;
  const size_t pixels = result.pixels.size() / 3;
  for (size_t i = 0; i < pixels; ++i) {
    if (mask != nullptr && mask->pixels[i] > 0) continue;
    from.add(to_lab(&result.pixels[i * 3]));
    to.add(to_lab(&same.pixels[i * 3]));
  }
  if (from.n < 64) return;  // everything was meant to change
  std::array<float, 3> scale{}, shift{};
  for (size_t c = 0; c < 3; ++c) {
    const double s = from.deviation(c) < 0.5 ? 1 : to.deviation(c) / from.deviation(c);
    scale[c] = static_cast<float>(std::clamp(s, 1.0 / kMaxStretch, double{kMaxStretch}));
    shift[c] = static_cast<float>(to.mean(c) - scale[c] * from.mean(c));
  }
  for (size_t i = 0; i < pixels; ++i) {
    const Lab c = to_lab(&result.pixels[i * 3]);
    from_lab({c.l * scale[0] + shift[0], c.a * scale[1] + shift[1], c.b * scale[2] + shift[2]}, &result.pixels[i * 3]);
  }
}

void white_balance(Image& image) {
  std::array<float, 256> linear{};
  for (size_t i = 0; i < 256; ++i) linear[i] = to_linear(static_cast<float>(i) / 255);
  std::array<double, 3> sum{};
  double n = 0;
  for (size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    const uint8_t* p = &image.pixels[i];
    // Clipped pixels have lost their colour.
    if (std::max({p[0], p[1], p[2]}) > 250 || std::max({p[0], p[1], p[2]}) < 8) continue;
    ++n;
    for (size_t c = 0; c < 3; ++c) sum[c] += linear[p[c]];
  }
  if (n < 64) return;
  const double grey = (sum[0] + sum[1] + sum[2]) / 3;
  std::array<std::array<uint8_t, 256>, 3> table{};
  for (size_t c = 0; c < 3; ++c) {
    const double gain = std::clamp(grey / std::max(1e-9, sum[c]), 1.0 / kMaxGain, double{kMaxGain});
    for (size_t i = 0; i < 256; ++i) table[c][i] = to_byte(to_srgb(static_cast<float>(linear[i] * gain)));
  }
  for (size_t i = 0; i + 2 < image.pixels.size(); i += 3)
    for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = table[c][image.pixels[i + c]];
}

void filter(Image& image, auto of_plane) {
  for (int c = 0; c < 3; ++c) {
    const Plane p = of_plane(channel(image, c));
    for (size_t i = 0; i < p.values.size(); ++i) image.pixels[i * 3 + static_cast<size_t>(c)] = to_byte(p.values[i]);
  }
}

void smooth(Image& image, float share) {
  const int r = std::max(2, std::min(image.width, image.height) / 128);
  filter(image, [&](const Plane& p) {
    Plane q = guided_filter(p, p, r, kGuidedEps);
    for (size_t i = 0; i < q.values.size(); ++i) q.values[i] = p.values[i] + share * (q.values[i] - p.values[i]);
    return q;
  });
}

void sharpen(Image& image, float amount) {
  filter(image, [&](const Plane& p) {
    Plane q = blur(p, 1.2f);
    for (size_t i = 0; i < q.values.size(); ++i) {
      const float detail = p.values[i] - q.values[i];
      q.values[i] = p.values[i] + (std::abs(detail) < kSharpenFloor ? 0 : amount * detail);
    }
    return q;
  });
}

// The centre of what changed, else of the picture; shares of the sides.
std::pair<double, double> centre_of(const Image* mask) {
  double x = 0, y = 0, n = 0;
  if (mask != nullptr)
    for (int j = 0; j < mask->height; ++j)
      for (int i = 0; i < mask->width; ++i)
        if (*mask->at(i, j) >= 128) ++n, x += i + 0.5, y += j + 0.5;
  if (n == 0) return {0.5, 0.5};
  return {x / n / mask->width, y / n / mask->height};
}

Image to_size(const Image& image, int width, int height, const Image* mask) {
  // The largest part of the wanted shape, as near to the centre as the border lets it.
  const double shape = static_cast<double>(width) / height;
  const int w = std::min(image.width, static_cast<int>(std::lround(image.height * shape)));
  const int h = std::min(image.height, static_cast<int>(std::lround(image.width / shape)));
  const auto [cx, cy] = centre_of(mask);
  const int x0 = std::clamp(static_cast<int>(std::lround(cx * image.width - w / 2.0)), 0, image.width - w);
  const int y0 = std::clamp(static_cast<int>(std::lround(cy * image.height - h / 2.0)), 0, image.height - h);
  Image part = Image::blank(w, h, 3);
  for (int y = 0; y < h; ++y) std::copy_n(image.at(x0, y0 + y), static_cast<size_t>(w) * 3, part.at(0, y));
  return w == width && h == height ? part : resample(part, width, height, ResampleFilter::lanczos);
}

}  // namespace

std::span<const SizePreset> size_presets() { return kPresets; }

PostProcess parse_postprocess(const nlohmann::json& object) {
  if (!object.is_object()) throw ArgumentError("postprocess: expected an object");
  PostProcess p;
  for (const auto& [name, value] : object.items()) {
    if (name == "size_preset") {
      if (!value.is_string()) throw ArgumentError("postprocess.size_preset: expected a string");
      p.size_preset = value.get<std::string>();
      if (std::ranges::find(kPresets, std::string_view(p.size_preset), &SizePreset::name) == kPresets.end())
        throw ArgumentError("postprocess.size_preset: there is no '{}'; see size_presets of /v1/config",
                            p.size_preset.substr(0, 64));
    } else if (name == "width") {
      p.width = whole(value, name, 16, 4096);
    } else if (name == "height") {
      p.height = whole(value, name, 16, 4096);
    } else if (name == "white_balance") {
      p.white_balance = flag(value, name);
    } else if (name == "match_colors") {
      p.match_colors = flag(value, name);
    } else if (name == "guided_filter") {
      p.guided_filter = real(value, name, 1);
    } else if (name == "sharpen") {
      p.sharpen = real(value, name, 2);
    } else {
      throw ArgumentError("postprocess.{}: is not a field of postprocess", name.substr(0, 64));
    }
  }
  if ((p.width == 0) != (p.height == 0)) throw ArgumentError("postprocess.width: give width and height or neither");
  if (p.width != 0 && !p.size_preset.empty())
    throw ArgumentError("postprocess.size_preset: says the size already; leave out width and height");
  return p;
}

Image apply_postprocess(const PostProcess& options, Image result, const Image* original, const Image* mask) {
  if (result.channels != 3) throw ArgumentError("postprocess: got {} channels, expected RGB", result.channels);
  // A mask of another size belongs to another geometry.
  if (mask != nullptr && (mask->width != result.width || mask->height != result.height)) mask = nullptr;
  if (options.match_colors && original != nullptr) match_colors(result, *original, mask);
  if (options.white_balance) white_balance(result);
  if (options.guided_filter > 0) smooth(result, options.guided_filter);
  int width = options.width, height = options.height;
  if (!options.size_preset.empty()) {
    const auto preset = std::ranges::find(kPresets, std::string_view(options.size_preset), &SizePreset::name);
    width = preset->width;
    height = preset->height;
  }
  if (width > 0 && (width != result.width || height != result.height)) result = to_size(result, width, height, mask);
  if (options.sharpen > 0) sharpen(result, options.sharpen);
  return result;
}

}  // namespace inkling
