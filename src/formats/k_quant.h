// Inside formats/: writing the K blocks of GGUF, 256 values each (layouts: block_quant.cc). The scales are searched for
// the smallest squared error.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace inkling {

bool is_written_k_quant(DType type);  // q4_k, q5_k, q6_k
void quantize_k_block(DType type, const float* x, std::byte* block);
// New codes for the values x with the scales that the block has, rounded by chance (chance.h). False, with the block
// left in no useful state, when a value lies more than a step beyond what the scales reach.
bool recode_k_block(DType type, const float* x, std::byte* block, uint64_t seed);

}  // namespace inkling
