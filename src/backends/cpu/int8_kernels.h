// Exact products of int8 activations with panels of 8-bit weights: plain pointers, one thread. Sums are int32, so every
// instruction set gives the same ones.
//
// A panel is 64 outputs wide: bytes [depth / 4][64][4], each a weight + 128. Unsigned weights suit VPDPBUSD and
// TDPBSUD, whose other operand is signed, and the activation may be broadcast from memory.
#pragma once

#include <cstdint>
#include <string_view>

namespace inkling::kernels {

enum class Int8Isa : uint8_t { scalar, avx2, avx512, amx };

constexpr int64_t kPanel = 64;  // outputs
// Depth that is multiplied at a time: 32 KiB of panel stay in L1 while all rows pass.
constexpr int64_t kDepth = 512;

// Lines of 64 bytes that are brought into the L2 meanwhile, a few at a time: a burst would wait for the memory.
struct Ahead {
  const uint8_t* at = nullptr;
  int64_t lines = 0;
};

struct Int8Kernels {
  // sums[r][0..63] = (first ? 0 : sums[r]) + x[r] . panel, depth <= kDepth a multiple of 64. x lies in chunks of
  // `chunk` columns, [columns / chunk][all rows][chunk], the last chunk perhaps narrower. chunk 64: `stride` bytes from
  // a chunk to the next; chunk kDepth: x is inside one chunk, and rows are `stride` bytes apart.
  void (*multiply)(const int8_t* x, int64_t stride, int64_t rows, const uint8_t* panel, int64_t depth, bool first,
                   int32_t* sums, Ahead ahead);
  // 4-bit codes of a panel, bytes [depth / 8][64][4] with quad 2i in the low and quad 2i + 1 in the high nibbles, and
  // group scales [depth / 64][64] -> panel.
  void (*unpack)(const uint8_t* codes, const uint8_t* group_scale, int64_t depth, uint8_t* panel);
  // y[j] = float(sums[j] - correction) * (x_scale * scale[j]) + bias[j], j < n <= 64, each step rounded; bias null: 0.
  // y may be the memory of sums.
  void (*finish)(const int32_t* sums, int32_t correction, float x_scale, const float* scale, const float* bias,
                 int64_t n, float* y);
  // Rows of n <= 64 floats, 64 apart, to rows `stride` apart that will not be read soon: past the caches where
  // possible.
  void (*store)(const float* rows, int64_t count, int64_t n, float* y, int64_t stride);
  int64_t chunk;
  int32_t offset;  // what is added to every weight in `sums`: 128 or 0
};

// The best that the machine has, up to a limit and to the one that INKLING_INT8_ISA names, for measurements. The
// operating system is asked for AMX's registers the first time.
Int8Isa best_int8_isa(Int8Isa limit = Int8Isa::amx);
const Int8Kernels& int8_kernels(Int8Isa isa);
std::string_view name(Int8Isa isa);

// int8_kernels_x86.cc; null where the compiler does not make x86 code.
const Int8Kernels* x86_int8_kernels(Int8Isa isa);
bool x86_has(Int8Isa isa);

}  // namespace inkling::kernels
