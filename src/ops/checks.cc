#include "ops/checks.h"

#include <vector>

#include "base/error.h"

namespace inkling::checks {

namespace {

void defined(std::string_view op, std::string_view operand, const Tensor& t) {
  if (!t.defined()) throw RuntimeError("{}: got no {}, expected a tensor", op, operand);
  if (t.shape().rank() < 1) throw RuntimeError("{}: got {} of rank 0, expected [rows, channels]", op, operand);
}

Shape with_channels(const Tensor& x, int64_t channels) {
  std::vector<int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims.back() = channels;
  return Shape(dims);
}

void vector_of(std::string_view op, std::string_view operand, const Tensor& t, int64_t length) {
  defined(op, operand, t);
  if (t.elements() != length || t.dtype() != DType::f32)
    throw RuntimeError("{}: got {} {} {}, expected f32 [{}]", op, operand, name(t.dtype()), t.shape().str(), length);
}

}  // namespace

Shape rows(std::string_view op, const Tensor& x) {
  defined(op, "x", x);
  if (x.channels() < 1) throw RuntimeError("{}: got x {}, expected at least one channel", op, x.shape().str());
  return x.shape();
}

void operand(std::string_view op, std::string_view operand_name, const Tensor& t, const Shape& expected) {
  defined(op, operand_name, t);
  if (!(t.shape() == expected))
    throw RuntimeError("{}: got {} {}, expected {}", op, operand_name, t.shape().str(), expected.str());
}

Shape linear(std::string_view op, const Tensor& x, const Weight& w) {
  rows(op, x);
  if (w.shape.rank() != 2) throw RuntimeError("{}: got weight '{}' {}, expected [out, in]", op, w.name, w.shape.str());
  if (x.channels() != w.in_features())
    throw RuntimeError("{}: got x {}, expected {} channels for weight '{}' {}", op, x.shape().str(), w.in_features(),
                       w.name, w.shape.str());
  return with_channels(x, w.out_features());
}

Shape swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  const Shape shape = linear("swiglu", x, gate);
  if (!(linear("swiglu", x, up) == shape))
    throw RuntimeError("swiglu: got gate '{}' {} and up '{}' {}, expected equal shapes", gate.name, gate.shape.str(),
                       up.name, up.shape.str());
  return shape;
}

Shape embedding(const Tensor& ids, const Weight& w) {
  if (w.shape.rank() != 2)
    throw RuntimeError("embedding: got weight '{}' {}, expected [vocab, dim]", w.name, w.shape.str());
  indices("embedding", ids, w.shape[0]);
  return Shape{ids.elements(), w.shape[1]};
}

Shape same_shape(std::string_view op, const Tensor& a, const Tensor& b) {
  rows(op, a);
  defined(op, "second operand", b);
  if (!(a.shape() == b.shape()))
    throw RuntimeError("{}: got {} and {}, expected equal shapes", op, a.shape().str(), b.shape().str());
  return a.shape();
}

Shape norm(std::string_view op, const Tensor& x, const Tensor& gamma) {
  rows(op, x);
  vector_of(op, "gamma", gamma, x.channels());
  return x.shape();
}

Shape table(std::string_view op, const Tensor& x, const Tensor& table, const RowGroups& groups) {
  rows(op, x);
  defined(op, "table", table);
  if (table.channels() != x.channels())
    throw RuntimeError("{}: got table {}, expected [groups, {}]", op, table.shape().str(), x.channels());
  segments(op, groups.segments, x.rows());
  if (static_cast<int64_t>(groups.table_row.size()) != groups.segments.count())
    throw RuntimeError("{}: got {} table rows, expected {}", op, groups.table_row.size(), groups.segments.count());
  for (int64_t row : groups.table_row)
    if (row < 0 || row >= table.rows())
      throw RuntimeError("{}: got table row {}, expected one of {}", op, row, table.rows());
  return x.shape();
}

