// Random operands of the tests, from a generator with a fixed seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>

#include "formats/block_quant.h"
#include "ops/ops.h"

namespace inkling {

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  bool coin() { return integer(0, 1) == 1; }

  Tensor tensor(const Shape& shape, float scale = 1.f) {
    std::normal_distribution<float> normal(0.f, scale);
    Tensor t = host_tensor(shape);
    for (float& v : t.span<float>()) v = normal(engine_);
    return t;
  }

  Tensor ids(int64_t count, int64_t limit) {
    Tensor t = host_tensor(Shape{count}, DType::i32);
    for (int32_t& v : t.span<int32_t>()) v = static_cast<int32_t>(integer(0, limit - 1));
    return t;
  }

  // Borders that cut `rows` into `count` parts, some of which may be empty.
  Segments segments(int64_t rows, int64_t count) {
    Segments s;
    for (int64_t i = 1; i < count; ++i) s.offsets.push_back(integer(0, rows));
    s.offsets.push_back(rows);
    std::sort(s.offsets.begin(), s.offsets.end());
    return s;
  }

  RowGroups groups(int64_t rows, int64_t count, int64_t table_rows) {
    RowGroups g{segments(rows, count), {}};
    for (int64_t i = 0; i < count; ++i) g.table_row.push_back(integer(0, table_rows - 1));
    return g;
  }

  Rope rope(int64_t rows, int64_t head_dim, Rope::Style style) {
    Rope r{host_tensor(Shape{rows, head_dim / 2}), host_tensor(Shape{rows, head_dim / 2}), style};
    std::uniform_real_distribution<float> angle(-10.f, 10.f);
    for (int64_t i = 0; i < r.cos.elements(); ++i) {
      const float a = angle(engine_);
      r.cos.data<float>()[i] = std::cos(a);
      r.sin.data<float>()[i] = std::sin(a);
    }
    return r;
  }

  // A weight as a loader leaves it. `stored` is a type that quantize_row knows.
  Weight weight(const Shape& shape, bool bias, DType stored = DType::f32) {
    Weight w;
    w.name = "test";
    w.shape = shape;
    w.stored = stored;
    w.has_bias = bias;
    const float scale = 1.f / std::sqrt(static_cast<float>(shape.elements() / std::max<int64_t>(1, shape[0])));
    const Tensor plain = tensor(shape, scale);
    w.value = plain;
    if (stored != DType::f32) {
      w.value = host_tensor(shape, stored);
      quantize_row(stored, plain.data<float>(), w.value.raw(), plain.elements());
    }
    if (bias) w.bias = tensor(Shape{shape[0]});
    return w;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace inkling
