#include "backends/cuda/kernels/attention.h"

#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/space.h"
#include "base/error.h"
#include "ops/checks.h"

namespace inkling {

using cuda::Elem;

void CudaOps::run_attention(const cuda::AttentionShape& host_shape, const cuda::AttentionPart& first,
                            const cuda::AttentionPart& second, const std::vector<int32_t>& offsets, void* space) {
  cuda::AttentionShape shape = host_shape;
  if (shape.total_rows(0) + shape.total_rows(1) == 0) return;
  shape.offsets = context_->constants(offsets);
  cuda::attention(model_.attention_kernel(shape), shape, first, second, space, context_->lane());
}

Tensor CudaOps::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) {
  Tensor y = result(OpKind::attention, checks::attention(q, k, v, spec), q);
  if (k.dtype() != q.dtype())
    throw RuntimeError("attention: got q of {} and k of {}, expected one type", name(q.dtype()), name(k.dtype()));
  const OpCall call{.kind = OpKind::attention,
                    .rows = q.rows(),
                    .operand = q.dtype(),
                    .heads = spec.heads,
                    .head_dim = q.channels() / spec.heads,
                    .kv_heads = spec.kv_heads,
                    .causal = spec.causal,
                    .value_type = v.dtype(),
                    .segments = &spec.segments};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  std::vector<int32_t> offsets;
  const cuda::AttentionShape shape = attention_shape(spec.heads, spec.kv_heads, call.head_dim, spec.scale, spec.causal,
                                                     spec.segments, nullptr, offsets);
  const auto in_bf16 = [&](const Tensor& t) -> const void* {
    if (t.dtype() == DType::bf16) return t.raw();
    auto* to = space.take<std::byte>(t.elements() * 2);
    cuda::convert_rows(t.raw(), elem("attention", t), t.channels(), t.rows(), t.channels(), cuda::Act::none,
                       {to, Elem::bf16}, context_->lane());
    return to;
  };
  cuda::AttentionPart part;
  part.q = in_bf16(q);
  part.k = in_bf16(k);
  part.v = in_bf16(v);
  part.y = y.raw();
  part.q_stride = part.y_stride = q.channels();
  part.kv_stride = k.channels();
  run_attention(shape, part, {}, offsets, space.rest().take<std::byte>(0));
  return y;
}

}  // namespace inkling
