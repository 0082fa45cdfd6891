// Matrix products y = x W^T with fused ends, x [m, k] and W [n, k].
//
//   w8a8  int8 weights with one scale per output channel, int8 activations with one scale per row (token)
//   w4a8  4-bit weights unpacked to 8 bits in registers: one integer scale per group of 64 inputs, one f32 scale per
//         output channel (formats/int_quant.h); activations as w8a8
//   bf16  mma.sync with f32 accumulation, for devices and builds without cublasLt
//
// One mma.sync family, at most 99 KB of shared memory a block, for sm_80, 86, 89, 90 and 120. Results do not depend
// on the other rows, and are the same on every run (no atomics, fixed order of summation).
// Any m >= 1; n a multiple of 16 and k of 64 (w8a8, w4a8), or both of 8 (bf16). Rows of y start at multiples of 16
// bytes.
#pragma once

#include "backends/cuda/kernels/launch.h"

namespace inkling::cuda {

// What becomes of the product: y = act(product + bias); with `residual`: y = residual + gate[g(row)] * y.
struct GemmEnd {
  void* y = nullptr;            // [m, n], rows y_stride elements apart
  Elem type = Elem::bf16;       // bf16 or f32
  int64_t y_stride = 0;         // 0: n
  const float* bias = nullptr;  // [n]
  Act act = Act::none;
  const float* residual = nullptr;  // f32 [m, n], dense; may be y itself
  const float* gate = nullptr;      // f32 [G, n], rows n apart; null with residual: 1
  RowTable groups{};
};

// Activations quantized per row: x = scale[row] * q. `sum` is the sum of a row's q (w4a8 only).
struct QuantizedRows {
  const int8_t* q = nullptr;     // [m, k], 16-byte aligned
  const float* scale = nullptr;  // [m]
  const int32_t* sum = nullptr;  // [m]
};

// Weights as the kernels read them; made by pack.h.
struct PackedW8 {
  const int8_t* q = nullptr;     // packed order of pack_w8
  const float* scale = nullptr;  // [n]
};
struct PackedW4 {
  const uint8_t* q = nullptr;            // packed order of pack_w4
  const uint8_t* group_scale = nullptr;  // packed order of pack_w4; integers 1..16
  const float* scale = nullptr;          // [n]
};

void gemm_w8a8(int64_t m, int64_t n, int64_t k, const QuantizedRows& x, const PackedW8& w, const GemmEnd& end,
               cudaStream_t stream);
void gemm_w4a8(int64_t m, int64_t n, int64_t k, const QuantizedRows& x, const PackedW4& w, const GemmEnd& end,
               cudaStream_t stream);
// x, w: bf16, row-major and dense, 16-byte aligned.
void gemm_bf16(int64_t m, int64_t n, int64_t k, const void* x, const void* w, const GemmEnd& end, cudaStream_t stream);

}  // namespace inkling::cuda
