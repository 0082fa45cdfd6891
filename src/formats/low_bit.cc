#include "formats/low_bit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "formats/chance.h"
#include "formats/int_quant.h"
#include "formats/nf4.h"

namespace inkling {

namespace {

constexpr int64_t kGrainElements = 1 << 16;

int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(columns, 1)); }

// Codes and scales of one row.
struct Row {
  std::byte* value;
  float* scale;          // nf4: of each block
  uint8_t* group_scale;  // w4a8
};

Row row_of(LowBitMatrix& m, int64_t columns, int64_t r) {
  switch (m.parts.kind) {
    case LowBit::w8a8: return {m.value.raw() + r * columns, m.parts.scale.data<float>() + r, nullptr};
    case LowBit::w4a8:
      return {m.value.raw() + r * (columns / 2), m.parts.scale.data<float>() + r,
              m.parts.group_scale.data<uint8_t>() + r * (columns / kInt4Group)};
    default:
      return {m.value.raw() + r * (columns / 2), m.parts.scale.data<float>() + r * (columns / kNf4Block), nullptr};
  }
}

uint8_t* bytes(std::byte* p) { return reinterpret_cast<uint8_t*>(p); }

void quantize_row(LowBit kind, const float* row, int64_t columns, const Row& out) {
  switch (kind) {
    case LowBit::w8a8: *out.scale = quantize_row_i8(row, columns, reinterpret_cast<int8_t*>(out.value)); break;
    case LowBit::w4a8: *out.scale = quantize_row_i4(row, columns, bytes(out.value), out.group_scale); break;
    default: quantize_nf4({row, static_cast<size_t>(columns)}, bytes(out.value), out.scale);
  }
}

void dequantize_row(LowBit kind, const Row& in, int64_t columns, float* row) {
  switch (kind) {
    case LowBit::w8a8: return dequantize_row_i8(reinterpret_cast<const int8_t*>(in.value), *in.scale, columns, row);
    case LowBit::w4a8: return dequantize_row_i4(bytes(in.value), in.group_scale, *in.scale, columns, row);
    default: return dequantize_nf4(bytes(in.value), in.scale, 0, columns, row);
  }
}

LowBitMatrix empty_matrix(LowBit kind, const Shape& shape, int64_t rotation) {
  LowBitMatrix m;
  m.parts.kind = kind;
  m.parts.rotation = rotation;
  m.value = host_tensor(code_shape(kind, shape), code_type(kind));
  m.parts.scale = host_tensor(Shape{kind == LowBit::nf4 ? shape.elements() / kNf4Block : shape[0]});
  if (kind == LowBit::w4a8) m.parts.group_scale = host_tensor(Shape{shape[0], shape[1] / kInt4Group}, DType::u8);
  return m;
}

void require(const Shape& matrix, LowBit kind) {
  if (!fits(kind, matrix))
    throw RuntimeError("{}: got a matrix {}, expected two dimensions and columns in whole groups", name(kind),
                       matrix.str());
}

void throw_if_not_finite(std::span<const float> row, const std::string& name) {
  for (const float v : row)
    if (!std::isfinite(v)) throw ModelError("{}: holds {}", name, v);
}

// --- adding -----------------------------------------------------------------------------------------------------

// For each row: `row` holds the new values (rotated), `seed` and the column decide the chances.

void update_i8(std::span<const float> row, const Row& out, uint64_t seed) {
  float largest = 0;
  for (const float v : row) largest = std::max(largest, std::fabs(v));
  if (largest > 127.f * *out.scale) *out.scale = largest / 127.f;
  for (size_t c = 0; c < row.size(); ++c) {
    const float q = round_by_chance(row[c] / *out.scale, seed, c);
    reinterpret_cast<int8_t*>(out.value)[c] = static_cast<int8_t>(std::clamp(q, -127.f, 127.f));
  }
}

// A group's scale grows until its values are within half a step of -8..7; if that takes more than 16, the whole row is
// searched again.
void update_i4(std::span<const float> row, const Row& out, uint64_t seed) {
  const auto columns = static_cast<int64_t>(row.size());
  const float scale = *out.scale;
  for (int64_t g = 0; g < columns / kInt4Group; ++g) {
    float up = 0, down = 0;
    for (int64_t c = g * kInt4Group; c < (g + 1) * kInt4Group; ++c)
      up = std::max(up, row[c]), down = std::max(down, -row[c]);
    const float needed = std::ceil(std::max(up / (7.5f * scale), down / (8.5f * scale)));
    if (needed > 16.f) return quantize_row(LowBit::w4a8, row.data(), columns, out);
    out.group_scale[g] = std::max(out.group_scale[g], static_cast<uint8_t>(needed));
  }
  const auto code = [&](int64_t c) {
    const uint8_t group_scale = out.group_scale[c / kInt4Group];
    const float step = scale * static_cast<float>(group_scale);
    return static_cast<uint8_t>(std::clamp(round_by_chance(row[c] / step, seed, static_cast<uint64_t>(c)), -8.f, 7.f) +
                                8.f);
  };
  for (int64_t c = 0; c < columns; c += 2) bytes(out.value)[c / 2] = static_cast<uint8_t>(code(c) | code(c + 1) << 4);
}

