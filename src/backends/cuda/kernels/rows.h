// Kernels over the rows of an activation: norms, modulation, rotation, quantization, elementwise arithmetic, copies.
// Inputs are f32 or bf16 (`Elem`), arithmetic is f32. Row strides equal the channel count unless a stride is named.
#pragma once

#include "backends/cuda/kernels/launch.h"

namespace inkling::cuda {

// Where a row of a normalised or plain activation goes: as it is, or rounded for the next matrix product. A rounded row
// with a NaN or an infinity gets the scale NaN; one below 2^-119 in magnitude counts as zero: codes 0, scale 1. What a
// row becomes does not depend on the other rows, and is the same on every run. y must not overlap the input, unless it
// is the input, of the same type and stride.
struct RowsOut {
  void* y = nullptr;       // [m, d]
  Elem type = Elem::bf16;  // f32, bf16, i8 or e4m3
  float* scale = nullptr;  // i8, e4m3: f32 [m]; i8: amax / 127, e4m3: amax / 448
  int32_t* sum = nullptr;  // i8: sum of the row's codes [m], or null
  int64_t rotation = 0;    // columns of the Hadamard block applied first: 0, 16, 64 or 256; made for i8 and e4m3
};

// y = layer_norm(x), then * (1 + scale[g]) + shift[g] where scale is given. Tables f32 [G, d].
void layer_norm(const void* x, Elem type, int64_t m, int64_t d, float eps, const float* scale, const float* shift,
                const RowTable& groups, const RowsOut& out, cudaStream_t stream);
// y = x / sqrt(mean(x^2) + eps) * gamma
void rms_norm(const void* x, Elem type, int64_t m, int64_t d, const float* gamma, float eps, const RowsOut& out,
              cudaStream_t stream);
// y = act(x), converted, or rotated and rounded. x rows x_stride apart.
void convert_rows(const void* x, Elem type, int64_t x_stride, int64_t m, int64_t d, Act act, const RowsOut& out,
                  cudaStream_t stream);
// y = x / max(|x|_2, 1e-12) * sqrt(d) * gamma, then silu if asked. y of x's type.
void channel_norm(const void* x, Elem type, int64_t m, int64_t d, const float* gamma, bool silu, void* y,
                  cudaStream_t stream);
// In place on bf16 rows of heads * head_dim: RMS norm of each head with gamma [head_dim] (null: none), then rotation
// by cos, sin f32 [m, head_dim / 2] (null: none). interleaved: pairs (2p, 2p+1), else (p, p + head_dim / 2).
// Out of place for f32 input: y is bf16 either way.
void head_norm_rope(const void* x, Elem type, int64_t m, int64_t heads, int64_t head_dim, const float* gamma, float eps,
                    const float* cos, const float* sin, bool interleaved, void* y, cudaStream_t stream);
// y = x * (1 + scale[g]) + shift[g]
void modulate(const void* x, Elem type, int64_t m, int64_t d, const float* scale, const float* shift,
              const RowTable& groups, void* y, Elem y_type, cudaStream_t stream);
// y = residual + gate[g] * x; gate null: 1. residual and y f32 or bf16.
void gated_add(const void* residual, Elem residual_type, const void* x, Elem type, const float* gate,
               const RowTable& groups, int64_t m, int64_t d, void* y, Elem y_type, cudaStream_t stream);
// y = act(x + bias), elementwise; bias [d] or null.
void activate(const void* x, Elem type, const float* bias, Act act, int64_t m, int64_t d, void* y, Elem y_type,
              cudaStream_t stream);
void multiply(const void* a, Elem a_type, const void* b, Elem b_type, int64_t elements, void* y, Elem y_type,
              cudaStream_t stream);
// y = silu(gate) * up
void silu_multiply(const void* gate, const void* up, Elem type, int64_t elements, void* y, Elem y_type,
                   cudaStream_t stream);
// y = a x + b z
void axpby(float a, const void* x, Elem x_type, float b, const void* z, Elem z_type, int64_t elements, void* y,
           Elem y_type, cudaStream_t stream);
// True-CFG combination per row (reference/qwen-image.md 7.2): c = n + s (p - n); y = c |p| / |c|, 0 where |c| = 0. f32.
void guide(const float* positive, const float* negative, float scale, int64_t m, int64_t d, float* y,
           cudaStream_t stream);
// y[i] = x[index[i]], rows of row_bytes (a multiple of 2). index: device i32 [n].
void gather_rows(const void* x, int64_t row_bytes, const int32_t* index, int64_t n, void* y, cudaStream_t stream);
// Columns [begin, begin + d) of rows stride apart, bytes per element `size`.
void slice_columns(const void* x, int64_t stride, int64_t begin, int64_t d, int64_t m, int64_t size, void* y,
                   cudaStream_t stream);
// [h, w, c] -> [2h, 2w, c], nearest.
void upsample2x(const void* x, int64_t h, int64_t w, int64_t c, int64_t size, void* y, cudaStream_t stream);
// Whether any of n f32 values is not finite: adds to *flag (device i32, cleared by the caller).
void count_nonfinite(const float* x, int64_t n, int32_t* flag, cudaStream_t stream);

}  // namespace inkling::cuda
