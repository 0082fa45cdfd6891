// Linear layers in integers (formats/int_quant.h): weights of 8 or 4 bits in panels of 64 outputs, activations rounded
// to int8 with one scale a row, exact int32 sums. Memory is the caller's; both layouts are one run of bytes each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/int8_kernels.h"
#include "ops/weight.h"

namespace inkling {

struct StoredRows;

// A packed matrix [n, k]: codes of all panels, group scales of all panels (4 bits), one f32 scale an output. Outputs
// that fill the last panel are zero.
struct IntegerMatrix {
  bool four_bit = false;
  int64_t n = 0, k = 0;
  int64_t panels = 0, panel_bytes = 0;  // of codes
  int64_t groups_at = 0, scale_at = 0, bytes = 0;
  IntegerMatrix() = default;
  IntegerMatrix(bool four_bit, int64_t n, int64_t k);
};

// Whether the integer kernels can multiply with [n, k]: whole groups, and sums that fit int32.
bool integers_can_multiply(int64_t k);

// Activations [rows, k]: codes in chunks (int8_kernels.h), one f32 scale and one i32 sum of codes a row.
struct RoundedRows {
  int64_t rows = 0, k = 0, chunk = 0;
  int64_t scale_at = 0, sum_at = 0, bytes = 0;
  RoundedRows() = default;
  RoundedRows(int64_t rows, int64_t k, int64_t chunk);
};

// Scratch of one thread, for each of the functions below.
int64_t pack_scratch_bytes(int64_t k);
int64_t round_scratch_bytes(int64_t k);
int64_t multiply_scratch_bytes(int64_t rows, const IntegerMatrix& w);

// Rows of any stored type, rotated and rounded; or stored codes as they are.
void pack_rounded(const StoredRows& source, int64_t rotation, const IntegerMatrix& layout, std::byte* packed,
                  std::byte* scratch);
void pack_stored(const Tensor& codes, const LowBitParts& parts, const IntegerMatrix& layout, std::byte* packed);

void round_rows(const float* x, int64_t rotation, const RoundedRows& layout, std::byte* rounded, std::byte* scratch);
// y = act(x w^T + bias), [rows, n] dense. activation: as in MatmulKey.
void multiply_integers(kernels::Int8Isa isa, const RoundedRows& x_layout, const std::byte* x,
                       const IntegerMatrix& w_layout, const std::byte* w, const float* bias, int activation, float* y,
                       std::byte* scratch);

}  // namespace inkling