void update_nf4(std::span<const float> row, const Row& out, uint64_t seed) {
  const auto columns = static_cast<int64_t>(row.size());
  for (int64_t b = 0; b < columns / kNf4Block; ++b)
    for (int64_t c = b * kNf4Block; c < (b + 1) * kNf4Block; ++c)
      out.scale[b] = std::max(out.scale[b], std::fabs(row[c]));
  const auto code = [&](int64_t c) {
    const float absmax = out.scale[c / kNf4Block];
    const float level = absmax > 0 ? std::clamp(row[c] / absmax, -1.f, 1.f) : 0.f;
    const auto above = std::ranges::upper_bound(kNf4, level);  // the first level beyond
    if (above == std::end(kNf4)) return uint8_t{15};
    const float low = *(above - 1), part = (level - low) / (*above - low);
    const auto below = static_cast<uint8_t>(above - std::begin(kNf4) - 1);
    return static_cast<uint8_t>(below + (chance(seed, static_cast<uint64_t>(c)) < part ? 1 : 0));
  };
  for (int64_t c = 0; c < columns; c += 2) bytes(out.value)[c / 2] = static_cast<uint8_t>(code(c) << 4 | code(c + 1));
}

}  // namespace

bool fits(LowBit kind, const Shape& matrix) {
  if (matrix.rank() != 2) return false;
  return kind == LowBit::w8a8 || (kind != LowBit::none && matrix[1] % 64 == 0);
}

Tensor dense_value(const Shape& matrix, const Tensor& value, const LowBitParts& parts) {
  require(matrix, parts.kind);
  const int64_t rows = matrix[0], columns = matrix[1];
  LowBitMatrix m{value, parts};
  Tensor dense = host_tensor(matrix);
  float* out = dense.data<float>();
  parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      dequantize_row(parts.kind, row_of(m, columns, r), columns, out + r * columns);
      rotate_row(out + r * columns, columns, parts.rotation);
    }
  });
  return dense;
}

LowBitMatrix quantize_low_bit(const Tensor& rows, LowBit kind, int64_t rotation, const std::string& name) {
  require(rows.shape(), kind);
  const int64_t columns = rows.dim(1);
  LowBitMatrix m = empty_matrix(kind, rows.shape(), rotation);
  const float* source = rows.data<float>();
  parallel_for(rows.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(source + r * columns, columns, row.begin());
      throw_if_not_finite(row, name);
      rotate_row(row.data(), columns, rotation);
      quantize_row(kind, row.data(), columns, row_of(m, columns, r));
    }
  });
  return m;
}

LowBitMatrix add_to_low_bit(const LowBitMatrix& matrix, const Tensor& delta, uint64_t seed, const std::string& name) {
  const LowBit kind = matrix.parts.kind;
  require(delta.shape(), kind);
  const int64_t columns = delta.dim(1);
  LowBitMatrix result = empty_matrix(kind, delta.shape(), matrix.parts.rotation);
  const auto copy = [](const Tensor& from, Tensor& to) {
    if (from.defined()) std::memcpy(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
  };
  copy(matrix.value, result.value);
  copy(matrix.parts.scale, result.parts.scale);
  copy(matrix.parts.group_scale, result.parts.group_scale);
  const float* added = delta.data<float>();
  parallel_for(delta.dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns)), change(row.size());
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(added + r * columns, columns, change.begin());
      if (std::ranges::all_of(change, [](float v) { return v == 0.f; })) continue;
      rotate_row(change.data(), columns, matrix.parts.rotation);
      const Row out = row_of(result, columns, r);
      dequantize_row(kind, out, columns, row.data());
      for (size_t c = 0; c < row.size(); ++c) row[c] += change[c];
      throw_if_not_finite(row, name);
      const uint64_t row_seed = seed ^ static_cast<uint64_t>(r) * 0xd1342543de82ef95u;
      if (kind == LowBit::w8a8) update_i8(row, out, row_seed);
      if (kind == LowBit::w4a8) update_i4(row, out, row_seed);
      if (kind == LowBit::nf4) update_nf4(row, out, row_seed);
    }
  });
  return result;
}

}  // namespace inkling
