#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/operands.h"
#include "backends/cpu/rowwise.h"
#include "base/threads.h"
#include "ops/checks.h"

namespace inkling {

namespace {

// body(offset of the first float, rows)
template <typename Body>
void for_rows(const Tensor& x, Body body) {
  const int64_t channels = x.channels();
  parallel_for(x.rows(), row_grain(channels), [&](int64_t b, int64_t e) { body(b * channels, e - b); });
}

void channel_norm_rows(const Tensor& x, const Tensor& gamma, bool silu, float* out) {
  const float *in = floats("channel_norm", x), *g = floats("channel_norm", gamma);
  for_rows(x, [&](int64_t at, int64_t rows) { kernels::channel_norm(in + at, g, silu, out + at, rows, x.channels()); });
}

}  // namespace

Tensor CpuOps::rms_norm(const Tensor& x, const Tensor& gamma, float eps) {
  Tensor y = allocate(checks::norm("rms_norm", x, gamma));
  const float *in = floats("rms_norm", x), *g = floats("rms_norm", gamma);
  float* out = floats(y);
  for_rows(x, [&](int64_t at, int64_t rows) { kernels::rms_norm(in + at, g, eps, out + at, rows, x.channels()); });
  return y;
}

Tensor CpuOps::layer_norm(const Tensor& x, float eps) {
  Tensor y = allocate(checks::rows("layer_norm", x));
  const float* in = floats("layer_norm", x);
  float* out = floats(y);
  for_rows(x, [&](int64_t at, int64_t rows) {
    kernels::layer_norm(in + at, nullptr, nullptr, eps, out + at, rows, x.channels());
  });
  return y;
}

Tensor CpuOps::modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                              float eps) {
  checks::table("modulated_norm", x, scale, groups);
  Tensor y = allocate(checks::table("modulated_norm", x, shift, groups));
  const int64_t channels = x.channels();
  const float* in = floats("modulated_norm", x);
  const float *s = floats("modulated_norm", scale), *t = floats("modulated_norm", shift);
  float* out = floats(y);
  for_each_group(groups, [&](int64_t first, int64_t last, int64_t row) {
    parallel_for(last - first, row_grain(channels), [&](int64_t b, int64_t e) {
      const int64_t at = (first + b) * channels;
      kernels::layer_norm(in + at, s + row * channels, t + row * channels, eps, out + at, e - b, channels);
    });
  });
  return y;
}

Tensor CpuOps::channel_norm(const Tensor& x, const Tensor& gamma) {
  Tensor y = allocate(checks::norm("channel_norm", x, gamma));
  channel_norm_rows(x, gamma, false, floats(y));
  return y;
}

Tensor CpuOps::channel_norm_silu(const Tensor& x, const Tensor& gamma) {
  Tensor y = allocate(checks::norm("channel_norm_silu", x, gamma));
  channel_norm_rows(x, gamma, true, floats(y));
  return y;
}

void norm_rope_rows(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads, float* out) {
  constexpr std::string_view op = "head_norm_rope";
  kernels::HeadNormRope spec{nullptr, eps, nullptr, nullptr, rope.style, heads, x.channels() / heads};
  if (gamma.defined()) spec.gamma = floats(op, gamma);
  if (rope.cos.defined()) {
    spec.cos = floats(op, rope.cos);
    spec.sin = floats(op, rope.sin);
  }
  const float* in = floats(op, x);
  const int64_t half = spec.head_dim / 2, channels = x.channels();
  for_rows(x, [&](int64_t at, int64_t rows) {
    kernels::HeadNormRope part = spec;
    if (part.cos != nullptr) {
      part.cos += at / channels * half;
      part.sin += at / channels * half;
    }
    kernels::head_norm_rope(in + at, part, out + at, rows);
  });
}

Tensor CpuOps::head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) {
  Tensor y = allocate(checks::head_norm_rope(x, gamma, rope, heads));
  norm_rope_rows(x, gamma, eps, rope, heads, floats(y));
  return y;
}

Tensor CpuOps::guide(const Tensor& positive, const Tensor& negative, float scale) {
  Tensor y = allocate(checks::same_shape("guide", positive, negative));
  const float *p = floats("guide", positive), *n = floats("guide", negative);
  float* out = floats(y);
  for_rows(y, [&](int64_t at, int64_t rows) { kernels::guide(p + at, n + at, scale, out + at, rows, y.channels()); });
  return y;
}

}  // namespace inkling
