// Operations on the rows of activations, and those that move rows.
#include <cstring>

#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/cuda_weight.h"
#include "base/error.h"
#include "formats/block_quant.h"
#include "ops/checks.h"

namespace inkling {

using cuda::Elem;

Tensor CudaOps::add(const Tensor& a, const Tensor& b) {
  Tensor y = result(OpKind::add, checks::same_shape("add", a, b), a);
  cuda::axpby(1.f, a.raw(), elem("add", a), 1.f, b.raw(), elem("add", b), y.elements(), y.raw(), elem("add", y),
              context_->lane());
  return y;
}

Tensor CudaOps::multiply(const Tensor& a, const Tensor& b) {
  Tensor y = result(OpKind::multiply, checks::same_shape("multiply", a, b), a);
  cuda::multiply(a.raw(), elem("multiply", a), b.raw(), elem("multiply", b), y.elements(), y.raw(), elem("multiply", y),
                 context_->lane());
  return y;
}

Tensor CudaOps::activate(const Tensor& x, Activation f) {
  Tensor y = result(OpKind::activate, checks::rows("activate", x), x);
  cuda::activate(x.raw(), elem("activate", x), nullptr, act(f), x.rows(), x.channels(), y.raw(), elem("activate", y),
                 context_->lane());
  return y;
}

Tensor CudaOps::axpby(float a, const Tensor& x, float b, const Tensor& z) {
  Tensor y = result(OpKind::axpby, checks::same_shape("axpby", x, z), x);
  cuda::axpby(a, x.raw(), elem("axpby", x), b, z.raw(), elem("axpby", z), y.elements(), y.raw(), elem("axpby", y),
              context_->lane());
  return y;
}

Tensor CudaOps::rms_norm(const Tensor& x, const Tensor& gamma, float eps) {
  Tensor y = result(OpKind::rms_norm, checks::norm("rms_norm", x, gamma), x);
  cuda::rms_norm(x.raw(), elem("rms_norm", x), x.rows(), x.channels(), f32_or_null("rms_norm", gamma), eps,
                 {y.raw(), elem("rms_norm", y)}, context_->lane());
  return y;
}

Tensor CudaOps::layer_norm(const Tensor& x, float eps) {
  Tensor y = result(OpKind::layer_norm, checks::rows("layer_norm", x), x);
  cuda::layer_norm(x.raw(), elem("layer_norm", x), x.rows(), x.channels(), eps, nullptr, nullptr, {},
                   {y.raw(), elem("layer_norm", y)}, context_->lane());
  return y;
}

Tensor CudaOps::modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) {
  checks::table("modulate", x, scale, groups);
  Tensor y = result(OpKind::modulate, checks::table("modulate", x, shift, groups), x);
  cuda::modulate(x.raw(), elem("modulate", x), x.rows(), x.channels(), f32_or_null("modulate", scale),
                 f32_or_null("modulate", shift), row_table("modulate", groups, 0, x.rows()), y.raw(),
                 elem("modulate", y), context_->lane());
  return y;
}

Tensor CudaOps::modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                               float eps) {
  constexpr std::string_view op = "modulated_norm";
  checks::table(op, x, scale, groups);
  Tensor y = result(OpKind::modulated_norm, checks::table(op, x, shift, groups), x);
  cuda::layer_norm(x.raw(), elem(op, x), x.rows(), x.channels(), eps, f32_or_null(op, scale), f32_or_null(op, shift),
                   row_table(op, groups, 0, x.rows()), {y.raw(), elem(op, y)}, context_->lane());
  return y;
}

Tensor CudaOps::gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) {
  const Shape shape = checks::same_shape("gated_add", residual, y);
  checks::table("gated_add", residual, gate, groups);
  Tensor z = result(OpKind::gated_add, shape, residual);
  cuda::gated_add(residual.raw(), elem("gated_add", residual), y.raw(), elem("gated_add", y),
                  f32_or_null("gated_add", gate), row_table("gated_add", groups, 0, y.rows()), y.rows(), y.channels(),
                  z.raw(), elem("gated_add", z), context_->lane());
  return z;
}

Tensor CudaOps::head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) {
  constexpr std::string_view op = "head_norm_rope";
  Tensor y = result(OpKind::head_norm_rope, checks::head_norm_rope(x, gamma, rope, heads), x);
  cuda::head_norm_rope(x.raw(), elem(op, x), x.rows(), heads, x.channels() / heads, f32_or_null(op, gamma), eps,
                       f32_or_null(op, rope.cos), f32_or_null(op, rope.sin), rope.style == Rope::Style::interleaved,
                       y.raw(), context_->lane());
  return y;
}

