#include "ops/ops.h"

namespace inkling {

Tensor Ops::swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  const Tensor gated = linear_act(x, gate, Activation::silu);
  return multiply(gated, linear(x, up));
}

}  // namespace inkling
