#include "formats/color.h"

#include <lcms2.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>

#include "base/threads.h"

namespace inkling {

namespace {

struct CloseProfile {
  void operator()(void* profile) const { cmsCloseProfile(profile); }
};
struct DeleteTransform {
  void operator()(void* transform) const { cmsDeleteTransform(transform); }
};
using Profile = std::unique_ptr<void, CloseProfile>;
using Transform = std::unique_ptr<void, DeleteTransform>;

// c·(255-k)/255 as ink-less light: what a CMYK picture without profile commonly means.
void plain_cmyk_to_rgb(Raster& raster) {
  std::vector<uint8_t> rgb(static_cast<size_t>(raster.width) * raster.height * 3);
  const uint8_t flip = raster.inverted_inks ? 0 : 255;  // to "255 means no ink"
  parallel_for(raster.height, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * raster.width; i < end * raster.width; ++i) {
      const uint8_t* in = &raster.pixels[static_cast<size_t>(i) * 4];
      const int light = in[3] ^ flip;
      for (int c = 0; c < 3; ++c)
        rgb[static_cast<size_t>(i * 3 + c)] = static_cast<uint8_t>(((in[c] ^ flip) * light + 127) / 255);
    }
  });
  raster.pixels = std::move(rgb);
  raster.channels = 3;
  raster.cmyk = false;
}

constexpr int kIdentityTolerance = 2;  // levels

bool nearly_equal(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  return std::ranges::equal(a, b, [](int x, int y) { return std::abs(x - y) <= kIdentityTolerance; });
}

// Whether the transform of RGB leaves a grid of colours where they are.
bool is_identity(cmsHTRANSFORM transform) {
  constexpr int kSteps = 9;
  std::vector<uint8_t> in;
  for (int i = 0; i < kSteps * kSteps * kSteps; ++i)
    for (const int step : {i % kSteps, i / kSteps % kSteps, i / kSteps / kSteps})
      in.push_back(static_cast<uint8_t>(step * 255 / (kSteps - 1)));
  std::vector<uint8_t> out(in.size());
  cmsDoTransform(transform, in.data(), out.data(), static_cast<cmsUInt32Number>(in.size() / 3));
  return nearly_equal(in, out);
}

// Grey, perhaps with alpha, to RGB through a table: exact, where lcms' own shortcut errs by 10 levels in the dark.
void map_grey(Raster& raster, cmsHTRANSFORM transform) {
  std::vector<uint8_t> levels, same, table(256 * 3);
  for (int v = 0; v < 256; ++v) {
    levels.push_back(static_cast<uint8_t>(v));
    same.insert(same.end(), 3, static_cast<uint8_t>(v));
  }
  cmsDoTransform(transform, levels.data(), table.data(), 256);
  if (nearly_equal(table, same)) return;
  const bool alpha = raster.has_alpha();
  const int in_channels = raster.channels, out_channels = alpha ? 4 : 3;
  std::vector<uint8_t> out(static_cast<size_t>(raster.width) * raster.height * out_channels);
  for (size_t i = 0; i < out.size() / out_channels; ++i) {
    const uint8_t* in = &raster.pixels[i * in_channels];
    std::copy_n(&table[in[0] * size_t{3}], 3, &out[i * out_channels]);
    if (alpha) out[i * 4 + 3] = in[1];
  }
  raster.pixels = std::move(out);
  raster.channels = out_channels;
}

// RGB, perhaps with alpha, or CMYK.
void map_rows(Raster& raster, cmsHTRANSFORM transform) {
  const int out_channels = raster.has_alpha() ? 4 : 3;
  std::vector<uint8_t> out(static_cast<size_t>(raster.width) * raster.height * out_channels);
  parallel_for(raster.height, 64, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      cmsDoTransform(transform, &raster.pixels[static_cast<size_t>(y) * raster.row_bytes()],
                     &out[static_cast<size_t>(y) * raster.width * out_channels],
                     static_cast<cmsUInt32Number>(raster.width));
  });
  raster.pixels = std::move(out);
  raster.channels = out_channels;
  raster.cmyk = false;
}

