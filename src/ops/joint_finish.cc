#include "ops/ops.h"

namespace inkling {

namespace {

Tensor finish(Ops& ops, StreamFinish s, float eps) {
  if (!s.x.defined()) return {};
  const Tensor x = ops.linear_gated_add(s.attention, *s.out, s.x, s.gate1, *s.groups);
  s.x = s.attention = Tensor();  // their memory is free for the MLP
  Tensor h = ops.modulated_norm(x, s.scale2, s.shift2, *s.groups, eps);
  h = ops.linear_act(h, *s.mlp_in, s.activation);  // [M, F]
  return ops.linear_gated_add(h, *s.mlp_out, x, s.gate2, *s.groups);
}

}  // namespace

std::pair<Tensor, Tensor> Ops::joint_finish(StreamFinish text, StreamFinish image, float eps) {
  Tensor i = finish(*this, std::move(image), eps);
  return {finish(*this, std::move(text), eps), std::move(i)};
}

}  // namespace inkling
