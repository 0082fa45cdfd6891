// What is done to a picture after the model: size, colour, smoothing, sharpness.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "formats/image.h"

namespace inkling {

struct SizePreset {
  std::string_view name;
  int width, height;
};
std::span<const SizePreset> size_presets();

struct PostProcess {
  std::string size_preset;     // of size_presets(); empty: none
  int width = 0, height = 0;   // 16..4096, both or neither; not together with a preset
  bool white_balance = false;  // grey world on linear light
  bool match_colors = false;   // to the original, in Lab
  float guided_filter = 0;     // 0..1: share of smoothing
  float sharpen = 0;           // 0..2: amount of unsharp masking
};

// The object of a request. Closed: ArgumentError names an unknown or bad field ("postprocess.width").
PostProcess parse_postprocess(const nlohmann::json& object);

// Order: colour match, white balance, guided filter, size, sharpen. original (any size, RGB) is what match_colors
// compares with; null skips it. mask (one channel, the result's size; 255 may have changed): colours are compared
// outside of it, and a crop is centred on it. Parameters at their defaults give the same bytes. Deterministic, for
// any number of threads. RGB only.
Image apply_postprocess(const PostProcess& options, Image result, const Image* original, const Image* mask = nullptr);

}  // namespace inkling