// Applies the embedded profile; false when it cannot be used.
bool apply_profile(Raster& raster) {
  const Profile source(cmsOpenProfileFromMem(raster.icc.data(), static_cast<cmsUInt32Number>(raster.icc.size())));
  const Profile srgb(cmsCreate_sRGBProfile());
  if (!source || !srgb) return false;
  const bool grey = raster.channels <= 2;
  const cmsColorSpaceSignature wanted = raster.cmyk ? cmsSigCmykData : grey ? cmsSigGrayData : cmsSigRgbData;
  const cmsProfileClassSignature kind = cmsGetDeviceClass(source.get());
  if (cmsGetColorSpace(source.get()) != wanted) return false;
  if (kind != cmsSigInputClass && kind != cmsSigDisplayClass && kind != cmsSigOutputClass &&
      kind != cmsSigColorSpaceClass)
    return false;

  const auto make = [&](cmsUInt32Number in, cmsUInt32Number out, cmsUInt32Number flags) {
    // Without the one-colour cache a transform may be used by several threads.
    return Transform(
        cmsCreateTransform(source.get(), in, srgb.get(), out, INTENT_PERCEPTUAL, flags | cmsFLAGS_NOCACHE));
  };
  Transform transform;
  if (grey) {
    transform = make(TYPE_GRAY_8, TYPE_RGB_8, cmsFLAGS_NOOPTIMIZE);
  } else if (raster.cmyk) {
    transform = make(raster.inverted_inks ? TYPE_CMYK_8_REV : TYPE_CMYK_8, TYPE_RGB_8, 0);
  } else {
    transform = make(TYPE_RGB_8, TYPE_RGB_8, 0);
    if (transform && is_identity(transform.get())) return true;
    if (transform && raster.has_alpha()) transform = make(TYPE_RGBA_8, TYPE_RGBA_8, cmsFLAGS_COPY_ALPHA);
  }
  if (!transform) return false;
  if (grey) {
    map_grey(raster, transform.get());
  } else {
    map_rows(raster, transform.get());
  }
  return true;
}

}  // namespace

void convert_to_srgb(Raster& raster) {
  const bool done = !raster.icc.empty() && raster.icc.size() <= kMaxIccBytes && apply_profile(raster);
  raster.icc.clear();
  if (!done && raster.cmyk) plain_cmyk_to_rgb(raster);
}

std::vector<std::byte> gamma_profile(double exponent, const double* primaries, bool grey) {
  if (!(exponent > 0.05 && exponent < 5)) return {};
  const bool gamma_is_srgb = std::fabs(exponent * 2.2 - 1) < 0.05;  // writers mean sRGB when they say 1/2.2
  constexpr double kSrgb[8] = {0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06};
  bool primaries_are_srgb = true;
  for (int i = 0; primaries != nullptr && i < 8; ++i) {
    if (!(primaries[i] >= 0.001 && primaries[i] <= 1)) return {};
    if (std::fabs(primaries[i] - kSrgb[i]) > 0.01) primaries_are_srgb = false;
  }
  if (gamma_is_srgb && (grey || primaries_are_srgb)) return {};

  const double* p = primaries != nullptr ? primaries : kSrgb;
  const cmsCIExyY white{p[0], p[1], 1};
  const cmsCIExyYTRIPLE rgb{{p[2], p[3], 1}, {p[4], p[5], 1}, {p[6], p[7], 1}};
  std::unique_ptr<cmsToneCurve, void (*)(cmsToneCurve*)> curve(cmsBuildGamma(nullptr, 1 / exponent), cmsFreeToneCurve);
  if (!curve) return {};
  cmsToneCurve* curves[3] = {curve.get(), curve.get(), curve.get()};
  const Profile profile(grey ? cmsCreateGrayProfile(&white, curve.get()) : cmsCreateRGBProfile(&white, &rgb, curves));
  cmsUInt32Number bytes = 0;
  if (!profile || !cmsSaveProfileToMem(profile.get(), nullptr, &bytes)) return {};
  std::vector<std::byte> result(bytes);
  if (!cmsSaveProfileToMem(profile.get(), result.data(), &bytes)) return {};
  return result;
}

}  // namespace inkling
