#include "tensor/tensor.h"

#include <bit>
#include <cstring>

#include "base/error.h"

namespace inkling {

namespace {

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<bf16_t>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<f16_t>() {
  return DType::f16;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<int16_t>() {
  return DType::i16;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::i8;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}

float f8_e4m3_to_float(uint8_t v) {
  const float sign = v & 0x80 ? -1.f : 1.f;
  const int exponent = (v >> 3) & 15;
  const int mantissa = v & 7;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(0x7fc00000u);
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-9f;
  return sign * std::bit_cast<float>(static_cast<uint32_t>((exponent + 120) << 23 | mantissa << 20));
}

float f8_e5m2_to_float(uint8_t v) { return to_float(f16_t{static_cast<uint16_t>(v << 8)}); }

}  // namespace

Tensor::Tensor(Shape shape, DType dtype, std::shared_ptr<Storage> storage, int64_t byte_offset)
    : shape_(shape), dtype_(dtype), storage_(std::move(storage)), offset_(byte_offset) {
  if (storage_ && offset_ + bytes() > storage_->bytes())
    throw RuntimeError("tensor {} {}: needs {} bytes at {}, storage has {}", shape_.str(), name(dtype_), bytes(),
                       offset_, storage_->bytes());
}

int64_t Tensor::bytes() const {
  if (!is_block_quantized(dtype_)) return shape_.elements() * info(dtype_).block_bytes;
  return rows() * row_bytes(dtype_, channels());
}

int64_t Tensor::rows() const {
  int64_t product = 1;
  for (int i = 0; i + 1 < shape_.rank(); ++i) product *= shape_[i];
  return product;
}

const std::byte* Tensor::raw() const { return storage_ && storage_->data() ? storage_->data() + offset_ : nullptr; }
std::byte* Tensor::raw() { return storage_ && storage_->data() ? storage_->data() + offset_ : nullptr; }

void Tensor::check_access(DType wanted) const {
  if (raw() == nullptr) throw RuntimeError("tensor {}: has no data on the host", shape_.str());
  if (wanted != dtype_) throw RuntimeError("tensor {}: is {}, read as {}", shape_.str(), name(dtype_), name(wanted));
}

template <typename T>
const T* Tensor::data() const {
  check_access(dtype_of<T>());
  return reinterpret_cast<const T*>(raw());
}
template <typename T>
T* Tensor::data() {
  check_access(dtype_of<T>());
  return reinterpret_cast<T*>(raw());
}
#define INKLING_INSTANTIATE(T)               \
  template const T* Tensor::data<T>() const; \
  template T* Tensor::data<T>();             \
  template Tensor host_tensor<T>(const Shape&, std::span<const T>);

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.elements() != elements()) throw RuntimeError("reshape: {} does not fit {}", shape_.str(), shape.str());
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::slice_rows(int64_t begin, int64_t end) const {
  if (begin < 0 || end < begin || end > dim(0))
    throw RuntimeError("slice_rows: [{}, {}) of {}", begin, end, shape_.str());
  const int64_t stride = dim(0) == 0 ? 0 : bytes() / dim(0);
  std::vector<int64_t> dims(shape_.dims().begin(), shape_.dims().end());
  dims[0] = end - begin;
  Tensor view = *this;
  view.shape_ = Shape(dims);
  view.offset_ += begin * stride;
  return view;
}

Tensor host_tensor(const Shape& shape, DType dtype) {
  static CountingAllocator allocator;
  Tensor measured(shape, dtype, nullptr);
  return Tensor(shape, dtype, allocator.allocate(measured.bytes()));
}

template <typename T>
Tensor host_tensor(const Shape& shape, std::span<const T> values) {
  Tensor result = host_tensor(shape, dtype_of<T>());
  if (static_cast<int64_t>(values.size()) != result.elements())
    throw RuntimeError("host_tensor: {} values for shape {}", values.size(), shape.str());
  if (!values.empty()) std::memcpy(result.raw(), values.data(), values.size_bytes());
  return result;
}

INKLING_INSTANTIATE(float)
INKLING_INSTANTIATE(double)
INKLING_INSTANTIATE(bf16_t)
INKLING_INSTANTIATE(f16_t)
INKLING_INSTANTIATE(int64_t)
INKLING_INSTANTIATE(int32_t)
INKLING_INSTANTIATE(int16_t)
INKLING_INSTANTIATE(int8_t)
INKLING_INSTANTIATE(uint8_t)
#undef INKLING_INSTANTIATE

Tensor host_tensor(const Shape& shape, const std::vector<float>& values) {
  return host_tensor(shape, std::span<const float>(values));
}

Tensor to_f32(const Tensor& tensor) {
  if (tensor.dtype() == DType::f32) return tensor;
  if (tensor.raw() == nullptr) throw RuntimeError("to_f32: tensor {} has no data on the host", tensor.shape().str());
  Tensor result = host_tensor(tensor.shape());
  float* out = result.data<float>();
  const int64_t n = tensor.elements();
  const auto convert = [&](auto get) {
    for (int64_t i = 0; i < n; ++i) out[i] = get(i);
  };
  const std::byte* raw = tensor.raw();
  switch (tensor.dtype()) {
    case DType::f64: convert([p = tensor.data<double>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::bf16: convert([p = tensor.data<bf16_t>()](int64_t i) { return to_float(p[i]); }); break;
    case DType::f16: convert([p = tensor.data<f16_t>()](int64_t i) { return to_float(p[i]); }); break;
    case DType::f8_e4m3: convert([raw](int64_t i) { return f8_e4m3_to_float(static_cast<uint8_t>(raw[i])); }); break;
    case DType::f8_e5m2: convert([raw](int64_t i) { return f8_e5m2_to_float(static_cast<uint8_t>(raw[i])); }); break;
    case DType::i64: convert([p = tensor.data<int64_t>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::i32: convert([p = tensor.data<int32_t>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::i16: convert([p = tensor.data<int16_t>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::i8: convert([p = tensor.data<int8_t>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::u8: convert([p = tensor.data<uint8_t>()](int64_t i) { return static_cast<float>(p[i]); }); break;
    case DType::boolean: convert([raw](int64_t i) { return raw[i] != std::byte{0} ? 1.f : 0.f; }); break;
    default: throw RuntimeError("to_f32: {} is block-quantized; dequantize it with formats/", name(tensor.dtype()));
  }
  return result;
}

}  // namespace inkling
