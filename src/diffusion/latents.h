// Latent pictures: maps [h, w, C] at 1/8 of the picture's size, and the token rows that the DiT sees, each
// of which holds 2x2 map pixels. Channel order of a token: c * 4 + dy * 2 + dx. Host f32 tensors.
#pragma once

#include <cstdint>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace inkling {

inline constexpr int64_t kPixelsPerToken = 16;  // side of a token in the picture

// map [2 th, 2 tw, C] -> [th * tw, 4 C], row-major.
Tensor pack_latents(const Tensor& map);
// tokens [rows * columns, 4 C] -> [2 rows, 2 columns, C].
Tensor unpack_latents(const Tensor& tokens, int64_t rows, int64_t columns);

// Noise of a picture as token rows [height / 16 * width / 16, 4 * channels]. The generator is read in the
// reference's order: plane by plane, [channels, height / 8, width / 8].
Tensor draw_noise(NormalGenerator& generator, int64_t height, int64_t width, int64_t channels = 16,
                  DrawPrecision precision = DrawPrecision::f32);

}  // namespace inkling
