// The operations of the plan. Those that the planned backend does not fuse run their composed default.
#include <algorithm>

#include "backends/plan/plan_ops.h"
#include "ops/checks.h"

namespace inkling {

namespace {

int64_t linear_flops(const Tensor& x, const Weight& w) { return 2 * x.rows() * w.in_features() * w.out_features(); }

// Two products of length x length x head_dim per head; half of that, with the diagonal, where causal.
int64_t attention_flops(int64_t length, int64_t channels, bool causal) {
  return 4 * channels * (causal ? length * (length + 1) / 2 : length * length);
}

}  // namespace

Tensor PlanOps::linear(const Tensor& x, const Weight& w) {
  Tensor y = result(OpKind::linear, checks::linear("linear", x, w), x);
  work(OpCall{.kind = OpKind::linear, .rows = x.rows(), .weights = {&w}}, linear_flops(x, w));
  return y;
}

Tensor PlanOps::embedding(const Tensor& ids, const Weight& w) {
  Tensor y = result(OpKind::embedding, checks::embedding(ids, w), ids);
  work(OpCall{.kind = OpKind::embedding, .rows = ids.elements(), .weights = {&w}});
  return y;
}

Tensor PlanOps::add(const Tensor& a, const Tensor& b) {
  return simple(OpKind::add, checks::same_shape("add", a, b), a);
}

Tensor PlanOps::multiply(const Tensor& a, const Tensor& b) {
  return simple(OpKind::multiply, checks::same_shape("multiply", a, b), a);
}

Tensor PlanOps::activate(const Tensor& x, Activation) {
  return simple(OpKind::activate, checks::rows("activate", x), x);
}

Tensor PlanOps::axpby(float, const Tensor& x, float, const Tensor& y) {
  return simple(OpKind::axpby, checks::same_shape("axpby", x, y), x);
}

Tensor PlanOps::rms_norm(const Tensor& x, const Tensor& gamma, float) {
  return simple(OpKind::rms_norm, checks::norm("rms_norm", x, gamma), x);
}

Tensor PlanOps::layer_norm(const Tensor& x, float) {
  return simple(OpKind::layer_norm, checks::rows("layer_norm", x), x);
}

Tensor PlanOps::modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) {
  checks::table("modulate", x, scale, groups);
  return simple(OpKind::modulate, checks::table("modulate", x, shift, groups), x);
}

Tensor PlanOps::gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) {
  checks::same_shape("gated_add", residual, y);
  return simple(OpKind::gated_add, checks::table("gated_add", residual, gate, groups), residual);
}

Tensor PlanOps::head_norm_rope(const Tensor& x, const Tensor& gamma, float, const Rope& rope, int64_t heads) {
  return simple(OpKind::head_norm_rope, checks::head_norm_rope(x, gamma, rope, heads), x);
}

Tensor PlanOps::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) {
  Tensor y = result(OpKind::attention, checks::attention(q, k, v, spec), q);
  OpCall call{.kind = OpKind::attention, .rows = q.rows(), .heads = spec.heads, .head_dim = q.channels() / spec.heads};
  int64_t flops = 0;
  for (int64_t i = 0; i < spec.segments.count(); ++i) {
    call.longest = std::max(call.longest, spec.segments.length(i));
    flops += attention_flops(spec.segments.length(i), q.channels(), spec.causal);
  }
  work(call, flops);
  return y;
}

Tensor PlanOps::concat_rows(const std::vector<Tensor>& parts) {
  return simple(OpKind::concat_rows, checks::concat_rows(parts), parts.empty() ? Tensor() : parts[0]);
}

Tensor PlanOps::slice_channels(const Tensor& x, int64_t begin, int64_t end) {
  return simple(OpKind::slice_channels, checks::slice_channels(x, begin, end), x);
}

Tensor PlanOps::gather_rows(const Tensor& x, const Tensor& index) {
  return simple(OpKind::gather_rows, checks::gather_rows(x, index), x);
}

Tensor PlanOps::conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  Tensor y = result(OpKind::conv2d, checks::conv2d(x, w, spec), x);
  work(OpCall{.kind = OpKind::conv2d, .weights = {&w}, .map = x.shape(), .conv = spec},
       2 * y.rows() * w.shape.elements());
  return y;
}

Tensor PlanOps::upsample2x(const Tensor& x) { return simple(OpKind::upsample2x, checks::upsample2x(x), x); }

Tensor PlanOps::channel_norm(const Tensor& x, const Tensor& gamma) {
  return simple(OpKind::channel_norm, checks::norm("channel_norm", x, gamma), x);
}

Tensor PlanOps::guide(const Tensor& positive, const Tensor& negative, float) {
  return simple(OpKind::guide, checks::same_shape("guide", positive, negative), positive);
}

