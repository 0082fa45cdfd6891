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

// Whether the transform leaves greys (1 channel in) or a grid of colours (3) where they are.
bool is_identity(cmsHTRANSFORM transform, int channels) {
  constexpr int kTolerance = 2, kSteps = 9;
  std::vector<uint8_t> in, expected;
  if (channels == 1) {
    for (int v = 0; v < 256; ++v) {
      in.push_back(static_cast<uint8_t>(v));
      expected.insert(expected.end(), 3, static_cast<uint8_t>(v));
    }
  } else {
    for (int i = 0; i < kSteps * kSteps * kSteps; ++i)
      for (const int step : {i % kSteps, i / kSteps % kSteps, i / kSteps / kSteps})
        in.push_back(static_cast<uint8_t>(step * 255 / (kSteps - 1)));
    expected = in;
  }
  std::vector<uint8_t> out(expected.size());
  cmsDoTransform(transform, in.data(), out.data(), static_cast<cmsUInt32Number>(expected.size() / 3));
  for (size_t i = 0; i < out.size(); ++i)
    if (std::abs(out[i] - expected[i]) > kTolerance) return false;
  return true;
}

// Applies the embedded profile; false when it cannot be used.
bool apply_profile(Raster& raster) {
  const Profile source(cmsOpenProfileFromMem(raster.icc.data(), static_cast<cmsUInt32Number>(raster.icc.size())));
  const Profile srgb(cmsCreate_sRGBProfile());
  if (!source || !srgb) return false;
  const bool grey = raster.channels <= 2, alpha = raster.has_alpha();
  const cmsColorSpaceSignature wanted = raster.cmyk ? cmsSigCmykData : grey ? cmsSigGrayData : cmsSigRgbData;
  const cmsProfileClassSignature kind = cmsGetDeviceClass(source.get());
  if (cmsGetColorSpace(source.get()) != wanted) return false;
  if (kind != cmsSigInputClass && kind != cmsSigDisplayClass && kind != cmsSigOutputClass &&
      kind != cmsSigColorSpaceClass)
    return false;

  cmsUInt32Number in_format = grey ? TYPE_GRAY_8 : TYPE_RGB_8;
  if (raster.cmyk) in_format = raster.inverted_inks ? TYPE_CMYK_8_REV : TYPE_CMYK_8;
  const auto make = [&](cmsUInt32Number in, cmsUInt32Number out, cmsUInt32Number flags) {
    // Without the one-colour cache a transform may be used by several threads.
    return Transform(
        cmsCreateTransform(source.get(), in, srgb.get(), out, INTENT_PERCEPTUAL, flags | cmsFLAGS_NOCACHE));
  };
  Transform transform = make(in_format, TYPE_RGB_8, 0);
  if (!transform) return false;
  if (!raster.cmyk && is_identity(transform.get(), grey ? 1 : 3)) return true;
  if (alpha) transform = make(grey ? TYPE_GRAYA_8 : TYPE_RGBA_8, TYPE_RGBA_8, cmsFLAGS_COPY_ALPHA);
  if (!transform) return false;

  const int out_channels = alpha ? 4 : 3;
  std::vector<uint8_t> out(static_cast<size_t>(raster.width) * raster.height * out_channels);
  parallel_for(raster.height, 64, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      cmsDoTransform(transform.get(), &raster.pixels[static_cast<size_t>(y) * raster.row_bytes()],
                     &out[static_cast<size_t>(y) * raster.width * out_channels],
                     static_cast<cmsUInt32Number>(raster.width));
  });
  raster.pixels = std::move(out);
  raster.channels = out_channels;
  raster.cmyk = false;
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
