#include "ops/ops.h"

namespace inkling {

Tensor Ops::conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual) {
  return add(conv2d(x, w, spec), residual);
}

}  // namespace inkling
