#include "ops/ops.h"

namespace inkling {

Tensor Ops::channel_norm_silu(const Tensor& x, const Tensor& gamma) {
  return activate(channel_norm(x, gamma), Activation::silu);
}

}  // namespace inkling
