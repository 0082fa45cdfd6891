#include "compress/quantize/convert.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <functional>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "formats/float8.h"

namespace inkling {

namespace {

constexpr float kLargestF16 = 65504.f;
constexpr int64_t kGrainElements = 1 << 16;

// Calls `body` with the number and the float values of every row.
void for_each_row(const Tensor& source, const std::function<void(int64_t, std::span<const float>)>& body) {
  if (source.elements() == 0) return;
  const int64_t columns = source.shape().rank() == 0 ? 1 : source.channels(), rows = source.elements() / columns;
  const Tensor matrix = source.reshape(Shape{rows, columns});
  const int64_t stride = row_bytes(source.dtype(), columns);
  parallel_for(rows, std::max<int64_t>(1, kGrainElements / columns), [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      if (can_dequantize(source.dtype()))
        dequantize_row(source.dtype(), matrix.raw() + r * stride, values.data(), columns);
      else
        std::ranges::copy(to_f32(matrix.slice_rows(r, r + 1)).span<float>(), values.begin());
      body(r, values);
    }
  });
}

void check(std::span<const float> row, float largest, const std::string& name, DType type) {
  for (const float v : row) {
    if (!std::isfinite(v)) throw ModelError("{}: holds {}", name, v);
    if (std::fabs(v) > largest)
      throw ModelError("{}: holds {}, {} reaches {}; use bf16", name, v, inkling::name(type), largest);
  }
}

}  // namespace

Tensor convert(const Tensor& source, DType type, const std::string& name, float scale) {
  Tensor result = host_tensor(source.shape(), type);
  const float largest = type == DType::f16 ? kLargestF16 : INFINITY;
  const int64_t columns = source.shape().rank() == 0 ? 1 : source.channels(), stride = row_bytes(type, columns);
  for_each_row(source, [&](int64_t r, std::span<const float> row) {
    check(row, largest, name, type);
    std::byte* out = result.raw() + r * stride;
    if (type != DType::f8_e4m3) return quantize_row(type, row.data(), out, columns);
    for (size_t i = 0; i < row.size(); ++i) out[i] = static_cast<std::byte>(to_f8_e4m3(row[i] / scale));
  });
  return result;
}

float largest_magnitude(const Tensor& source, const std::string& name) {
  std::atomic<uint32_t> bits{0};  // of a float that is not negative: ordered as the floats are
  for_each_row(source, [&](int64_t, std::span<const float> row) {
    check(row, INFINITY, name, source.dtype());
    float largest = 0;
    for (const float v : row) largest = std::max(largest, std::fabs(v));
    uint32_t seen = bits.load(), own = std::bit_cast<uint32_t>(largest);
    while (own > seen && !bits.compare_exchange_weak(seen, own)) {
    }
  });
  return std::bit_cast<float>(bits.load());
}

}  // namespace inkling
