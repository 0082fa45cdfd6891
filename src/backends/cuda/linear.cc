// Linear layers: the activation becomes the operand that the weight's form wants (bf16, int8 or e4m3 rows), then one
// product with its end fused where the kernel can.
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/cuda_weight.h"
#include "backends/cuda/kernels/unpack.h"
#include "backends/cuda/operands.h"
#include "backends/cuda/space.h"
#include "base/error.h"
#include "ops/checks.h"

namespace inkling {

using cuda::Elem;

CudaOps::Operands CudaOps::convert(const Tensor& x, std::span<const Weight* const> weights, Space& space, int lane) {
  return convert(x.raw(), elem("linear", x), x.rows(), x.channels(), weights, space, lane);
}

CudaOps::Operands CudaOps::convert(const void* x, Elem type, int64_t rows, int64_t columns,
                                   std::span<const Weight* const> weights, Space& space, int lane) {
  Operands result;
  for (const OperandKey& key : distinct_operands(model_, weights)) {
    Operand operand{key, x};
    if (key.type != Elem::bf16 || type != Elem::bf16) {
      const cuda::RowsOut out = operand_rows(key, rows, columns, space);
      cuda::convert_rows(x, type, columns, rows, columns, cuda::Act::none, out, context_->lane(lane));
      operand = {key, out.y, out.scale, out.sum};
    }
    if (columns % 8 != 0) {
      const int64_t wide = CudaModel::padded(columns) * 2;
      auto* to = space.take<std::byte>(rows * wide);
      cuda::check(cudaMemsetAsync(to, 0, rows * wide, context_->lane(lane)), "linear");
      cuda::check(cudaMemcpy2DAsync(to, wide, operand.data, columns * 2, columns * 2, rows, cudaMemcpyDeviceToDevice,
                                    context_->lane(lane)),
                  "linear");
      operand.data = to;
    }
    result.each.push_back(operand);
  }
  return result;
}

const CudaOps::Operand& CudaOps::Operands::of(const CudaWeight& w) const {
  for (const Operand& o : each)
    if (o.key == w.operand) return o;
  throw RuntimeError("linear: no operand was made for this form of weight");
}

void CudaOps::product(const Operands& operands, const Weight& weight, int64_t rows, cuda::GemmEnd end, Space& space,
                      int lane) {
  if (rows == 0) return;
  const CudaWeight& w = prepared_on_device("linear", weight);
  const Operand& x = operands.of(w);
  const int64_t n = CudaModel::padded(weight.out_features()), k = CudaModel::padded(weight.in_features());
  const cudaStream_t stream = context_->lane(lane);
  if (n != weight.out_features()) {  // into rows of padded length first
    if (end.residual != nullptr || end.y_stride != 0)
      throw RuntimeError("linear: weight '{}' {} cannot be added to a residual", weight.name, weight.shape.str());
    void* const y = end.y;
    end.y = space.take<std::byte>(rows * n * 4);
    multiply_rows(x, weight, w, rows, n, k, end, space, lane);
    cuda::slice_columns(end.y, n, 0, weight.out_features(), rows, cuda::size_of(end.type), y, stream);
    return;
  }
  multiply_rows(x, weight, w, rows, n, k, end, space, lane);
}

void CudaOps::multiply_rows(const Operand& x, const Weight& weight, const CudaWeight& w, int64_t rows, int64_t n,
                            int64_t k, cuda::GemmEnd end, Space& space, int lane) {
  const cudaStream_t stream = context_->lane(lane);
  end.bias = w.at<float>(w.parts.bias);
  const auto* codes = w.at<std::byte>(w.parts.codes);
  const auto* scale = w.at<float>(w.parts.scale);
  if (w.form == CudaForm::w8) {
    cuda::gemm_w8a8(rows, n, k, {static_cast<const int8_t*>(x.data), x.scale, x.sum},
                    {reinterpret_cast<const int8_t*>(codes), scale}, end, stream);
    return;
  }
  if (w.form == CudaForm::w4) {
    cuda::gemm_w4a8(rows, n, k, {static_cast<const int8_t*>(x.data), x.scale, x.sum},
                    {reinterpret_cast<const uint8_t*>(codes), w.at<uint8_t>(w.parts.group_scale), scale}, end, stream);
    return;
  }
  const void* dense = codes;
  if (w.form == CudaForm::stored || w.form == CudaForm::nf4) {
    auto* unpacked = space.take<std::byte>(weight.shape.elements() * 2);
    if (w.form == CudaForm::stored)
      cuda::unpack_rows(w.type, codes, n, k, unpacked, Elem::bf16, stream);
    else
      cuda::unpack_nf4(reinterpret_cast<const uint8_t*>(codes), scale, n * k, unpacked, Elem::bf16, stream);
    dense = unpacked;
  }
  if (!model_.uses_cublas(w.form)) {
    cuda::gemm_bf16(rows, n, k, x.data, dense, end, stream);
    return;
  }
  const bool gelu = end.act == cuda::Act::gelu_tanh, other_act = end.act != cuda::Act::none && !gelu;
  const bool after = end.residual != nullptr || other_act;  // a second pass over a result in bf16
  CublasLt::Call call{.m = rows, .n = n, .k = k, .type = x.key.type, .x = x.data, .w = dense};
  call.x_scale = x.scale;
  call.w_scale = scale;
  call.bias = end.bias;
  call.bias16 = w.at<std::byte>(w.parts.bias16);
  call.gelu = gelu;
  call.y = after ? space.take<std::byte>(rows * n * 2) : end.y;
  call.y_type = after ? Elem::bf16 : end.type;
  call.y_stride = after ? n : end.y_stride;
  float* const library_space = reinterpret_cast<float*>(context_->library_workspace(lane));
  if (!cublas_->run(call, library_space, CudaContext::kLibraryWorkspace, stream)) {
    // The bare product, then bias and activation in a pass of their own.
    call.bias = nullptr;
    call.bias16 = nullptr;
    call.gelu = false;
    if (!cublas_->run(call, library_space, CudaContext::kLibraryWorkspace, stream))
      throw RuntimeError("linear: cublasLt cannot multiply {} x {} x {}; use another --precision", rows, n, k);
    cuda::activate(call.y, call.y_type, end.bias, gelu ? end.act : cuda::Act::none, rows, n, call.y, call.y_type,
                   stream);
  }
  if (end.residual != nullptr)
    cuda::gated_add(end.residual, Elem::f32, call.y, Elem::bf16, end.gate, end.groups, rows, n, end.y, end.type,
                    stream);
  else if (other_act)
    cuda::activate(call.y, Elem::bf16, nullptr, end.act, rows, n, end.y, end.type, stream);
}

Tensor CudaOps::linear(const Tensor& x, const Weight& w) {
  Tensor y = result(OpKind::linear, checks::linear("linear", x, w), x);
  const OpCall call{.kind = OpKind::linear, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  const Weight* const weights[] = {&w};
  product(convert(x, weights, space, 0), w, x.rows(), {.y = y.raw(), .type = elem("linear", y)}, space, 0);
  return y;
}

Tensor CudaOps::linear_act(const Tensor& x, const Weight& w, Activation f) {
  Tensor y = result(OpKind::linear_act, checks::linear("linear_act", x, w), x);
  const OpCall call{
      .kind = OpKind::linear_act, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}, .activation = f};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  const Weight* const weights[] = {&w};
  product(convert(x, weights, space, 0), w, x.rows(), {.y = y.raw(), .type = elem("linear_act", y), .act = act(f)},
          space, 0);
  return y;
}

Tensor CudaOps::linear_add(const Tensor& x, const Weight& w, const Tensor& residual) {
  const Shape shape = checks::linear("linear_add", x, w);
  checks::operand("linear_add", "residual", residual, shape);
  Tensor y = result(OpKind::linear_add, shape, residual);
  const auto memory =
      workspace(OpCall{.kind = OpKind::linear_add, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}});
  Space space(memory->data(), memory->bytes());
  const Weight* const weights[] = {&w};
  product(convert(x, weights, space, 0), w, x.rows(),
          {.y = y.raw(), .type = Elem::f32, .residual = as_f32(residual, y)}, space, 0);
  return y;
}

