#include "backends/cpu/int8_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace inkling::kernels {

namespace {

void multiply(const int8_t* x, int64_t stride, int64_t rows, const uint8_t* panel, int64_t depth, bool first,
              int32_t* sums, Ahead) {
  for (int64_t r = 0; r < rows; ++r, x += stride, sums += kPanel) {
    if (first) std::fill_n(sums, kPanel, 0);
    for (int64_t k = 0; k < depth; k += 4) {
      const uint8_t* w = panel + k * kPanel;
      for (int64_t j = 0; j < kPanel; ++j)
        for (int64_t i = 0; i < 4; ++i) sums[j] += x[k + i] * w[4 * j + i];
    }
  }
}

void unpack(const uint8_t* codes, const uint8_t* group_scale, int64_t depth, uint8_t* panel) {
  for (int64_t k = 0; k < depth; k += 8, codes += 4 * kPanel, panel += 8 * kPanel)
    for (int64_t j = 0; j < 4 * kPanel; ++j) {
      const int s = group_scale[k / 64 * kPanel + j / 4];
      panel[j] = static_cast<uint8_t>(s * ((codes[j] & 15) - 8) + 128);
      panel[j + 4 * kPanel] = static_cast<uint8_t>(s * ((codes[j] >> 4) - 8) + 128);
    }
}

void finish(const int32_t* sums, int32_t correction, float x_scale, const float* scale, const float* bias, int64_t n,
            float* y) {
  for (int64_t j = 0; j < n; ++j) {
    const float product = static_cast<float>(sums[j] - correction) * (x_scale * scale[j]);
    const float value = bias == nullptr ? product : product + bias[j];
    std::memcpy(y + j, &value, sizeof(value));  // perhaps over the sum
  }
}

void store(const float* rows, int64_t count, int64_t n, float* y, int64_t stride) {
  for (int64_t r = 0; r < count; ++r) std::copy_n(rows + r * kPanel, n, y + r * stride);
}

constexpr Int8Kernels kScalar{multiply, unpack, finish, store, kDepth, 128};

constexpr Int8Isa kAll[] = {Int8Isa::amx, Int8Isa::avx512, Int8Isa::avx2, Int8Isa::scalar};

Int8Isa environment_limit() {
  static const Int8Isa limit = [] {
    const char* wanted = std::getenv("INKLING_INT8_ISA");
    for (const Int8Isa isa : kAll)
      if (wanted != nullptr && name(isa) == wanted) return isa;
    return Int8Isa::amx;
  }();
  return limit;
}

}  // namespace

Int8Isa best_int8_isa(Int8Isa limit) {
  limit = std::min(limit, environment_limit());
  for (const Int8Isa isa : kAll)
    if (isa <= limit && x86_has(isa)) return isa;
  return Int8Isa::scalar;
}

const Int8Kernels& int8_kernels(Int8Isa isa) {
  const Int8Kernels* x86 = isa == Int8Isa::scalar ? nullptr : x86_int8_kernels(isa);
  return x86 == nullptr ? kScalar : *x86;
}

std::string_view name(Int8Isa isa) {
  switch (isa) {
    case Int8Isa::scalar: return "scalar";
    case Int8Isa::avx2: return "avx2";
    case Int8Isa::avx512: return "avx512";
    case Int8Isa::amx: return "amx";
  }
  return "";
}

}  // namespace inkling::kernels
