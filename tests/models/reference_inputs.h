// What a pipeline feeds to the networks, computed here from a golden's description: pictures, packed latents
// and timesteps.
#pragma once

#include <filesystem>
#include <vector>

#include "formats/image.h"
#include "models/qwen_image/config.h"
#include "models/rope.h"
#include "support/goldens.h"

namespace inkling::testing {

// [h, w, c] <-> tokens [h w / 4, 4 c], channel c * 4 + dy * 2 + dx.
Tensor pack(const Tensor& map);
Tensor unpack(const Tensor& tokens, int64_t h, int64_t w);
// A reference picture, resized to about `area` pixels with sides in multiples of 32.
Image reference_picture(const Golden& g, int64_t i, double area);
// What the vision tower's processor makes of it.
Image vision_picture(const Golden& g, int64_t i, const ProcessorConfig& p);
Tensor bytes_of(const Image& image);
PictureShape reference_shape(const Golden& g, int64_t i);
// 1000 sigma of every step, in the reference's order of float32 operations: one unit in the last place of a
// timestep moves the prediction by 1e-4.
std::vector<float> timesteps_of(const std::filesystem::path& scheduler, int64_t steps, int64_t tokens);

}  // namespace inkling::testing
