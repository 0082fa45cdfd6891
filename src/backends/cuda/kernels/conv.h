// 2-D convolution of [h, w, cin] maps as an implicit matrix product on mma.sync (bf16, f32 accumulation).
#pragma once

#include "backends/cuda/kernels/launch.h"

namespace inkling::cuda {

struct ConvShape {
  int64_t h = 0, w = 0, cin = 0, cout = 0, kernel = 3, stride = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool upsample = false;  // the map is read as [2h, 2w, cin], nearest: pads and output sizes follow that size
  constexpr int64_t in_h() const { return upsample ? 2 * h : h; }
  constexpr int64_t in_w() const { return upsample ? 2 * w : w; }
  constexpr int64_t out_h() const { return (in_h() + pad_top + pad_bottom - kernel) / stride + 1; }
  constexpr int64_t out_w() const { return (in_w() + pad_left + pad_right - kernel) / stride + 1; }
};

// With `upsample` the packed weight holds sums of up to four weights (conv_kernel.cuh), rounded to bf16 once more.
// Bytes of the packed weight (bf16, channels padded as the kernel wants), and f32 [cout, cin, k, k] -> packed.
int64_t conv_packed_bytes(const ConvShape& shape);
void pack_conv(const float* weight, const ConvShape& shape, void* packed, cudaStream_t stream);
// x bf16 or f32 [h, w, cin]; bias f32 [cout] or null; residual bf16 [out_h, out_w, cout] or null, added; y bf16 or f32.
// Any cin and cout >= 1.
void conv2d(const ConvShape& shape, const void* x, Elem x_type, const void* packed, const float* bias,
            const void* residual, void* y, Elem y_type, cudaStream_t stream);

}  // namespace inkling::cuda
