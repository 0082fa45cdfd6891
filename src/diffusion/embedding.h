// Sinusoidal features of the timestep (reference/qwen-image.md section 5.1), the input of the DiT's time MLP.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace inkling {

enum class TimestepPrecision {
  f32,
  bf16,  // t and t/1000 rounded to bf16, as diffusers does with bf16 latents; for parity tests
};

// timesteps: 1000 sigma, each a row of the result: host f32 [timesteps, channels], cosines first. Angles
// reach 1000 rad, where the order of the float32 operations shows: it is that of the reference.
Tensor timestep_embedding(std::span<const float> timesteps, int64_t channels = 256,
                          TimestepPrecision precision = TimestepPrecision::f32);

}  // namespace inkling
