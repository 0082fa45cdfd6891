// What the choice of a tile shape (gemm.cc) and the kernels (gemm_*.cu) share.
#pragma once

#include "backends/cuda/kernels/gemm.h"

namespace inkling::cuda::gemm {

// What is multiplied. Every kind is laid out in bytes alike: an mma.sync eats 32 bytes of a row of x and of W.
enum class Kind : uint8_t { w8a8, w4a8, bf16 };

// Rows x columns of y that a block makes at a time.
enum class TileShape : uint8_t { t128x256, t128x192, t64x256, t64x128, t32x64, t16x32 };

struct Args {
  const void *x, *w;
  const uint8_t* group_scale;  // w4a8
  const float* x_scale;        // [m]; not bf16
  const int32_t* x_sum;        // [m]; w4a8
  const float* w_scale;        // [n]; not bf16
  GemmEnd end;
  int m, n;
  uint32_t k_bytes;  // of a row of x
  int group_m;       // tile rows that are walked together
};

void launch_w8a8(TileShape shape, const Args& args, cudaStream_t stream);
void launch_w4a8(TileShape shape, const Args& args, cudaStream_t stream);
void launch_bf16(TileShape shape, const Args& args, cudaStream_t stream);

}  // namespace inkling::cuda::gemm