Tensor PlanOps::linear_act(const Tensor& x, const Weight& w, Activation f) {
  if (!model_.fuses(OpKind::linear_act)) return Ops::linear_act(x, w, f);
  Tensor y = result(OpKind::linear_act, checks::linear("linear_act", x, w), x);
  work(OpCall{.kind = OpKind::linear_act, .rows = x.rows(), .weights = {&w}, .activation = f}, linear_flops(x, w));
  return y;
}

Tensor PlanOps::linear_add(const Tensor& x, const Weight& w, const Tensor& residual) {
  if (!model_.fuses(OpKind::linear_add)) return Ops::linear_add(x, w, residual);
  const Shape shape = checks::linear("linear_add", x, w);
  checks::operand("linear_add", "residual", residual, shape);
  Tensor y = result(OpKind::linear_add, shape, residual);
  work(OpCall{.kind = OpKind::linear_add, .rows = x.rows(), .weights = {&w}}, linear_flops(x, w));
  return y;
}

Tensor PlanOps::linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                                 const RowGroups& groups) {
  if (!model_.fuses(OpKind::linear_gated_add)) return Ops::linear_gated_add(x, w, residual, gate, groups);
  const Shape shape = checks::linear("linear_gated_add", x, w);
  checks::operand("linear_gated_add", "residual", residual, shape);
  checks::table("linear_gated_add", residual, gate, groups);
  Tensor y = result(OpKind::linear_gated_add, shape, residual);
  work(OpCall{.kind = OpKind::linear_gated_add, .rows = x.rows(), .weights = {&w}}, linear_flops(x, w));
  return y;
}

Tensor PlanOps::swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  if (!model_.fuses(OpKind::swiglu)) return Ops::swiglu(x, gate, up);
  Tensor y = result(OpKind::swiglu, checks::swiglu(x, gate, up), x);
  work(OpCall{.kind = OpKind::swiglu, .rows = x.rows(), .weights = {&gate, &up}},
       linear_flops(x, gate) + linear_flops(x, up));
  return y;
}

Tensor PlanOps::modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                               float eps) {
  if (!model_.fuses(OpKind::modulated_norm)) return Ops::modulated_norm(x, scale, shift, groups, eps);
  checks::table("modulated_norm", x, scale, groups);
  return simple(OpKind::modulated_norm, checks::table("modulated_norm", x, shift, groups), x);
}

QKV PlanOps::qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
                 const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) {
  if (!model_.fuses(OpKind::qkv)) return Ops::qkv(x, wq, wk, wv, gamma_q, gamma_k, eps, rope, heads, kv_heads);
  QKV y;
  y.q = result(OpKind::qkv, checks::linear("qkv", x, wq), x);
  y.k = result(OpKind::qkv, checks::linear("qkv", x, wk), x);
  y.v = result(OpKind::qkv, checks::linear("qkv", x, wv), x);
  checks::head_norm_rope(y.q, gamma_q, rope, heads);
  checks::head_norm_rope(y.k, gamma_k, rope, kv_heads);
  work(OpCall{.kind = OpKind::qkv, .rows = x.rows(), .weights = {&wq, &wk, &wv}},
       linear_flops(x, wq) + linear_flops(x, wk) + linear_flops(x, wv));
  return y;
}

std::pair<Tensor, Tensor> PlanOps::joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                                   const Segments& image_segments, int64_t heads, float scale) {
  if (!model_.fuses(OpKind::joint_attention))
    return Ops::joint_attention(text, text_segments, image, image_segments, heads, scale);
  checks::joint_attention(text, text_segments, image, image_segments, heads);
  Tensor text_rows = result(OpKind::joint_attention, text.q.shape(), text.q);
  Tensor image_rows = result(OpKind::joint_attention, image.q.shape(), image.q);
  const int64_t channels = image.q.channels();
  OpCall call{.kind = OpKind::joint_attention,
              .rows = text.q.rows() + image.q.rows(),
              .heads = heads,
              .head_dim = channels / heads};
  int64_t flops = 0;
  for (int64_t i = 0; i < text_segments.count(); ++i) {
    const int64_t length = text_segments.length(i) + image_segments.length(i);
    call.longest = std::max(call.longest, length);
    flops += attention_flops(length, channels, false);
  }
  work(call, flops);
  return {text_rows, image_rows};
}

Tensor PlanOps::channel_norm_silu(const Tensor& x, const Tensor& gamma) {
  if (!model_.fuses(OpKind::channel_norm_silu)) return Ops::channel_norm_silu(x, gamma);
  return simple(OpKind::channel_norm_silu, checks::norm("channel_norm_silu", x, gamma), x);
}

}  // namespace inkling
