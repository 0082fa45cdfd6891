#include "ops/ops.h"

namespace inkling {

Tensor Ops::linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                             const RowGroups& groups) {
  return gated_add(residual, linear(x, w), gate, groups);
}

}  // namespace inkling
