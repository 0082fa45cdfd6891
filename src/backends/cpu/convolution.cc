// Convolution on oneDNN; maps are [height, width, channels], which is its nhwc layout for one picture.
#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/operands.h"
#include "backends/cpu/prepared_weight.h"
#include "ops/checks.h"

namespace inkling {

Tensor CpuOps::conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  Tensor y = allocate(checks::conv2d(x, w, spec));
  const CpuWeight& weight = prepared("conv2d", w);
  const float* in = floats("conv2d", x);
  const auto space = workspace(OpCall{.kind = OpKind::conv2d, .weights = {&w}, .map = x.shape(), .conv = spec});
  const Shape& s = w.shape;
  DnnlCache& dnnl = model_.dnnl();
  const auto primitive = dnnl.convolution({x.dim(0), x.dim(1), s[1], s[0], s[2], s[3], spec.stride, spec.pad_top,
                                           spec.pad_left, spec.pad_bottom, spec.pad_right, w.has_bias});
  const float* bias = w.has_bias ? w.bias.data<float>() : nullptr;
  dnnl.execute(*primitive, in, weight.data.raw(), bias, floats(y), space->data());
  return y;
}

}  // namespace inkling
