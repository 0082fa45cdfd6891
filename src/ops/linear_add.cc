#include "ops/ops.h"

namespace inkling {

Tensor Ops::linear_add(const Tensor& x, const Weight& w, const Tensor& residual) { return add(residual, linear(x, w)); }

}  // namespace inkling
