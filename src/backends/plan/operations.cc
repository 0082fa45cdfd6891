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
  work(OpCall{.kind = OpKind::linear, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}}, linear_flops(x, w));
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
  OpCall call{.kind = OpKind::attention,
              .rows = q.rows(),
              .operand = q.dtype(),
              .heads = spec.heads,
              .head_dim = q.channels() / spec.heads,
              .kv_heads = spec.kv_heads,
              .causal = spec.causal,
              .value_type = v.dtype(),
              .segments = &spec.segments};
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
  work(OpCall{.kind = OpKind::conv2d, .operand = x.dtype(), .weights = {&w}, .map = x.shape(), .conv = spec},
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
  work(OpCall{.kind = OpKind::linear_act, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}, .activation = f},
       linear_flops(x, w));
  return y;
}

Tensor PlanOps::linear_add(const Tensor& x, const Weight& w, const Tensor& residual) {
  if (!model_.fuses(OpKind::linear_add)) return Ops::linear_add(x, w, residual);
  const Shape shape = checks::linear("linear_add", x, w);
  checks::operand("linear_add", "residual", residual, shape);
  Tensor y = result(OpKind::linear_add, shape, residual);
  work(OpCall{.kind = OpKind::linear_add, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}}, linear_flops(x, w));
  return y;
}

Tensor PlanOps::linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                                 const RowGroups& groups) {
  if (!model_.fuses(OpKind::linear_gated_add)) return Ops::linear_gated_add(x, w, residual, gate, groups);
  const Shape shape = checks::linear("linear_gated_add", x, w);
  checks::operand("linear_gated_add", "residual", residual, shape);
  checks::table("linear_gated_add", residual, gate, groups);
  Tensor y = result(OpKind::linear_gated_add, shape, residual);
  work(OpCall{.kind = OpKind::linear_gated_add, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}},
       linear_flops(x, w));
  return y;
}

Tensor PlanOps::swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  if (!model_.fuses(OpKind::swiglu)) return Ops::swiglu(x, gate, up);
  Tensor y = result(OpKind::swiglu, checks::swiglu(x, gate, up), x);
  work(OpCall{.kind = OpKind::swiglu, .rows = x.rows(), .operand = x.dtype(), .weights = {&gate, &up}},
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
  work(OpCall{.kind = OpKind::qkv, .rows = x.rows(), .operand = x.dtype(), .weights = {&wq, &wk, &wv}},
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
              .rows = image.q.rows(),
              .text_rows = text.q.rows(),
              .operand = image.q.dtype(),
              .heads = heads,
              .head_dim = channels / heads,
              .kv_heads = heads,
              .value_type = image.v.dtype(),
              .segments = &image_segments,
              .text_segments = &text_segments};
  int64_t flops = 0;
  for (int64_t i = 0; i < text_segments.count(); ++i) {
    const int64_t length = text_segments.length(i) + image_segments.length(i);
    call.longest = std::max(call.longest, length);
    flops += attention_flops(length, channels, false);
  }
  work(call, flops);
  return {text_rows, image_rows};
}

std::pair<QKV, QKV> PlanOps::joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                       int64_t heads) {
  if (!model_.fuses(OpKind::joint_qkv)) return Ops::joint_qkv(text, image, eps, heads);
  checks::stream_projection("joint_qkv", text, heads);
  checks::stream_projection("joint_qkv", image, heads);
  // One block each for the queries, keys and values of both: text rows, then image rows.
  const int64_t rows = text.x.rows(), total = rows + image.x.rows(), channels = image.wk->out_features();
  const auto both = [&] { return result(OpKind::joint_qkv, Shape{total, channels}, image.x); };
  const Tensor q = both(), k = both(), v = both();
  OpCall call{.kind = OpKind::joint_qkv,
              .rows = image.x.rows(),
              .text_rows = rows,
              .operand = image.x.dtype(),
              .weights = {image.wq, image.wk, image.wv, text.wq, text.wk, text.wv},
              .heads = heads,
              .head_dim = channels / heads};
  int64_t flops = 0;
  for (const StreamProjection* s : {&text, &image})
    for (const Weight* w : {s->wq, s->wk, s->wv})
      if (w != nullptr) flops += linear_flops(s->x, *w);
  work(call, flops);
  const auto part = [&](int64_t begin, int64_t end) {
    return QKV{q.slice_rows(begin, end), k.slice_rows(begin, end), v.slice_rows(begin, end)};
  };
  return {part(0, rows), part(rows, total)};
}

std::pair<Tensor, Tensor> PlanOps::joint_finish(StreamFinish text, StreamFinish image, float eps) {
  if (!model_.fuses(OpKind::joint_finish)) return Ops::joint_finish(std::move(text), std::move(image), eps);
  OpCall call{.kind = OpKind::joint_finish,
              .rows = image.x.rows(),
              .operand = image.attention.dtype(),
              .activation = image.activation};
  call.weights = {image.out, image.mlp_in, image.mlp_out};
  std::pair<Tensor, Tensor> y;
  int64_t flops = 0;
  const auto stream = [&](const StreamFinish& s) {
    checks::stream_finish("joint_finish", s);
    flops +=
        linear_flops(s.attention, *s.out) + linear_flops(s.x, *s.mlp_in) + 2 * s.x.rows() * s.mlp_out->shape.elements();
    return result(OpKind::joint_finish, s.x.shape(), s.x);
  };
  y.second = stream(image);
  if (text.x.defined()) {
    y.first = stream(text);
    call.text_rows = text.x.rows();
    call.weights = {image.out, image.mlp_in, image.mlp_out, text.out, text.mlp_in, text.mlp_out};
  }
  work(call, flops);
  return y;
}

Tensor PlanOps::upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  if (!model_.fuses(OpKind::upsample_conv2d) || !w.doubled_input) return Ops::upsample_conv2d(x, w, spec);
  const Shape up = checks::upsample2x(x);
  Tensor y = result(OpKind::upsample_conv2d, checks::conv2d(Tensor(up, x.dtype(), nullptr), w, spec), x);
  work(OpCall{.kind = OpKind::upsample_conv2d, .operand = x.dtype(), .weights = {&w}, .map = up, .conv = spec},
       2 * y.rows() * w.shape.elements());
  return y;
}

Tensor PlanOps::conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual) {
  if (!model_.fuses(OpKind::conv2d_add)) return Ops::conv2d_add(x, w, spec, residual);
  const Shape shape = checks::conv2d(x, w, spec);
  checks::operand("conv2d_add", "residual", residual, shape);
  Tensor y = result(OpKind::conv2d_add, shape, x);
  work(OpCall{.kind = OpKind::conv2d_add, .operand = x.dtype(), .weights = {&w}, .map = x.shape(), .conv = spec},
       2 * y.rows() * w.shape.elements());
  return y;
}

Tensor PlanOps::channel_norm_silu(const Tensor& x, const Tensor& gamma) {
  if (!model_.fuses(OpKind::channel_norm_silu)) return Ops::channel_norm_silu(x, gamma);
  return simple(OpKind::channel_norm_silu, checks::norm("channel_norm_silu", x, gamma), x);
}

}  // namespace inkling