Shape head_norm_rope(const Tensor& x, const Tensor& gamma, const Rope& rope, int64_t heads) {
  constexpr std::string_view op = "head_norm_rope";
  rows(op, x);
  if (heads < 1 || x.channels() % heads != 0)
    throw RuntimeError("{}: got {} heads, expected a divisor of {} channels", op, heads, x.channels());
  const int64_t head_dim = x.channels() / heads;
  if (gamma.defined()) vector_of(op, "gamma", gamma, head_dim);
  if (!rope.cos.defined()) return x.shape();
  if (head_dim % 2 != 0) throw RuntimeError("{}: got head_dim {}, expected an even number", op, head_dim);
  for (const Tensor* t : {&rope.cos, &rope.sin}) {
    defined(op, "rope table", *t);
    if (t->rows() != x.rows() || t->channels() != head_dim / 2 || t->dtype() != DType::f32)
      throw RuntimeError("{}: got rope table {} {}, expected f32 [{}, {}]", op, name(t->dtype()), t->shape().str(),
                         x.rows(), head_dim / 2);
  }
  return x.shape();
}

Shape attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) {
  constexpr std::string_view op = "attention";
  rows(op, q);
  same_shape(op, k, v);
  if (spec.heads < 1 || spec.kv_heads < 1 || spec.heads % spec.kv_heads != 0)
    throw RuntimeError("{}: got {} heads and {} kv heads, expected a multiple", op, spec.heads, spec.kv_heads);
  if (q.channels() % spec.heads != 0)
    throw RuntimeError("{}: got q {}, expected channels that divide into {} heads", op, q.shape().str(), spec.heads);
  const int64_t kv_channels = q.channels() / spec.heads * spec.kv_heads;
  if (k.rows() != q.rows() || k.channels() != kv_channels)
    throw RuntimeError("{}: got k {}, expected [{}, {}]", op, k.shape().str(), q.rows(), kv_channels);
  segments(op, spec.segments, q.rows());
  return q.shape();
}

void joint_attention(const QKV& text, const Segments& text_segments, const QKV& image, const Segments& image_segments,
                     int64_t heads) {
  constexpr std::string_view op = "joint_attention";
  if (text_segments.count() != image_segments.count())
    throw RuntimeError("{}: got {} text and {} image segments, expected as many", op, text_segments.count(),
                       image_segments.count());
  const auto stream = [&](const QKV& s, const Segments& borders) {
    rows(op, s.q);
    same_shape(op, s.q, s.k);
    same_shape(op, s.q, s.v);
    segments(op, borders, s.q.rows());
  };
  stream(text, text_segments);
  stream(image, image_segments);
  const int64_t channels = image.q.channels();
  if (text.q.channels() != channels || heads < 1 || channels % heads != 0)
    throw RuntimeError("{}: got text {}, image {} and {} heads, expected equal channels that divide into the heads", op,
                       text.q.shape().str(), image.q.shape().str(), heads);
}

void stream_projection(std::string_view op, const StreamProjection& stream, int64_t heads) {
  const int64_t channels = stream.wk->out_features();
  checks::table(op, stream.x, stream.scale, *stream.groups);
  checks::table(op, stream.x, stream.shift, *stream.groups);
  for (const Weight* w : {stream.wq, stream.wk, stream.wv}) {
    if (w == nullptr) continue;
    if (linear(op, stream.x, *w).elements() != stream.x.rows() * channels)
      throw RuntimeError("{}: got weight '{}' {}, expected {} rows", op, w->name, w->shape.str(), channels);
  }
  if (heads < 1 || channels % heads != 0)
    throw RuntimeError("{}: got {} heads, expected a divisor of {} channels", op, heads, channels);
  for (const Tensor* gamma : {&stream.gamma_q, &stream.gamma_k})
    if (gamma->defined()) vector_of(op, "gamma", *gamma, channels / heads);
  for (const Tensor* t : {&stream.rope.cos, &stream.rope.sin})
    if (t->defined() && (t->rows() != stream.x.rows() || t->channels() != channels / heads / 2))
      throw RuntimeError("{}: got rope table {}, expected [{}, {}]", op, t->shape().str(), stream.x.rows(),
                         channels / heads / 2);
}

void stream_finish(std::string_view op, const StreamFinish& stream) {
  for (const Tensor* t : {&stream.gate1, &stream.scale2, &stream.shift2, &stream.gate2})
    checks::table(op, stream.x, *t, *stream.groups);
  operand(op, "attention's projection", stream.x, linear(op, stream.attention, *stream.out));
  linear(op, stream.x, *stream.mlp_in);
  if (stream.mlp_out->in_features() != stream.mlp_in->out_features() ||
      stream.mlp_out->out_features() != stream.x.channels())
    throw RuntimeError("{}: got weight '{}' {}, expected [{}, {}]", op, stream.mlp_out->name,
                       stream.mlp_out->shape.str(), stream.x.channels(), stream.mlp_in->out_features());
}

