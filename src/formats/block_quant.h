// GGUF block formats as numbers: exact dequantization of every format we read, and quantization to the
// ones that we write.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace inkling {

// Whether dequantize_row knows the type: f32, bf16, f16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k,
// iq4_nl, iq4_xs.
bool can_dequantize(DType type);
// `elements` is a multiple of the block size. dst has `elements` floats.
void dequantize_row(DType type, const std::byte* src, float* dst, int64_t elements);
// Whether quantize_row knows the type: f32, bf16, f16, q8_0, q4_0 (rounding as ggml's reference quantizers), q4_k,
// q5_k, q6_k (scales searched for the smallest squared error).
bool can_quantize(DType type);
void quantize_row(DType type, const float* src, std::byte* dst, int64_t elements);
// A whole host tensor of those or any other plain type to float32, threads used.
Tensor dequantize(const Tensor& tensor);

}  // namespace inkling