Tensor CudaOps::channel_norm(const Tensor& x, const Tensor& gamma) {
  Tensor y = result(OpKind::channel_norm, checks::norm("channel_norm", x, gamma), x);
  cuda::channel_norm(x.raw(), elem("channel_norm", x), x.rows(), x.channels(), f32_or_null("channel_norm", gamma),
                     false, y.raw(), context_->lane());
  return y;
}

Tensor CudaOps::channel_norm_silu(const Tensor& x, const Tensor& gamma) {
  Tensor y = result(OpKind::channel_norm_silu, checks::norm("channel_norm_silu", x, gamma), x);
  cuda::channel_norm(x.raw(), elem("channel_norm_silu", x), x.rows(), x.channels(),
                     f32_or_null("channel_norm_silu", gamma), true, y.raw(), context_->lane());
  return y;
}

Tensor CudaOps::guide(const Tensor& positive, const Tensor& negative, float scale) {
  Tensor y = result(OpKind::guide, checks::same_shape("guide", positive, negative), positive);
  cuda::guide(f32_or_null("guide", positive), f32_or_null("guide", negative), scale, y.rows(), y.channels(),
              y.data<float>(), context_->lane());
  return y;
}

// The table stays on the host: only the rows asked for come to the device.
Tensor CudaOps::embedding(const Tensor& ids, const Weight& w) {
  Tensor y = result(OpKind::embedding, checks::embedding(ids, w), ids);
  const auto* ready = dynamic_cast<const CudaWeight*>(w.prepared.get());
  const Tensor& table = ready != nullptr ? ready->host : w.value;
  const int64_t columns = w.shape[1];
  Tensor rows = host_tensor(y.shape());
  if (table.defined() && table.raw() != nullptr) {
    const int64_t stride = row_bytes(table.dtype(), columns);
    Tensor stored = host_tensor(y.shape(), table.dtype());
    for (int64_t i = 0; i < y.dim(0); ++i)
      std::memcpy(stored.raw() + i * stride, table.raw() + ids.data<int32_t>()[i] * stride,
                  static_cast<size_t>(stride));
    rows = dequantize(stored);
  } else if (!fill_missing_) {
    throw RuntimeError("embedding: got weight '{}' without a value, expected a loaded one", w.name);
  } else {
    for (int64_t i = 0; i < rows.elements(); ++i)
      rows.data<float>()[i] = 0.01f * static_cast<float>((i * 2654435761LL >> 8) % 7 - 3);
  }
  cuda::check(
      cudaMemcpyAsync(y.raw(), rows.raw(), static_cast<size_t>(y.bytes()), cudaMemcpyHostToDevice, context_->lane()),
      "embedding");
  synchronize();
  return y;
}

Tensor CudaOps::concat_rows(const std::vector<Tensor>& parts) {
  const Shape shape = checks::concat_rows(parts);
  Tensor y = result(OpKind::concat_rows, shape, parts[0]);
  std::byte* to = y.raw();
  for (const Tensor& p : parts) {
    if (p.bytes() == 0) continue;
    cuda::check(
        cudaMemcpyAsync(to, p.raw(), static_cast<size_t>(p.bytes()), cudaMemcpyDeviceToDevice, context_->lane()),
        "concat_rows");
    to += p.bytes();
  }
  return y;
}

Tensor CudaOps::slice_channels(const Tensor& x, int64_t begin, int64_t end) {
  Tensor y = result(OpKind::slice_channels, checks::slice_channels(x, begin, end), x);
  cuda::slice_columns(x.raw(), x.channels(), begin, end - begin, x.rows(), row_bytes(x.dtype(), 1), y.raw(),
                      context_->lane());
  return y;
}

Tensor CudaOps::gather_rows(const Tensor& x, const Tensor& index) {
  Tensor y = result(OpKind::gather_rows, checks::gather_rows(x, index), x);
  const std::vector<int32_t> rows(index.data<int32_t>(), index.data<int32_t>() + index.elements());
  if (!rows.empty())
    cuda::gather_rows(x.raw(), row_bytes(x.dtype(), x.channels()), context_->constants(rows), index.elements(), y.raw(),
                      context_->lane());
  return y;
}

}  // namespace inkling
