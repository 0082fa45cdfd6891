#include "formats/add_delta.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "formats/chance.h"
#include "formats/float8.h"
#include "formats/k_quant.h"

namespace inkling {

namespace {

constexpr int64_t kGrainElements = 1 << 16;

float half_at(const std::byte* p) {
  f16_t half;
  std::memcpy(&half, p, sizeof(half));
  return to_float(half);
}
void store_half(float value, std::byte* p) {
  const f16_t half = to_f16(value);
  std::memcpy(p, &half, sizeof(half));
}

// New codes for 32 values in a block that holds the old ones. The scale grows where a value leaves its range.
void recode_q8_0(const float* x, std::byte* b, uint64_t seed) {
  float largest = 0, d = half_at(b);
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  if (largest > 127.f * d) {
    store_half(std::min(largest / 127.f, 65504.f), b);
    d = half_at(b);
  }
  for (uint64_t i = 0; i < 32; ++i) {
    const float q = d == 0.f ? 0.f : round_by_chance(x[i] / d, seed, i);
    b[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::clamp(q, -127.f, 127.f)));
  }
}

void recode_q4_0(const float* x, std::byte* b, uint64_t seed) {
  const float d = half_at(b);
  const auto steps = [&](size_t i) { return d == 0.f ? 0.f : x[i] / d; };
  for (size_t i = 0; i < 32; ++i)
    if (steps(i) < -9.f || steps(i) > 8.f || (d == 0.f && x[i] != 0.f)) return quantize_row(DType::q4_0, x, b, 32);
  const auto code = [&](size_t i) {
    return static_cast<uint8_t>(std::clamp(round_by_chance(steps(i), seed, i), -8.f, 7.f) + 8.f);
  };
  for (size_t i = 0; i < 16; ++i) b[2 + i] = static_cast<std::byte>(code(i) | code(i + 16) << 4);
}

void recode(DType type, const float* x, std::byte* block, uint64_t seed) {
  switch (type) {
    case DType::q8_0: return recode_q8_0(x, block, seed);
    case DType::q4_0: return recode_q4_0(x, block, seed);
    case DType::f8_e4m3:
    case DType::f8_e5m2: *block = static_cast<std::byte>(to_f8_by_chance(type, *x, chance(seed, 0))); return;
    default:
      if (!recode_k_block(type, x, block, seed)) quantize_k_block(type, x, block);
  }
}

}  // namespace

DType type_with_delta(DType stored) {
  if (stored == DType::f8_e4m3 || stored == DType::f8_e5m2) return stored;
  if (!is_block_quantized(stored)) return DType::f32;
  return can_quantize(stored) ? stored : DType::q8_0;
}

Tensor add_delta(const Tensor& matrix, const Tensor& delta, uint64_t seed, const std::string& name) {
  if (!(matrix.shape() == delta.shape()))
    throw RuntimeError("add_delta: got {} for a matrix {}, expected the same shape", delta.shape().str(),
                       matrix.shape().str());
  const DType stored = matrix.dtype(), type = type_with_delta(stored);
  const Tensor base = dequantize(matrix);
  Tensor result = host_tensor(matrix.shape(), type);
  const int64_t columns = matrix.channels(), stride = row_bytes(type, columns);
  const DTypeInfo& block = info(type);
  parallel_for(matrix.rows(), std::max<int64_t>(1, kGrainElements / columns), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      const float *a = base.data<float>() + r * columns, *d = delta.data<float>() + r * columns;
      for (int64_t c = 0; c < columns; ++c) {
        row[static_cast<size_t>(c)] = a[c] + d[c];
        if (type != DType::f32 && !std::isfinite(a[c] + d[c])) throw ModelError("{}: holds {}", name, a[c] + d[c]);
      }
      std::byte* out = result.raw() + r * stride;
      if (type != stored || type == DType::f32) {
        quantize_row(type, row.data(), out, columns);
        continue;
      }
      std::memcpy(out, matrix.raw() + r * stride, static_cast<size_t>(stride));
      for (int64_t b = 0; b < columns / block.block_elements; ++b) {
        const auto first = b * block.block_elements, last = first + block.block_elements;
        if (std::all_of(d + first, d + last, [](float v) { return v == 0.f; })) continue;
        const uint64_t place = static_cast<uint64_t>(r * columns + first);
        recode(type, row.data() + first, out + b * block.block_bytes, seed ^ place * 0xd1342543de82ef95u);
      }
    }
  });
  return result;
}

}  // namespace inkling
