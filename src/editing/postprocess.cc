#include "editing/postprocess.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "editing/guided_filter.h"
#include "editing/lab.h"
#include "formats/resample.h"

namespace inkling {

namespace {

constexpr int kMinSide = 16, kMaxSide = 4096;
constexpr double kMaxEnlargement = 8;  // 256 reaches 2,000 for shops; more would be blur alone
constexpr int64_t kGrain = 64;         // rows

// Marketplaces' and print shops' usual sizes, in pixels (id photos: 300 dpi).
constexpr SizePreset kPresets[] = {
    {"square_512", 512, 512},     {"square_800", 800, 800},        {"square_1000", 1000, 1000},
    {"square_1024", 1024, 1024},  {"taobao_800x800", 800, 800},    {"taobao_750x1000", 750, 1000},
    {"tmall_800x800", 800, 800},  {"jd_800x800", 800, 800},        {"pdd_750x750", 750, 750},
    {"amazon_2000", 2000, 2000},  {"ebay_1600", 1600, 1600},       {"etsy_2000x1500", 2000, 1500},
    {"shopify_2048", 2048, 2048}, {"xiaohongshu_3x4", 1242, 1660}, {"wechat_cover_900x383", 900, 383},
    {"douyin_9x16", 1080, 1920},  {"instagram_4x5", 1080, 1350},   {"instagram_1080", 1080, 1080},
    {"wide_16x9", 1920, 1080},    {"id_photo_1_inch", 295, 413},   {"id_photo_2_inch", 413, 579},
    {"passport_33x48", 390, 567}, {"print_6_inch", 1800, 1200},
};

[[noreturn]] void bad_field(const std::string& field, const std::string& what) {
  throw ArgumentError("postprocess.{}: {}", field, what);
}

int side_field(const nlohmann::json& object, const char* name) {
  if (!object.contains(name) || object[name].is_null()) return 0;
  const auto& value = object[name];
  if (!value.is_number_integer() || value.get<double>() < kMinSide || value.get<double>() > kMaxSide)
    bad_field(name, fmt::format("expected a whole number from {} to {}", kMinSide, kMaxSide));
  return value.get<int>();
}
bool flag_field(const nlohmann::json& object, const char* name) {
  if (!object.contains(name) || object[name].is_null()) return false;
  if (!object[name].is_boolean()) bad_field(name, "expected true or false");
  return object[name].get<bool>();
}
float share_field(const nlohmann::json& object, const char* name, float most) {
  if (!object.contains(name) || object[name].is_null()) return 0;
  const auto& value = object[name];
  if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= most))
    bad_field(name, fmt::format("expected a number from 0 to {}", most));
  return value.get<float>();
}

// Each channel through its own table.
void apply_tables(Image& image, const std::array<std::array<uint8_t, 256>, 3>& tables) {
  parallel_for(image.height, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      uint8_t* p = image.at(0, static_cast<int>(y));
      for (int x = 0; x < image.width; ++x, p += 3)
        for (size_t c = 0; c < 3; ++c) p[c] = tables[c][p[c]];
    }
  });
}

