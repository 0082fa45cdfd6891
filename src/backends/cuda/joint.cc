// The two streams of a DiT block. The text stream's few rows run on a lane of their own beside the image stream's, and
// so do the projections that one stream's tail would leave multiprocessors idle for.
#include <algorithm>

#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/cuda_weight.h"
#include "backends/cuda/operands.h"
#include "backends/cuda/space.h"
#include "base/error.h"
#include "ops/checks.h"

namespace inkling {

using cuda::Elem;

void CudaOps::project_stream(const StreamProjection& s, float eps, int64_t heads, QKV& to, Space& space, int first_lane,
                             bool spread) {
  const int64_t rows = s.x.rows(), columns = s.x.channels();
  const Weight* const weights[] = {s.wq, s.wk, s.wv};
  Operands operands;
  for (const OperandKey& key : distinct_operands(model_, weights)) {
    const cuda::RowsOut out = operand_rows(key, rows, columns, space);
    cuda::layer_norm(s.x.raw(), elem("joint_qkv", s.x), rows, columns, eps, f32_or_null("joint_qkv", s.scale),
                     f32_or_null("joint_qkv", s.shift), row_table("joint_qkv", *s.groups, 0, rows), out,
                     context_->lane(first_lane));
    operands.each.push_back({key, out.y, out.scale, out.sum});
  }
  if (spread) context_->fork(3);
  if (s.wq != nullptr) {
    product(operands, *s.wq, rows, {.y = to.q.raw()}, space, first_lane);
    norm_rope(to.q, s.gamma_q, eps, s.rope, heads, first_lane);
  }
  const int k_lane = spread ? 1 : first_lane, v_lane = spread ? 2 : first_lane;
  product(operands, *s.wk, rows, {.y = to.k.raw()}, space, k_lane);
  norm_rope(to.k, s.gamma_k, eps, s.rope, heads, k_lane);
  product(operands, *s.wv, rows, {.y = to.v.raw()}, space, v_lane);
  if (s.wq == nullptr && rows > 0)  // nothing reads these queries' results: the keys stand in
    cuda::check(cudaMemcpyAsync(to.q.raw(), to.k.raw(), static_cast<size_t>(to.q.bytes()), cudaMemcpyDeviceToDevice,
                                context_->lane(k_lane)),
                "joint_qkv");
}

std::pair<QKV, QKV> CudaOps::joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                       int64_t heads) {
  checks::stream_projection("joint_qkv", text, heads);
  checks::stream_projection("joint_qkv", image, heads);
  const int64_t rows = text.x.rows(), total = rows + image.x.rows(), channels = image.wk->out_features();
  const auto both = [&] { return result(OpKind::joint_qkv, Shape{total, channels}, image.x); };
  const Tensor q = both(), k = both(), v = both();
  const OpCall call{.kind = OpKind::joint_qkv,
                    .rows = image.x.rows(),
                    .text_rows = rows,
                    .operand = image.x.dtype(),
                    .weights = {image.wq, image.wk, image.wv, text.wq, text.wk, text.wv},
                    .heads = heads,
                    .head_dim = channels / heads};
  const auto part = [&](int64_t begin, int64_t end) {
    return QKV{q.slice_rows(begin, end), k.slice_rows(begin, end), v.slice_rows(begin, end)};
  };
  std::pair<QKV, QKV> y{part(0, rows), part(rows, total)};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  constexpr int kTextLane = 3;
  context_->fork(4);
  project_stream(text, eps, heads, y.first, space, kTextLane, false);
  project_stream(image, eps, heads, y.second, space, 0, true);
  context_->join(4);
  return y;
}

void CudaOps::finish_stream(const StreamFinish& s, float eps, Tensor& y, std::byte* memory, int lane) {
  constexpr std::string_view op = "joint_finish";
  const int64_t rows = s.x.rows(), columns = s.x.channels();
  constexpr int64_t kAll = int64_t{1} << 50;  // CudaModel::joint_finish_bytes counted it
  {
    Space space(memory, kAll);
    const Weight* const weights[] = {s.out};
    product(convert(s.attention, weights, space, lane), *s.out, rows,
            {.y = y.raw(),
             .type = Elem::f32,
             .residual = as_f32(s.x, y, lane),
             .gate = f32_or_null(op, s.gate1),
             .groups = row_table(op, *s.groups, 0, rows)},
            space, lane);
  }
  for (int64_t begin = 0; begin < rows; begin += CudaModel::kMlpRows) {
    const int64_t end = std::min(rows, begin + CudaModel::kMlpRows), m = end - begin;
    const cuda::RowTable groups = row_table(op, *s.groups, begin, end);
    float* at = y.data<float>() + begin * columns;
    Space space(memory, kAll);
    const Weight *const in[] = {s.mlp_in}, *const out[] = {s.mlp_out};
    Operands operands;
    {
      const OperandKey key = model_.operand(*s.mlp_in);
      const cuda::RowsOut rows_out = operand_rows(key, m, columns, space);
      cuda::layer_norm(at, Elem::f32, m, columns, eps, f32_or_null(op, s.scale2), f32_or_null(op, s.shift2), groups,
                       rows_out, context_->lane(lane));
      operands.each.push_back({key, rows_out.y, rows_out.scale, rows_out.sum});
    }
    const int64_t hidden = in[0]->out_features();
    auto* h = space.take<std::byte>(m * hidden * 2);
    product(operands, *s.mlp_in, m, {.y = h, .type = Elem::bf16, .act = act(s.activation)}, space, lane);
    const Operands second = convert(h, Elem::bf16, m, hidden, out, space, lane);
    product(second, *s.mlp_out, m,
            {.y = at, .type = Elem::f32, .residual = at, .gate = f32_or_null(op, s.gate2), .groups = groups}, space,
            lane);
  }
}

