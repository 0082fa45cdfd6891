// Weights of random numbers, for measuring without a checkpoint: of the layer's own spread, so that networks of them
// stay finite.
#pragma once

#include <cstdint>

#include "models/module.h"
#include "pipeline/backend.h"

namespace inkling {

// Gives the parameter random numbers and prepares it: on the device where the backend can, else from host memory in
// bfloat16. fill_missing_weights() of the backend decides; `on_device` is what it said.
void randomize(const Parameter& parameter, Ops& ops, bool on_device, uint64_t seed);
// The same for one matrix or convolution. kind: stored so, rounded on the host (then never made on the device).
void randomize(Weight& weight, Ops& ops, bool on_device, uint64_t seed, LowBit kind = LowBit::none);
// Of standard normal spread, uniform.
Tensor random_rows(const Shape& shape, uint64_t seed);

}  // namespace inkling
