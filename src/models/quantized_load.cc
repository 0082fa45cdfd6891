// Quantized weights as numbers.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/threads.h"
#include "formats/int_quant.h"
#include "formats/nf4.h"
#include "models/quantized_layouts.h"

namespace inkling {

namespace {

constexpr int64_t kGrainElements = 1 << 16;

// One row times the Kronecker power of [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],[-1,1,1,1]] / 2, which is its own inverse, for
// any power of 4; in the order of rotate_row.
void rotate(float* row, int64_t columns, int64_t size) {
  if (size == 0) return;
  if (size == 16 || size == 64 || size == 256) return rotate_row(row, columns, size);
  for (int64_t block = 0; block < columns; block += size)
    for (int64_t stride = 1; stride < size; stride *= 4)
      for (int64_t start = block; start < block + size; start += 4 * stride)
        for (int64_t i = start; i < start + stride; ++i) {
          float &a = row[i], &b = row[i + stride], &c = row[i + 2 * stride], &d = row[i + 3 * stride];
          const float w = a + b + c - d, x = a + b - c + d, y = a - b + c + d, z = b - a + c + d;
          a = 0.5f * w, b = 0.5f * x, c = 0.5f * y, d = 0.5f * z;
        }
}

int64_t columns_of(const QuantizedWeight& q) { return q.shape.elements() / std::max<int64_t>(q.shape[0], 1); }

int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(columns, 1)); }

Tensor rows_tensor(const QuantizedWeight& q, int64_t rows) {
  std::vector<int64_t> dims(q.shape.dims().begin(), q.shape.dims().end());
  dims[0] = rows;
  return host_tensor(Shape(dims));
}

Tensor scaled_rows(const TensorFile& file, const QuantizedWeight& q, int64_t first, int64_t last) {
  const Tensor codes = file.load(*q.weight);
  const Tensor scales = to_f32(file.load(*q.scale));
  Tensor result = rows_tensor(q, last - first);
  const int64_t columns = columns_of(q);
  const bool per_row = scales.elements() > 1;
  std::array<float, 256> values;  // of every code
  Tensor every = host_tensor(Shape{256}, codes.dtype());
  for (int i = 0; i < 256; ++i) every.raw()[i] = static_cast<std::byte>(i);
  std::ranges::copy(to_f32(every).span<float>(), values.begin());
  parallel_for(last - first, row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* in = codes.raw() + (first + r) * columns;
      float* out = result.data<float>() + r * columns;
      const float scale = scales.data<float>()[per_row ? first + r : 0];
      for (int64_t i = 0; i < columns; ++i) out[i] = values[static_cast<uint8_t>(in[i])] * scale / q.divisor;
      rotate(out, columns, q.rotation);
    }
  });
  return result;
}

// The absmax of blocks [first, last), after undoing its own quantization.
std::vector<float> block_scales(const TensorFile& file, const QuantizedWeight& q, int64_t first, int64_t last) {
  const Tensor stored = file.load(*q.scale);
  std::vector<float> result(static_cast<size_t>(last - first));
  if (q.nested_scale == nullptr) {
    std::copy(stored.data<float>() + first, stored.data<float>() + last, result.begin());
    return result;
  }
  const Tensor nested = file.load(*q.nested_scale), code = file.load(*q.nested_code);
  for (int64_t b = first; b < last; ++b)
    result[static_cast<size_t>(b - first)] =
        code.data<float>()[stored.data<uint8_t>()[b]] * nested.data<float>()[b / q.nested_block] + q.nested_offset;
  return result;
}

Tensor four_bit_rows(const TensorFile& file, const QuantizedWeight& q, int64_t first, int64_t last) {
  const int64_t columns = columns_of(q), begin_element = first * columns, end_element = last * columns;
  Tensor result = rows_tensor(q, last - first);
  if (begin_element == end_element) return result;
  const Tensor codes = file.load(*q.weight), map = file.load(*q.code);
  const int64_t first_block = begin_element / q.block, end_block = (end_element - 1) / q.block + 1;
  const std::vector<float> scales = block_scales(file, q, first_block, end_block);
  const auto* in = reinterpret_cast<const uint8_t*>(codes.raw());
  parallel_for(end_block - first_block, kGrainElements / q.block + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t from = std::max((first_block + b) * q.block, begin_element);
      const int64_t to = std::min((first_block + b + 1) * q.block, end_element);
      for (int64_t i = from; i < to; ++i) {
        const int nibble = i % 2 == 0 ? in[i / 2] >> 4 : in[i / 2] & 15;  // the even element is the high one
        result.data<float>()[i - begin_element] = map.data<float>()[nibble] * scales[static_cast<size_t>(b)];
      }
    }
  });
  return result;
}

std::array<float, 16> code_values(const TensorFile& file, const QuantizedWeight& q) {
  std::array<float, 16> values;
  for (int i = 0; i < 16; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i - 8);
  if (q.code != nullptr) std::ranges::copy(file.load(*q.code).span<float>(), values.begin());
  return values;
}