Shape concat_rows(const std::vector<Tensor>& parts) {
  if (parts.empty()) throw RuntimeError("concat_rows: got no parts, expected at least one");
  int64_t total = 0;
  for (const Tensor& part : parts) {
    rows("concat_rows", part);
    if (part.channels() != parts[0].channels() || part.dtype() != parts[0].dtype())
      throw RuntimeError("concat_rows: got {} {}, expected {} [rows, {}]", name(part.dtype()), part.shape().str(),
                         name(parts[0].dtype()), parts[0].channels());
    total += part.rows();
  }
  return Shape{total, parts[0].channels()};
}

Shape slice_channels(const Tensor& x, int64_t begin, int64_t end) {
  rows("slice_channels", x);
  if (begin < 0 || end <= begin || end > x.channels())
    throw RuntimeError("slice_channels: got [{}, {}), expected a range within {} channels", begin, end, x.channels());
  return with_channels(x, end - begin);
}

Shape gather_rows(const Tensor& x, const Tensor& index) {
  rows("gather_rows", x);
  indices("gather_rows", index, x.rows());
  return Shape{index.elements(), x.channels()};
}

Shape conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  defined("conv2d", "x", x);
  if (x.shape().rank() != 3) throw RuntimeError("conv2d: got x {}, expected [H, W, C]", x.shape().str());
  if (w.shape.rank() != 4 || w.shape[1] != x.channels())
    throw RuntimeError("conv2d: got weight '{}' {}, expected [out, {}, kh, kw]", w.name, w.shape.str(), x.channels());
  const int64_t height = x.dim(0) + spec.pad_top + spec.pad_bottom - w.shape[2];
  const int64_t width = x.dim(1) + spec.pad_left + spec.pad_right - w.shape[3];
  if (spec.stride < 1 || spec.pad_top < 0 || spec.pad_left < 0 || spec.pad_bottom < 0 || spec.pad_right < 0)
    throw RuntimeError("conv2d: got stride {} and padding {} {} {} {}, expected stride > 0 and padding >= 0",
                       spec.stride, spec.pad_top, spec.pad_left, spec.pad_bottom, spec.pad_right);
  if (height < 0 || width < 0)
    throw RuntimeError("conv2d: got x {}, expected at least the kernel of '{}' {}", x.shape().str(), w.name,
                       w.shape.str());
  return Shape{height / spec.stride + 1, width / spec.stride + 1, w.shape[0]};
}

Shape upsample2x(const Tensor& x) {
  defined("upsample2x", "x", x);
  if (x.shape().rank() != 3) throw RuntimeError("upsample2x: got x {}, expected [H, W, C]", x.shape().str());
  return Shape{2 * x.dim(0), 2 * x.dim(1), x.dim(2)};
}

Shape upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  const Shape doubled = upsample2x(x);
  const auto nothing = std::make_shared<Storage>(nullptr, doubled.elements() * info(x.dtype()).block_bytes);
  return conv2d(Tensor(doubled, x.dtype(), nothing), w, spec);
}

void segments(std::string_view op, const Segments& segments, int64_t rows) {
  const std::vector<int64_t>& offsets = segments.offsets;
  bool good = !offsets.empty() && offsets.front() == 0;
  for (size_t i = 1; good && i < offsets.size(); ++i) good = offsets[i] >= offsets[i - 1];
  if (!good) throw RuntimeError("{}: got segment offsets that fall or do not start at 0, expected borders of rows", op);
  if (segments.rows() != rows)
    throw RuntimeError("{}: got segments of {} rows, expected {} rows", op, segments.rows(), rows);
}

void indices(std::string_view op, const Tensor& index, int64_t limit) {
  defined(op, "index", index);
  if (index.dtype() != DType::i32)
    throw RuntimeError("{}: got indices of type {}, expected i32", op, name(index.dtype()));
  if (index.raw() == nullptr) return;
  for (int32_t i : index.span<int32_t>())
    if (i < 0 || i >= limit) throw RuntimeError("{}: got index {}, expected 0 to {}", op, i, limit - 1);
}

}  // namespace inkling::checks
