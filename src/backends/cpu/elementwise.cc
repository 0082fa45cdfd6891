#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/operands.h"
#include "backends/cpu/rowwise.h"
#include "base/threads.h"
#include "ops/checks.h"

namespace inkling {

Tensor CpuOps::add(const Tensor& a, const Tensor& b) {
  Tensor y = allocate(checks::same_shape("add", a, b));
  const float *u = floats("add", a), *v = floats("add", b);
  float* out = floats(y);
  parallel_for(y.elements(), kGrain, [&](int64_t i, int64_t e) { kernels::add(u + i, v + i, out + i, e - i); });
  return y;
}

Tensor CpuOps::multiply(const Tensor& a, const Tensor& b) {
  Tensor y = allocate(checks::same_shape("multiply", a, b));
  const float *u = floats("multiply", a), *v = floats("multiply", b);
  float* out = floats(y);
  parallel_for(y.elements(), kGrain, [&](int64_t i, int64_t e) { kernels::multiply(u + i, v + i, out + i, e - i); });
  return y;
}

Tensor CpuOps::axpby(float a, const Tensor& x, float b, const Tensor& y) {
  Tensor result = allocate(checks::same_shape("axpby", x, y));
  const float *u = floats("axpby", x), *v = floats("axpby", y);
  float* out = floats(result);
  parallel_for(result.elements(), kGrain,
               [&](int64_t i, int64_t e) { kernels::axpby(a, u + i, b, v + i, out + i, e - i); });
  return result;
}

Tensor CpuOps::activate(const Tensor& x, Activation f) {
  Tensor y = allocate(checks::rows("activate", x));
  const float* u = floats("activate", x);
  float* out = floats(y);
  parallel_for(y.elements(), kGrain / 4, [&](int64_t i, int64_t e) { kernels::activate(f, u + i, out + i, e - i); });
  return y;
}

Tensor CpuOps::modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) {
  checks::table("modulate", x, scale, groups);
  Tensor y = allocate(checks::table("modulate", x, shift, groups));
  const int64_t channels = x.channels();
  const float *in = floats("modulate", x), *s = floats("modulate", scale), *t = floats("modulate", shift);
  float* out = floats(y);
  for_each_group(groups, [&](int64_t first, int64_t last, int64_t row) {
    parallel_for(last - first, row_grain(channels), [&](int64_t b, int64_t e) {
      for (int64_t r = first + b; r < first + e; ++r)
        kernels::modulate(in + r * channels, s + row * channels, t + row * channels, out + r * channels, channels);
    });
  });
  return y;
}

void gated_add_rows(const float* residual, const float* y, const float* gate, float* out, int64_t channels,
                    const RowGroups& groups) {
  for_each_group(groups, [&](int64_t first, int64_t last, int64_t row) {
    parallel_for(last - first, row_grain(channels), [&](int64_t b, int64_t e) {
      for (int64_t at = (first + b) * channels; at < (first + e) * channels; at += channels)
        kernels::gated_add(residual + at, y + at, gate + row * channels, out + at, channels);
    });
  });
}

Tensor CpuOps::gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) {
  checks::same_shape("gated_add", residual, y);
  Tensor result = allocate(checks::table("gated_add", residual, gate, groups));
  gated_add_rows(floats("gated_add", residual), floats("gated_add", y), floats("gated_add", gate), floats(result),
                 y.channels(), groups);
  return result;
}

}  // namespace inkling
