// Element types, including the block-quantized storage formats of GGUF (a block is a run of elements along
// the last dimension that share scales).
#pragma once

#include <cstdint>
#include <string_view>

namespace inkling {

enum class DType : uint8_t {
  f32,
  f64,
  bf16,
  f16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
};

struct DTypeInfo {
  std::string_view name;   // lower-case, as enumerated above
  int64_t block_elements;  // 1 for plain types
  int64_t block_bytes;
};

const DTypeInfo& info(DType type);
inline std::string_view name(DType type) { return info(type).name; }
inline bool is_block_quantized(DType type) { return info(type).block_elements > 1; }
// Bytes of a row of `elements` elements; throws ModelError when the row is no whole number of blocks.
int64_t row_bytes(DType type, int64_t elements);

// bfloat16 and float16 as raw bits; conversions round to nearest even.
struct bf16_t {
  uint16_t bits;
};
struct f16_t {
  uint16_t bits;
};
float to_float(bf16_t value);
float to_float(f16_t value);
bf16_t to_bf16(float value);
f16_t to_f16(float value);

}  // namespace inkling
