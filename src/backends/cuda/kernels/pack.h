// Weights on their way to the kernels: rounding to int8 and int4 (bit for bit as formats/int_quant.h does on the CPU)
// and the order in which gemm.h reads them. All pointers are device memory.
#pragma once

#include "backends/cuda/kernels/gemm.h"

namespace inkling::cuda {

// Rows [n, k] of bf16 or f32 (dense) -> int8 with one scale a row. rotation: columns of a Hadamard block that is
// applied to the row first (0, 16, 64 or 256; k is a multiple of it).
void quantize_w8(const void* rows, Elem type, int64_t n, int64_t k, int64_t rotation, int8_t* q, float* scale,
                 cudaStream_t stream);
// The same to 4 bits: codes [n, k/2] (even column in the low nibble, code = value + 8), group_scale [n, k/64], scale
// [n].
void quantize_w4(const void* rows, Elem type, int64_t n, int64_t k, int64_t rotation, uint8_t* codes,
                 uint8_t* group_scale, float* scale, cudaStream_t stream);

// Row-major codes -> the kernels' order. n is a multiple of 16, and the packed form takes as many bytes: groups of 16
// rows, one after another, so that matrices may be joined along n. In and out must not overlap.
void pack_w8(const int8_t* q, int64_t n, int64_t k, int8_t* packed, cudaStream_t stream);
void pack_w4(const uint8_t* codes, const uint8_t* group_scale, int64_t n, int64_t k, uint8_t* packed,
             uint8_t* packed_group_scale, cudaStream_t stream);

}  // namespace inkling::cuda