// Products add residuals of f32; another one is converted into the result's place, where it is added to.
const float* CudaOps::as_f32(const Tensor& residual, Tensor& y, int lane) {
  if (residual.dtype() == DType::f32) return residual.data<float>();
  cuda::convert_rows(residual.raw(), elem("residual", residual), residual.channels(), residual.rows(),
                     residual.channels(), cuda::Act::none, {y.raw(), Elem::f32}, context_->lane(lane));
  return y.data<float>();
}

Tensor CudaOps::linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                                 const RowGroups& groups) {
  constexpr std::string_view op = "linear_gated_add";
  const Shape shape = checks::linear(op, x, w);
  checks::operand(op, "residual", residual, shape);
  checks::table(op, residual, gate, groups);
  Tensor y = result(OpKind::linear_gated_add, shape, residual);
  const auto memory =
      workspace(OpCall{.kind = OpKind::linear_gated_add, .rows = x.rows(), .operand = x.dtype(), .weights = {&w}});
  Space space(memory->data(), memory->bytes());
  const Weight* const weights[] = {&w};
  const cuda::RowTable rows = row_table(op, groups, 0, x.rows());
  product(
      convert(x, weights, space, 0), w, x.rows(),
      {.y = y.raw(), .type = Elem::f32, .residual = as_f32(residual, y), .gate = f32_or_null(op, gate), .groups = rows},
      space, 0);
  return y;
}

