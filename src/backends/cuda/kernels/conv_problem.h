// A convolution in the terms of its kernels.
#pragma once

#include "backends/cuda/kernels/conv.h"

namespace inkling::cuda::conv {

constexpr int kSlice = 32;  // inputs of one step of a kernel

// One convolution as the kernels see it. Output (phases * i + a, phases * j + b) sums over taps (u, v) the source
// pixels (i * stride + origin_y[a] + u, j * stride + origin_x[b] + v), zero outside the map.
struct Problem {
  const void* x = nullptr;
  const uint8_t* packed = nullptr;
  const float* bias = nullptr;
  const void* residual = nullptr;
  void* y = nullptr;
  int h = 0, w = 0, cin = 0, cout = 0;
  int out_h = 0, out_w = 0;
  int taps_h = 0, taps_w = 0, stride = 1, phases = 1;
  int origin_y[2] = {0, 0}, origin_x[2] = {0, 0};
  int steps = 0;     // of one phase
  int output16 = 0;  // groups of 16 output channels
  int tiles_x = 0, blocks_n = 0;
  bool flat = false;  // K runs over tap * cin + channel; else over 32-channel slices, their taps, their channels
  bool x_f32 = false, y_f32 = false;
};

// Throws RuntimeError for what the kernels cannot do. Pointers and tiling are left open.
Problem make_problem(const ConvShape& shape);
// Throws RuntimeError unless p's element types and alignments serve.
void check_maps(const void* x, Elem x_type, const void* packed, const void* residual, const void* y, Elem y_type);

}  // namespace inkling::cuda::conv
