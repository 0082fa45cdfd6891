#include "ops/ops.h"

namespace inkling {

namespace {

QKV project(Ops& ops, const StreamProjection& s, float eps, int64_t heads) {
  const Tensor u = ops.modulated_norm(s.x, s.scale, s.shift, *s.groups, eps);
  if (s.wq != nullptr) return ops.qkv(u, *s.wq, *s.wk, *s.wv, s.gamma_q, s.gamma_k, eps, s.rope, heads, heads);
  const Tensor k = ops.head_norm_rope(ops.linear(u, *s.wk), s.gamma_k, eps, s.rope, heads);
  return {k, k, ops.linear(u, *s.wv)};
}

}  // namespace

std::pair<QKV, QKV> Ops::joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                   int64_t heads) {
  QKV t = project(*this, text, eps, heads);
  return {std::move(t), project(*this, image, eps, heads)};
}

}  // namespace inkling
