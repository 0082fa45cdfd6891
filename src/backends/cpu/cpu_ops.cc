#include "backends/cpu/cpu_ops.h"

#include <cstring>

#include "base/error.h"

namespace inkling {

CpuOps::CpuOps(CpuOptions options) : model_(options) {}

Tensor CpuOps::allocate(const Shape& shape, DType type) {
  return Tensor(shape, type, allocator_.allocate(Tensor(shape, type, nullptr).bytes()));
}

std::shared_ptr<Storage> CpuOps::workspace(int64_t bytes) {
  return bytes > 0 ? allocator_.allocate(bytes) : std::make_shared<Storage>(nullptr, 0);
}

Tensor CpuOps::upload(const Tensor& host) {
  if (host.raw() == nullptr) throw RuntimeError("upload: got a tensor without data, expected a host tensor");
  Tensor result = allocate(host.shape(), host.dtype());
  std::memcpy(result.raw(), host.raw(), static_cast<size_t>(host.bytes()));
  return result;
}

Tensor CpuOps::download(const Tensor& tensor) {
  if (tensor.raw() == nullptr) throw RuntimeError("download: got a tensor without data, expected one of this backend");
  if (tensor.dtype() != DType::f32) return to_f32(tensor);
  Tensor result = host_tensor(tensor.shape());
  std::memcpy(result.raw(), tensor.raw(), static_cast<size_t>(tensor.bytes()));
  return result;
}

}  // namespace inkling
