#include "ops/ops.h"

namespace inkling {

Tensor Ops::linear_act(const Tensor& x, const Weight& w, Activation f) { return activate(linear(x, w), f); }

}  // namespace inkling
