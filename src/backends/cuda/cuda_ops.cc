#include "backends/cuda/cuda_ops.h"

#include <algorithm>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cuda_weight.h"
#include "base/error.h"

namespace inkling {

using cuda::check;

CudaOps::CudaOps(std::shared_ptr<CudaContext> context, CudaOptions options)
    : context_(std::move(context)), model_(options, cuda::device()), mover_(context_) {
  if (model_.uses_cublas(CudaForm::bf16)) cublas_ = std::make_unique<CublasLt>();
}

CudaOps::~CudaOps() { cudaStreamSynchronize(context_->lane()); }

void CudaOps::synchronize() { check(cudaStreamSynchronize(context_->lane()), "waiting for the GPU"); }

Tensor CudaOps::allocate(const Shape& shape, DType type) {
  return Tensor(shape, type, context_->arena().allocate(Tensor(shape, type, nullptr).bytes()));
}

std::shared_ptr<Storage> CudaOps::workspace(const OpCall& call) {
  const int64_t bytes = model_.workspace_bytes(call);
  return bytes > 0 ? context_->arena().allocate(bytes) : std::make_shared<Storage>(nullptr, 0);
}

Tensor CudaOps::upload(const Tensor& host) {
  if (host.raw() == nullptr) throw RuntimeError("upload: got a tensor without data, expected a host tensor");
  Tensor result = allocate(host.shape(), host.dtype());
  check(cudaMemcpyAsync(result.raw(), host.raw(), static_cast<size_t>(host.bytes()), cudaMemcpyHostToDevice,
                        context_->lane()),
        "upload");
  return result;
}

Tensor CudaOps::download(const Tensor& tensor) {
  if (tensor.raw() == nullptr) throw RuntimeError("download: got a tensor without data, expected one of this backend");
  Tensor result = host_tensor(tensor.shape(), tensor.dtype());
  check(cudaMemcpyAsync(result.raw(), tensor.raw(), static_cast<size_t>(tensor.bytes()), cudaMemcpyDeviceToHost,
                        context_->lane()),
        "download");
  synchronize();
  return tensor.dtype() == DType::f32 ? result : to_f32(result);
}

cuda::Elem elem(std::string_view op, const Tensor& t) {
  if (t.dtype() == DType::f32) return cuda::Elem::f32;
  if (t.dtype() == DType::bf16) return cuda::Elem::bf16;
  throw RuntimeError("{}: got a tensor of type {}, expected f32 or bf16 on the GPU", op, name(t.dtype()));
}

const float* f32_or_null(std::string_view op, const Tensor& t) {
  if (!t.defined()) return nullptr;
  if (t.dtype() != DType::f32) throw RuntimeError("{}: got a table of type {}, expected f32", op, name(t.dtype()));
  return t.data<float>();
}

cuda::Act act(Activation f) {
  switch (f) {
    case Activation::gelu_tanh: return cuda::Act::gelu_tanh;
    case Activation::gelu_erf: return cuda::Act::gelu_erf;
    case Activation::silu: return cuda::Act::silu;
    case Activation::quick_gelu: return cuda::Act::quick_gelu;
  }
  return cuda::Act::none;
}

cuda::RowTable row_table(std::string_view op, const RowGroups& groups, int64_t begin, int64_t end) {
  cuda::RowTable t;
  t.count = 0;
  const std::vector<int64_t>& offsets = groups.segments.offsets;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t b = std::max(offsets[i], begin), e = std::min(offsets[i + 1], end);
    if (b >= e) continue;
    const int row = static_cast<int>(groups.table_row[i]);
    if (t.count > 0 && t.table_row[t.count - 1] == row) --t.count;  // neighbours that share a row are one group
    if (t.count == cuda::RowTable::kMax)
      throw RuntimeError("{}: got more than {} groups of rows, expected a smaller batch", op, cuda::RowTable::kMax);
    t.end[t.count] = static_cast<int>(e - begin);
    t.table_row[t.count++] = row;
  }
  return t;
}

}  // namespace inkling
