#include "ops/ops.h"

namespace inkling {

Tensor Ops::modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                           float eps) {
  return modulate(layer_norm(x, eps), scale, shift, groups);
}

}  // namespace inkling
