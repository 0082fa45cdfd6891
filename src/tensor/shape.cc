#include "tensor/shape.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace inkling {

Shape::Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank) throw ModelError("shape: {} dimensions, at most {} are supported", dims.size(), kMaxRank);
  for (int64_t d : dims) {
    if (d < 0) throw ModelError("shape: negative dimension {}", d);
    dims_[rank_++] = d;
  }
}

int64_t Shape::operator[](int axis) const {
  const int i = axis < 0 ? axis + rank_ : axis;
  if (i < 0 || i >= rank_) throw RuntimeError("shape {}: no axis {}", str(), axis);
  return dims_[i];
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int64_t d : dims())
    if (__builtin_mul_overflow(product, d, &product)) throw ModelError("shape {}: element count overflows", str());
  return product;
}

std::string Shape::str() const { return fmt::format("[{}]", fmt::join(dims(), ", ")); }

bool Shape::operator==(const Shape& other) const { return std::ranges::equal(dims(), other.dims()); }

}  // namespace inkling