// Products are the integers that the matrix units see. Others hold them in -127..127; our own int4 reaches -128.
Tensor grouped_rows(const TensorFile& file, const QuantizedWeight& q, int64_t first, int64_t last) {
  const Tensor codes = file.load(*q.weight), scale = file.load(*q.scale);
  const Tensor group_scale = to_f32(file.load(*q.group_scale).slice_rows(first, last));
  const std::array<float, 16> values = code_values(file, q);
  const float lowest = q.low_bit == LowBit::w4a8 ? -128.f : -127.f;
  const int64_t columns = q.shape[1], groups = columns / q.block;
  Tensor result = rows_tensor(q, last - first);
  parallel_for(last - first, row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto* in = reinterpret_cast<const uint8_t*>(codes.raw()) + (first + r) * (columns / 2);
      const float* s = group_scale.data<float>() + r * groups;
      float* out = result.data<float>() + r * columns;
      for (int64_t c = 0; c < columns; ++c) {
        const float value = values[static_cast<size_t>(c % 2 == 0 ? in[c / 2] & 15 : in[c / 2] >> 4)];
        const float product = std::clamp(std::nearbyint(value * s[c / q.block]), lowest, 127.f);
        out[c] = scale.data<float>()[first + r] * product;
      }
      rotate(out, columns, q.rotation);
    }
  });
  return result;
}

// The scale of every row.
Tensor row_scales(const TensorFile& file, const QuantizedWeight& q) {
  const Tensor stored = to_f32(file.load(*q.scale));
  if (stored.elements() == q.shape[0] && q.divisor == 1.f) return stored.reshape(Shape{q.shape[0]});
  Tensor scales = host_tensor(Shape{q.shape[0]});
  for (int64_t r = 0; r < q.shape[0]; ++r)
    scales.data<float>()[r] = stored.data<float>()[stored.elements() > 1 ? r : 0] / q.divisor;
  return scales;
}

// Whole numbers 1..16, the same for each 64 columns, as bytes; nothing if they are others.
std::optional<Tensor> whole_group_scales(const TensorFile& file, const QuantizedWeight& q) {
  const Tensor stored = to_f32(file.load(*q.group_scale));
  const int64_t rows = q.shape[0], groups = q.shape[1] / kInt4Group, repeats = kInt4Group / q.block;
  Tensor result = host_tensor(Shape{rows, groups}, DType::u8);
  for (int64_t g = 0; g < rows * groups; ++g) {
    const float* s = stored.data<float>() + g * repeats;
    for (int64_t i = 0; i < repeats; ++i)
      if (!(s[i] >= 1.f && s[i] <= 16.f) || s[i] != std::nearbyint(s[i]) || s[i] != s[0]) return {};
    result.data<uint8_t>()[g] = static_cast<uint8_t>(s[0]);
  }
  return result;
}

// The same bytes under another type.
Tensor as_codes(const Tensor& t, LowBit kind, const Shape& matrix) {
  return Tensor(code_shape(kind, matrix), code_type(kind), t.storage(), t.raw() - t.storage()->data());
}

}  // namespace

Tensor QuantizedLayouts::load_rows(const TensorEntry& entry, int64_t begin, int64_t end) const {
  const QuantizedWeight* q = find(entry);
  if (q == nullptr) {
    const Tensor t = file_.load(entry);
    return t.shape().rank() == 0 ? t : t.slice_rows(begin, end);
  }
  switch (q->layout) {
    case QuantizedWeight::Layout::scaled: return scaled_rows(file_, *q, begin, end);
    case QuantizedWeight::Layout::four_bit: return four_bit_rows(file_, *q, begin, end);
    case QuantizedWeight::Layout::grouped: break;
  }
  return grouped_rows(file_, *q, begin, end);
}

Tensor QuantizedLayouts::load(const TensorEntry& entry) const {
  const QuantizedWeight* q = find(entry);
  return q == nullptr ? file_.load(entry) : load_rows(entry, 0, q->shape[0]);
}

std::optional<LowBitMatrix> QuantizedLayouts::load_low_bit(const TensorEntry& entry) const {
  const QuantizedWeight* q = find(entry);
  if (q == nullptr || q->low_bit == LowBit::none) return {};
  LowBitMatrix m;
  m.parts.kind = q->low_bit;
  m.parts.rotation = q->rotation;
  if (q->low_bit == LowBit::w4a8) {
    const auto scales = whole_group_scales(file_, *q);
    if (!scales) return {};
    m.parts.group_scale = *scales;
  }
  m.value = as_codes(file_.load(*q->weight), q->low_bit, q->shape);
  if (q->low_bit == LowBit::nf4) {
    const std::vector<float> scales = block_scales(file_, *q, 0, q->shape.elements() / q->block);
    m.parts.scale = host_tensor(Shape{static_cast<int64_t>(scales.size())}, std::span<const float>(scales));
  } else {
    m.parts.scale = row_scales(file_, *q);
  }
  return m;
}

}  // namespace inkling