Tensor CudaOps::swiglu(const Tensor& x, const Weight& gate, const Weight& up) {
  Tensor y = result(OpKind::swiglu, checks::swiglu(x, gate, up), x);
  const OpCall call{.kind = OpKind::swiglu, .rows = x.rows(), .operand = x.dtype(), .weights = {&gate, &up}};
  const auto memory = workspace(call);
  Space space(memory->data(), memory->bytes());
  auto* second = space.take<std::byte>(y.elements() * 2);
  const Weight* const weights[] = {&gate, &up};
  const Operands operands = convert(x, weights, space, 0);
  Space first_space = space.rest(), second_space = space.rest();
  product(operands, gate, x.rows(), {.y = y.raw(), .type = Elem::bf16}, first_space, 0);
  product(operands, up, x.rows(), {.y = second, .type = Elem::bf16}, second_space, 0);
  cuda::silu_multiply(y.raw(), second, Elem::bf16, y.elements(), y.raw(), Elem::bf16, context_->lane());
  return y;
}

void CudaOps::norm_rope(Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads, int lane) {
  if (!gamma.defined() && !rope.cos.defined()) return;
  cuda::head_norm_rope(x.raw(), elem("head_norm_rope", x), x.rows(), heads, x.channels() / heads,
                       f32_or_null("head_norm_rope", gamma), eps, f32_or_null("head_norm_rope", rope.cos),
                       f32_or_null("head_norm_rope", rope.sin), rope.style == Rope::Style::interleaved, x.raw(),
                       context_->lane(lane));
}

QKV CudaOps::qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
                 const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) {
  QKV y;
  y.q = result(OpKind::qkv, checks::linear("qkv", x, wq), x);
  y.k = result(OpKind::qkv, checks::linear("qkv", x, wk), x);
  y.v = result(OpKind::qkv, checks::linear("qkv", x, wv), x);
  checks::head_norm_rope(y.q, gamma_q, rope, heads);
  checks::head_norm_rope(y.k, gamma_k, rope, kv_heads);
  const auto memory =
      workspace(OpCall{.kind = OpKind::qkv, .rows = x.rows(), .operand = x.dtype(), .weights = {&wq, &wk, &wv}});
  Space space(memory->data(), memory->bytes());
  const Weight* const weights[] = {&wq, &wk, &wv};
  const Operands operands = convert(x, weights, space, 0);
  context_->fork(3);
  product(operands, wq, x.rows(), {.y = y.q.raw()}, space, 0);
  norm_rope(y.q, gamma_q, eps, rope, heads, 0);
  product(operands, wk, x.rows(), {.y = y.k.raw()}, space, 1);
  norm_rope(y.k, gamma_k, eps, rope, kv_heads, 1);
  product(operands, wv, x.rows(), {.y = y.v.raw()}, space, 2);
  context_->join(3);
  return y;
}

}  // namespace inkling
