// Linear layers: integers on kernels of our own (low_bit.h), else oneDNN's matrix multiplication. Block-quantized
// weights stay in their blocks: a panel of output rows is unpacked into the workspace, multiplied and forgotten, so
// that no dense copy ever exists.
#include <algorithm>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/operands.h"
#include "backends/cpu/prepared_weight.h"
#include "backends/cpu/rowwise.h"
#include "base/threads.h"
#include "ops/checks.h"

namespace inkling {

void rows_to_bf16(const StoredRows& source, int64_t first, int64_t rows, uint16_t* dst, std::byte* scratch) {
  const int64_t columns = source.columns;
  const int64_t threads = std::min<int64_t>(thread_count(), rows);
  const int64_t a = CountingAllocator::kAlignment;
  const int64_t row_floats = (columns * 4 + a - 1) / a * a;
  parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = reinterpret_cast<float*>(scratch + t * row_floats);
      for (int64_t r = rows * t / threads; r < rows * (t + 1) / threads; ++r) {
        source.read(first + r, row);
        kernels::to_bf16(row, dst + r * columns, columns);
      }
    }
  });
}

void CpuOps::run_linear(const Tensor& x, std::initializer_list<Projection> projections, std::byte* workspace) {
  const int64_t m = x.rows();
  if (m == 0) return;
  // Forms of x that lie at the start of the workspace: bfloat16, or int8 with a rotation.
  constexpr int64_t kNothing = -2, kBf16 = -1;
  int64_t present = kNothing;
  const float* input = floats("linear", x);
  for (const Projection& p : projections) {
    const CpuWeight& weight = prepared("linear", *p.weight);
    const LinearPlan plan = model_.linear_plan(*p.weight, m, p.activation);
    if (plan.form == WeightForm::w8 || plan.form == WeightForm::w4) {
      const int64_t k = p.weight->in_features(), rotation = model_.rotation(*p.weight);
      const RoundedRows rounded = model_.rounded_rows(*p.weight, m);
      std::byte* scratch = workspace + plan.x_bytes;
      if (present != rotation) round_rows(input, rotation, rounded, workspace, scratch);
      present = rotation;
      const IntegerMatrix matrix(plan.form == WeightForm::w4, p.weight->out_features(), k);
      multiply_integers(model_.int8_isa(), rounded, workspace, matrix, weight.data.raw(),
                        p.weight->has_bias ? p.weight->bias.data<float>() : nullptr, p.activation, p.y, scratch);
      continue;
    }
    if (plan.form == WeightForm::dots) {
      multiply_dots(x, p, plan, workspace);
      present = kNothing;
      continue;
    }
    if (plan.bf16 && present != kBf16) {
      auto* to = reinterpret_cast<uint16_t*>(workspace);
      parallel_for(x.elements(), kGrain, [&](int64_t b, int64_t e) { kernels::to_bf16(input + b, to + b, e - b); });
      std::fill(to + x.elements(), to + plan.rows * x.channels(), uint16_t{0});
      present = kBf16;
    }
    multiply_bf16_or_f32(x, p, plan, workspace);
  }
}

void CpuOps::multiply_dots(const Tensor& x, const Projection& p, const LinearPlan& plan, std::byte* workspace) {
  const Weight& w = *p.weight;
  const int64_t k = w.in_features(), n = w.out_features(), blocks = (n + plan.panel_rows - 1) / plan.panel_rows;
  const StoredRows source = prepared("linear", w).rows(k);
  const float *input = floats("linear", x), *bias = w.has_bias ? w.bias.data<float>() : nullptr;
  const int64_t threads = std::min<int64_t>(thread_count(), blocks), own_bytes = plan.panel_bytes / thread_count();
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      float* panel = reinterpret_cast<float*>(workspace + t * own_bytes);
      for (int64_t block = blocks * t / threads; block < blocks * (t + 1) / threads; ++block) {
        const int64_t begin = block * plan.panel_rows, count = std::min(plan.panel_rows, n - begin);
        for (int64_t j = 0; j < count; ++j) source.read(begin + j, panel + j * k);
        std::fill(panel + count * k, panel + plan.panel_rows * k, 0.f);
        kernels::dot_rows(panel, input, x.rows(), k, bias == nullptr ? nullptr : bias + begin, count, p.y + begin, n);
      }
    }
  });
  if (p.activation == kNoActivation) return;
  parallel_for(x.rows() * n, kGrain, [&](int64_t b, int64_t e) {
    kernels::activate(static_cast<Activation>(p.activation), p.y + b, p.y + b, e - b);
  });
}

