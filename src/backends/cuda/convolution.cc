#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/cuda_weight.h"
#include "backends/cuda/kernels/conv.h"
#include "base/error.h"
#include "ops/checks.h"

namespace inkling {

using cuda::Elem;

Tensor CudaOps::convolve(OpKind op, const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual,
                         bool upsample) {
  const Shape shape = upsample ? checks::upsample_conv2d(x, w, spec) : checks::conv2d(x, w, spec);
  if (residual.defined()) checks::operand("conv2d_add", "residual", residual, shape);
  const CudaWeight& weight = prepared_on_device("conv2d", w);
  if (weight.form != CudaForm::convolution || w.doubled_input != upsample)
    throw RuntimeError("conv2d: got weight '{}' {} prepared for another operation", w.name, w.shape.str());
  Tensor y = result(op, shape, x);
  cuda::ConvShape s;
  s.h = x.dim(0);
  s.w = x.dim(1);
  s.cin = x.dim(2);
  s.cout = w.shape[0];
  s.kernel = w.shape[2];
  s.stride = spec.stride;
  s.pad_top = spec.pad_top;
  s.pad_left = spec.pad_left;
  s.pad_bottom = spec.pad_bottom;
  s.pad_right = spec.pad_right;
  s.upsample = upsample;
  const bool fused = residual.defined() && residual.dtype() == DType::bf16;
  cuda::conv2d(s, x.raw(), elem("conv2d", x), weight.at<std::byte>(weight.parts.codes),
               weight.at<float>(weight.parts.bias), fused ? residual.raw() : nullptr, y.raw(), elem("conv2d", y),
               context_->lane());
  if (residual.defined() && !fused)
    cuda::axpby(1.f, y.raw(), elem("conv2d", y), 1.f, residual.raw(), elem("conv2d", residual), y.elements(), y.raw(),
                elem("conv2d", y), context_->lane());
  return y;
}

Tensor CudaOps::conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  return convolve(OpKind::conv2d, x, w, spec, {}, false);
}

Tensor CudaOps::conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual) {
  return convolve(OpKind::conv2d_add, x, w, spec, residual, false);
}

Tensor CudaOps::upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) {
  const int64_t same = w.shape[2] / 2;
  if (w.doubled_input && (spec.stride != 1 || spec.pad_top != same || spec.pad_left != same))
    throw RuntimeError("upsample_conv2d: got a padding of {} and {}, expected {}", spec.pad_top, spec.pad_left, same);
  if (!w.doubled_input) return Ops::upsample_conv2d(x, w, spec);
  return convolve(OpKind::upsample_conv2d, x, w, spec, {}, true);
}

Tensor CudaOps::upsample2x(const Tensor& x) {
  Tensor y = result(OpKind::upsample2x, checks::upsample2x(x), x);
  cuda::upsample2x(x.raw(), x.dim(0), x.dim(1), x.dim(2), row_bytes(x.dtype(), 1), y.raw(), context_->lane());
  return y;
}

}  // namespace inkling