std::pair<Tensor, Tensor> CudaOps::joint_finish(StreamFinish text, StreamFinish image, float eps) {
  OpCall call{.kind = OpKind::joint_finish,
              .rows = image.x.rows(),
              .operand = image.attention.dtype(),
              .weights = {image.out, image.mlp_in, image.mlp_out},
              .activation = image.activation};
  std::pair<Tensor, Tensor> y;
  checks::stream_finish("joint_finish", image);
  y.second = result(OpKind::joint_finish, image.x.shape(), image.x);
  if (text.x.defined()) {
    checks::stream_finish("joint_finish", text);
    y.first = result(OpKind::joint_finish, text.x.shape(), text.x);
  }
  OpCall image_call = call;
  const int64_t image_bytes = model_.workspace_bytes(image_call);
  if (text.x.defined()) {
    call.text_rows = text.x.rows();
    call.weights = {image.out, image.mlp_in, image.mlp_out, text.out, text.mlp_in, text.mlp_out};
  }
  const auto memory = workspace(call);
  if (text.x.defined()) {
    context_->fork(2);
    finish_stream(text, eps, y.first, memory->data() + image_bytes, 1);
  }
  finish_stream(image, eps, y.second, memory->data(), 0);
  if (text.x.defined()) context_->join(2);
  return y;
}

std::pair<Tensor, Tensor> CudaOps::joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                                   const Segments& image_segments, int64_t heads, float scale) {
  constexpr std::string_view op = "joint_attention";
  checks::joint_attention(text, text_segments, image, image_segments, heads);
  Tensor text_rows = result(OpKind::joint_attention, text.q.shape(), text.q);
  Tensor image_rows = result(OpKind::joint_attention, image.q.shape(), image.q);
  const int64_t channels = image.q.channels();
  const OpCall call{.kind = OpKind::joint_attention,
                    .rows = image.q.rows(),
                    .text_rows = text.q.rows(),
                    .operand = image.q.dtype(),
                    .heads = heads,
                    .head_dim = channels / heads,
                    .kv_heads = heads,
                    .value_type = image.v.dtype(),
                    .segments = &image_segments,
                    .text_segments = &text_segments};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  std::vector<int32_t> offsets;
  const cuda::AttentionShape shape =
      attention_shape(heads, heads, channels / heads, scale, false, text_segments, &image_segments, offsets);
  // The three inputs of both streams in bf16, where they are not.
  const auto in_bf16 = [&](const Tensor& t, const Tensor& i) -> std::pair<const void*, const void*> {
    if (t.dtype() == DType::bf16 && i.dtype() == DType::bf16) return {t.raw(), i.raw()};
    auto* to = space.take<std::byte>((t.elements() + i.elements()) * 2);
    std::byte* second = to + t.elements() * 2;
    cuda::convert_rows(t.raw(), elem(op, t), channels, t.rows(), channels, cuda::Act::none, {to, Elem::bf16},
                       context_->lane());
    cuda::convert_rows(i.raw(), elem(op, i), channels, i.rows(), channels, cuda::Act::none, {second, Elem::bf16},
                       context_->lane());
    return {to, second};
  };
  cuda::AttentionPart first{.y = text_rows.raw()}, second{.y = image_rows.raw()};
  std::tie(first.q, second.q) = in_bf16(text.q, image.q);
  std::tie(first.k, second.k) = in_bf16(text.k, image.k);
  std::tie(first.v, second.v) = in_bf16(text.v, image.v);
  for (cuda::AttentionPart* p : {&first, &second}) p->q_stride = p->kv_stride = p->y_stride = channels;
  run_attention(shape, first, second, offsets, space.rest().take<std::byte>(0));
  return {text_rows, image_rows};
}

}  // namespace inkling
