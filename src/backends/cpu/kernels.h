// The SIMD kernels of the CPU backend: plain pointers, one thread, best instruction set chosen at run time.
// Every kernel treats rows independently, so results do not depend on how rows are divided among threads.
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace inkling::kernels {

// --- elementwise (elementwise_kernels.cc): n elements; the result may be one of the operands ------------------
void add(const float* a, const float* b, float* y, int64_t n);
void multiply(const float* a, const float* b, float* y, int64_t n);
void axpby(float a, const float* x, float b, const float* y, float* out, int64_t n);
void activate(Activation f, const float* x, float* y, int64_t n);
void silu_multiply(const float* gate, const float* up, float* y, int64_t n);
void modulate(const float* x, const float* scale, const float* shift, float* y, int64_t n);
void gated_add(const float* residual, const float* x, const float* gate, float* y, int64_t n);
void to_bf16(const float* x, uint16_t* y, int64_t n);  // to nearest even

// --- dot products (dot_kernels.cc) ------------------------------------------------------------------------------
constexpr int64_t kDotRows = 4;
// y[r][j] = x[r] . w[j] + bias[j] for j < count <= kDotRows; w [kDotRows, k] dense, rows of y `stride` apart.
void dot_rows(const float* w, const float* x, int64_t rows, int64_t k, const float* bias, int64_t count, float* y,
              int64_t stride);

// --- rows (norm_kernels.cc) -------------------------------------------------------------------------------------
void rms_norm(const float* x, const float* gamma, float eps, float* y, int64_t rows, int64_t channels);
// Then * (1 + scale) + shift, unless scale is null.
void layer_norm(const float* x, const float* scale, const float* shift, float eps, float* y, int64_t rows,
                int64_t channels);
void channel_norm(const float* x, const float* gamma, bool silu, float* y, int64_t rows, int64_t channels);
void guide(const float* positive, const float* negative, float scale, float* y, int64_t rows, int64_t channels);

// --- rope (rope_kernels.cc) -------------------------------------------------------------------------------------
struct HeadNormRope {
  const float* gamma;  // null: no norm
  float eps;
  const float *cos, *sin;  // [rows, head_dim / 2]; null: no rotation
  Rope::Style style;
  int64_t heads, head_dim;
};
void head_norm_rope(const float* x, const HeadNormRope& spec, float* y, int64_t rows);  // y may be x

// --- attention (attention_kernels.cc) ---------------------------------------------------------------------------
// A run of consecutive rows of one sequence; pointers are to the head's first channel of the first row.
struct AttentionRun {
  const float *q, *k, *v;
  float* out;
  int64_t rows;
};
struct AttentionTask {
  const AttentionRun* runs;
  int64_t run_count;
  int64_t q_stride, kv_stride;  // floats between rows
  int64_t head_dim;
  float scale;
  bool causal;
  int64_t begin, end;  // query rows of the sequence to compute
};
int64_t attention_query_block(int64_t head_dim, int64_t longest);  // rows of the largest task
int64_t attention_scratch_floats(int64_t head_dim, int64_t query_block);
void attention(const AttentionTask& task, float* scratch);  // scratch is aligned to 64 bytes

}  // namespace inkling::kernels
