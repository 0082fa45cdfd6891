// A contiguous n-dimensional array: shape, element type, shared storage and offset. Copies share memory.
// Activations of every model are rows x channels; pictures and feature maps are [height, width, channels],
// so that a pixel is a row.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace inkling {

class Tensor {
 public:
  Tensor() = default;
  Tensor(Shape shape, DType dtype, std::shared_ptr<Storage> storage, int64_t byte_offset = 0);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_[axis]; }
  DType dtype() const { return dtype_; }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const;
  // Rows and channels of a tensor seen as a matrix: all axes but the last are rows.
  int64_t rows() const;
  int64_t channels() const { return shape_[-1]; }

  const std::byte* raw() const;  // null when planned
  std::byte* raw();
  // Host access; throws when T does not match dtype().
  template <typename T>
  const T* data() const;
  template <typename T>
  T* data();
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<size_t>(elements())};
  }
  template <typename T>
  std::span<T> span() {
    return {data<T>(), static_cast<size_t>(elements())};
  }

  // Views of the same memory.
  Tensor reshape(const Shape& shape) const;             // same element count
  Tensor slice_rows(int64_t begin, int64_t end) const;  // along axis 0
  const std::shared_ptr<Storage>& storage() const { return storage_; }

 private:
  void check_access(DType wanted) const;

  Shape shape_;
  DType dtype_ = DType::f32;
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;
};

// Host tensors from a process-wide allocator, for inputs, tables and tests.
Tensor host_tensor(const Shape& shape, DType dtype = DType::f32);
template <typename T>
Tensor host_tensor(const Shape& shape, std::span<const T> values);
Tensor host_tensor(const Shape& shape, const std::vector<float>& values);
// Converts a host tensor of any plain (not block-quantized) type to float32.
Tensor to_f32(const Tensor& tensor);

}  // namespace inkling