void CpuOps::multiply_bf16_or_f32(const Tensor& x, const Projection& p, const LinearPlan& plan, std::byte* workspace) {
  const Weight& w = *p.weight;
  const CpuWeight& weight = prepared("linear", w);
  const int64_t m = x.rows(), k = w.in_features(), n = w.out_features();
  const float* bias = w.has_bias ? w.bias.data<float>() : nullptr;
  const void* input = plan.bf16 ? static_cast<const void*>(workspace) : x.raw();
  std::byte* panel = workspace + plan.x_bytes;
  float* two_rows = reinterpret_cast<float*>(panel + plan.panel_bytes);
  std::byte* scratch = panel + plan.panel_bytes + plan.y_bytes;
  const auto multiply = [&](const void* panel_rows, int64_t begin, int64_t rows) {
    const bool direct = plan.rows == m;
    float* y = direct ? p.y + begin : two_rows;
    const MatmulKey key{plan.rows, k, rows, direct ? n : rows, plan.bf16, w.has_bias, p.activation};
    model_.dnnl().execute(*model_.dnnl().matmul(key), input, panel_rows, bias == nullptr ? nullptr : bias + begin, y,
                          scratch);
    if (!direct) std::copy_n(two_rows, rows, p.y + begin);
  };
  if (plan.form != WeightForm::panels) return multiply(weight.data.raw(), 0, n);
  const StoredRows source = weight.rows(k);
  for (int64_t begin = 0; begin < n; begin += plan.panel_rows) {
    const int64_t rows = std::min(plan.panel_rows, n - begin);
    if (plan.bf16) {
      const int64_t a = CountingAllocator::kAlignment;
      std::byte* rows_scratch = panel + (plan.panel_rows * k * 2 + a - 1) / a * a;
      rows_to_bf16(source, begin, rows, reinterpret_cast<uint16_t*>(panel), rows_scratch);
    } else {
      float* out = reinterpret_cast<float*>(panel);
      parallel_for(rows, row_grain(k), [&](int64_t b, int64_t e) {
        for (int64_t r = b; r < e; ++r) source.read(begin + r, out + r * k);
      });
    }
    multiply(panel, begin, rows);
  }
}

Tensor CpuOps::linear(const Tensor& x, const Weight& w) {
  Tensor y = allocate(checks::linear("linear", x, w));
  const auto space = workspace(OpCall{.kind = OpKind::linear, .rows = x.rows(), .weights = {&w}});
  run_linear(x, {{&w, floats(y)}}, space->data());
  return y;
}

Tensor CpuOps::linear_act(const Tensor& x, const Weight& w, Activation f) {
  Tensor y = allocate(checks::linear("linear_act", x, w));
  const auto space = workspace(OpCall{.kind = OpKind::linear_act, .rows = x.rows(), .weights = {&w}, .activation = f});
  run_linear(x, {{&w, floats(y), static_cast<int>(f)}}, space->data());
  return y;
}

Tensor CpuOps::linear_add(const Tensor& x, const Weight& w, const Tensor& residual) {
  const Shape shape = checks::linear("linear_add", x, w);
  checks::operand("linear_add", "residual", residual, shape);
  const float* r = floats("linear_add", residual);
  Tensor y = allocate(shape);
  const auto space = workspace(OpCall{.kind = OpKind::linear_add, .rows = x.rows(), .weights = {&w}});
  run_linear(x, {{&w, floats(y)}}, space->data());
  float* out = floats(y);
  parallel_for(y.elements(), kGrain, [&](int64_t b, int64_t e) { kernels::add(r + b, out + b, out + b, e - b); });
  return y;
}

Tensor CpuOps::linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                                const RowGroups& groups) {
  const Shape shape = checks::linear("linear_gated_add", x, w);
  checks::operand("linear_gated_add", "residual", residual, shape);
  checks::table("linear_gated_add", residual, gate, groups);
  const float* r = floats("linear_gated_add", residual);
  const float* g = floats("linear_gated_add", gate);
  Tensor y = allocate(shape);
  const auto space = workspace(OpCall{.kind = OpKind::linear_gated_add, .rows = x.rows(), .weights = {&w}});
  run_linear(x, {{&w, floats(y)}}, space->data());
  gated_add_rows(r, floats(y), g, floats(y), y.channels(), groups);
  return y;
}

Tensor CpuOps::swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  Tensor y = allocate(checks::swiglu(x, gate, up));
  const auto space = workspace(OpCall{.kind = OpKind::swiglu, .rows = x.rows(), .weights = {&gate, &up}});
  const int64_t a = CountingAllocator::kAlignment;
  float* second = reinterpret_cast<float*>(space->data());
  std::byte* rest = space->data() + (y.elements() * 4 + a - 1) / a * a;
  run_linear(x, {{&gate, floats(y)}, {&up, second}}, rest);
  float* out = floats(y);
  parallel_for(y.elements(), kGrain,
               [&](int64_t b, int64_t e) { kernels::silu_multiply(out + b, second + b, out + b, e - b); });
  return y;
}

QKV CpuOps::qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
                const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) {
  QKV result;
  result.q = allocate(checks::linear("qkv", x, wq));
  result.k = allocate(checks::linear("qkv", x, wk));
  result.v = allocate(checks::linear("qkv", x, wv));
  checks::head_norm_rope(result.q, gamma_q, rope, heads);
  checks::head_norm_rope(result.k, gamma_k, rope, kv_heads);
  const auto space = workspace(OpCall{.kind = OpKind::qkv, .rows = x.rows(), .weights = {&wq, &wk, &wv}});
  run_linear(x, {{&wq, floats(result.q)}, {&wk, floats(result.k)}, {&wv, floats(result.v)}}, space->data());
  norm_rope_rows(result.q, gamma_q, eps, rope, heads, floats(result.q));
  norm_rope_rows(result.k, gamma_k, eps, rope, kv_heads, floats(result.k));
  return result;
}

}  // namespace inkling