// Grey world on linear light. Pixels near black or white say nothing about the light and are left out; gains stay
// within 0.5..2 and are taken back until at most 0.5 % more of any channel clips.
void balance_white(Image& image) {
  std::array<std::array<int64_t, 256>, 3> all{}, counted{};
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    const uint8_t* p = &image.pixels[i];
    const auto [low, high] = std::minmax({p[0], p[1], p[2]});
    for (size_t c = 0; c < 3; ++c) {
      ++all[c][p[c]];
      if (high < 250 && low > 5) ++counted[c][p[c]];
    }
  }
  std::array<double, 3> mean{};
  int64_t pixels = 0;
  for (size_t v = 0; v < 256; ++v) pixels += counted[0][v];
  if (pixels * 50 < static_cast<int64_t>(image.pixels.size() / 3)) return;  // under 2 % to judge by
  for (size_t c = 0; c < 3; ++c)
    for (size_t v = 0; v < 256; ++v) mean[c] += static_cast<double>(counted[c][v]) * linear_of(static_cast<uint8_t>(v));
  const double grey = 0.2126729 * mean[0] + 0.7151522 * mean[1] + 0.0721750 * mean[2];
  std::array<double, 3> gain{};
  for (size_t c = 0; c < 3; ++c) gain[c] = std::clamp(grey / mean[c], 0.5, 2.0);
  const size_t count = image.pixels.size() / 3;
  const double allowed = 0.005 * static_cast<double>(count);
  for (int round = 0; round < 8; ++round) {
    double most = 0;
    for (size_t c = 0; c < 3; ++c) {
      double clipped = 0;
      for (size_t v = 0; v < 255; ++v)
        if (linear_of(static_cast<uint8_t>(v)) * gain[c] >= 1.0) clipped += static_cast<double>(all[c][v]);
      most = std::max(most, clipped);
    }
    if (most <= allowed) break;
    for (double& g : gain) g = 1 + (g - 1) * 0.7;
  }
  std::array<std::array<uint8_t, 256>, 3> tables;
  for (size_t c = 0; c < 3; ++c)
    for (size_t v = 0; v < 256; ++v)
      tables[c][v] = srgb_of(static_cast<float>(linear_of(static_cast<uint8_t>(v)) * gain[c]));
  apply_tables(image, tables);
}

struct Statistics {
  std::array<double, 3> mean{}, deviation{};
  int64_t count = 0, seen = 0;  // pixels measured; those and the masked ones
};

// Of all pixels that the mask (255: changed) leaves alone.
Statistics measure(const Image& image, const Image* mask) {
  Statistics s;
  std::array<double, 3> sum{}, square{};
  // Every step-th pixel of every step-th row: 65,536 to 262,144 of a large picture tell as much as all.
  constexpr int kSide = 512;
  const int step = std::max(1, std::min(image.width, image.height) / kSide);
  for (int y = 0; y < image.height; y += step) {
    const uint8_t* p = image.at(0, y);
    const int my = mask == nullptr ? 0 : static_cast<int>(int64_t{y} * mask->height / image.height);
    for (int x = 0; x < image.width; x += step, p += 3 * step) {
      ++s.seen;
      if (mask != nullptr && *mask->at(static_cast<int>(int64_t{x} * mask->width / image.width), my) > 0) continue;
      const Lab lab = lab_of(p);
      const double v[3] = {lab.l, lab.a, lab.b};
      for (size_t c = 0; c < 3; ++c) sum[c] += v[c], square[c] += v[c] * v[c];
      ++s.count;
    }
  }
  for (size_t c = 0; c < 3 && s.count > 0; ++c) {
    s.mean[c] = sum[c] / static_cast<double>(s.count);
    s.deviation[c] = std::sqrt(std::max(0.0, square[c] / static_cast<double>(s.count) - s.mean[c] * s.mean[c]));
  }
  return s;
}

// Mean and deviation in Lab (Reinhard et al. 2001); the deviation's factor stays within 0.5..2.
void match_colors(Image& image, const Image& original, const Image* mask) {
  const Statistics have = measure(image, mask), want = measure(original, mask);
  if (have.count * 20 < have.seen || want.count == 0) return;  // under 5 % to compare
  std::array<float, 3> scale{}, shift{};
  bool same = true;
  for (size_t c = 0; c < 3; ++c) {
    const double factor = have.deviation[c] > 1e-3 ? std::clamp(want.deviation[c] / have.deviation[c], 0.5, 2.0) : 1.0;
    scale[c] = static_cast<float>(factor);
    shift[c] = static_cast<float>(want.mean[c] - factor * have.mean[c]);
    same = same && std::abs(factor - 1) < 1e-6 && std::abs(want.mean[c] - have.mean[c]) < 1e-4;
  }
  if (same) return;
  parallel_for(image.height, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      uint8_t* p = image.at(0, static_cast<int>(y));
      for (int x = 0; x < image.width; ++x, p += 3) {
        const Lab lab = lab_of(p);
        rgb_of({lab.l * scale[0] + shift[0], lab.a * scale[1] + shift[1], lab.b * scale[2] + shift[2]}, p);
      }
    }
  });
}

