#include "ops/ops.h"

namespace inkling {

Tensor Ops::upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  return conv2d(upsample2x(x), w, spec);
}

}  // namespace inkling