// Each channel guided by itself, on sRGB. Strength sets what counts as texture: deviations of up to 2..10 % of the
// range.
void smooth(Image& image, float strength) {
  constexpr int kRadius = 4;
  const float level = 0.02F + 0.08F * strength;
  for (size_t c = 0; c < 3; ++c) {
    Plane plane(image.width, image.height);
    for (size_t i = 0; i < plane.values.size(); ++i)
      plane.values[i] = static_cast<float>(image.pixels[i * 3 + c]) / 255;
    const Plane result = guided_filter(plane, plane, kRadius, level * level);
    for (size_t i = 0; i < plane.values.size(); ++i)
      image.pixels[i * 3 + c] = static_cast<uint8_t>(std::clamp(result.values[i] * 255 + 0.5F, 0.0F, 255.0F));
  }
}

// Unsharp mask of luma (Rec. 601) on sRGB, by a 5 x 5 binomial; the same for all channels, so that no colour fringes
// appear. Whole numbers.
void sharpen(Image& image, float amount) {
  const int w = image.width, h = image.height;
  const auto factor = static_cast<int>(std::lround(amount * 256));
  std::vector<int32_t> luma(static_cast<size_t>(w) * static_cast<size_t>(h)), across(luma.size());
  for (size_t i = 0; i < luma.size(); ++i) {
    const uint8_t* p = &image.pixels[i * 3];
    luma[i] = (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 32768) >> 16;
  }
  parallel_for(h, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const int32_t* in = &luma[static_cast<size_t>(y) * static_cast<size_t>(w)];
      int32_t* out = &across[static_cast<size_t>(y) * static_cast<size_t>(w)];
      const auto at = [&](int x) { return in[std::clamp(x, 0, w - 1)]; };
      for (int x = 0; x < w; ++x) out[x] = at(x - 2) + 4 * at(x - 1) + 6 * at(x) + 4 * at(x + 1) + at(x + 2);
    }
  });
  parallel_for(h, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const auto row = [&](int64_t i) {
        return &across[static_cast<size_t>(std::clamp<int64_t>(i, 0, h - 1)) * static_cast<size_t>(w)];
      };
      const int32_t *a = row(y - 2), *b = row(y - 1), *c = row(y), *d = row(y + 1), *e = row(y + 2);
      uint8_t* p = image.at(0, static_cast<int>(y));
      for (int x = 0; x < w; ++x, p += 3) {
        const int32_t blurred = a[x] + 4 * b[x] + 6 * c[x] + 4 * d[x] + e[x];  // times 256
        const int32_t detail =
            luma[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)] * 256 - blurred;
        const int32_t change = (detail * factor + (1 << 15)) >> 16;
        for (int k = 0; k < 3; ++k) p[k] = static_cast<uint8_t>(std::clamp(p[k] + change, 0, 255));
      }
    }
  });
}

struct Point {
  double x, y;
};

// Where the subject is: the centre of the changed part, or of the rest when the change reaches most of the border.
Point subject_centre(const Image& mask) {
  int64_t border = 0, set = 0;
  for (int y = 0; y < mask.height; ++y)
    for (int x = 0; x < mask.width; x += y == 0 || y == mask.height - 1 ? 1 : std::max(1, mask.width - 1)) {
      ++border;
      set += *mask.at(x, y) >= 128;
    }
  const bool inverted = set * 10 > border * 6;
  double sx = 0, sy = 0, n = 0;
  for (int y = 0; y < mask.height; ++y)
    for (int x = 0; x < mask.width; ++x)
      if ((*mask.at(x, y) >= 128) != inverted) sx += x + 0.5, sy += y + 0.5, n += 1;
  if (n == 0) return {0.5, 0.5};
  return {sx / n / mask.width, sy / n / mask.height};
}

Image fit_size(const Image& image, int width, int height, const Image* mask) {
  const double scale = std::max(static_cast<double>(width) / image.width, static_cast<double>(height) / image.height);
  // The part of the picture that is shown, in whole pixels, at least one.
  const int w = std::clamp(static_cast<int>(std::lround(width / scale)), 1, image.width);
  const int h = std::clamp(static_cast<int>(std::lround(height / scale)), 1, image.height);
  const Point centre = mask == nullptr ? Point{0.5, 0.5} : subject_centre(*mask);
  const int x0 = std::clamp(static_cast<int>(std::lround(centre.x * image.width - w / 2.0)), 0, image.width - w);
  const int y0 = std::clamp(static_cast<int>(std::lround(centre.y * image.height - h / 2.0)), 0, image.height - h);
  Image part = Image::blank(w, h, image.channels);
  for (int y = 0; y < h; ++y) std::copy_n(image.at(x0, y0 + y), part.row_bytes(), part.at(0, y));
  const double shrink = std::min(1.0, kMaxEnlargement / scale);
  width = std::max(1, static_cast<int>(std::lround(width * shrink)));
  height = std::max(1, static_cast<int>(std::lround(height * shrink)));
  return part.width == width && part.height == height ? part : resample(part, width, height, ResampleFilter::lanczos);
}

}  // namespace

std::span<const SizePreset> size_presets() { return kPresets; }

PostProcess parse_postprocess(const nlohmann::json& object) {
  if (!object.is_object()) throw ArgumentError("postprocess: expected an object");
  static constexpr std::string_view kFields[] = {"size_preset",  "width",         "height", "white_balance",
                                                 "match_colors", "guided_filter", "sharpen"};
  for (const auto& [name, value] : object.items())
    if (std::ranges::find(kFields, name) == std::end(kFields)) bad_field(name.substr(0, 40), "unknown field");
  PostProcess result;
  if (object.contains("size_preset") && !object["size_preset"].is_null()) {
    const auto& value = object["size_preset"];
    if (!value.is_string()) bad_field("size_preset", "expected a name");
    result.size_preset = value.get<std::string>();
    if (!result.size_preset.empty() &&
        std::ranges::find(kPresets, result.size_preset, &SizePreset::name) == std::end(kPresets)) {
      std::string names;
      for (const SizePreset& preset : kPresets) names += (names.empty() ? "" : ", ") + std::string(preset.name);
      bad_field("size_preset", fmt::format("expected one of {}", names));
    }
  }
  result.width = side_field(object, "width");
  result.height = side_field(object, "height");
  if ((result.width == 0) != (result.height == 0))
    bad_field(result.width == 0 ? "width" : "height", "width and height go together");
  if (result.width != 0 && !result.size_preset.empty()) bad_field("size_preset", "not together with width and height");
  result.white_balance = flag_field(object, "white_balance");
  result.match_colors = flag_field(object, "match_colors");
  result.guided_filter = share_field(object, "guided_filter", 1);
  result.sharpen = share_field(object, "sharpen", 2);
  return result;
}

Image apply_postprocess(const PostProcess& options, Image result, const Image* original, const Image* mask) {
  if (result.channels != 3 || result.width < 1 || result.height < 1)
    throw ArgumentError("postprocess: expected an RGB picture, got {}x{} with {} channels", result.width, result.height,
                        result.channels);
  if (original != nullptr && (original->channels != 3 || original->width < 1 || original->height < 1))
    throw ArgumentError("postprocess: the original has {} channels, expected 3", original->channels);
  if (mask != nullptr && (mask->channels != 1 || mask->width != result.width || mask->height != result.height))
    throw ArgumentError("postprocess: the mask is {}x{} with {} channels, expected {}x{} with 1", mask->width,
                        mask->height, mask->channels, result.width, result.height);
  if (options.match_colors && original != nullptr) match_colors(result, *original, mask);
  if (options.white_balance) balance_white(result);
  if (options.guided_filter > 0) smooth(result, options.guided_filter);
  int width = options.width, height = options.height;
  for (const SizePreset& preset : kPresets)
    if (preset.name == options.size_preset) width = preset.width, height = preset.height;
  if (width > 0 && height > 0 && (width != result.width || height != result.height))
    result = fit_size(result, width, height, mask);
  if (options.sharpen > 0) sharpen(result, options.sharpen);
  return result;
}

}  // namespace inkling
