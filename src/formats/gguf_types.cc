#include "formats/gguf_types.h"

#include <algorithm>

#include "base/error.h"

namespace inkling {

namespace {

struct GgmlType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;
};

// Gaps are types that ggml has removed.
constexpr GgmlType kTypes[] = {
    {0, "F32", DType::f32},
    {1, "F16", DType::f16},
    {2, "Q4_0", DType::q4_0},
    {3, "Q4_1", DType::q4_1},
    {6, "Q5_0", DType::q5_0},
    {7, "Q5_1", DType::q5_1},
    {8, "Q8_0", DType::q8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", DType::q2_k},
    {11, "Q3_K", DType::q3_k},
    {12, "Q4_K", DType::q4_k},
    {13, "Q5_K", DType::q5_k},
    {14, "Q6_K", DType::q6_k},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", DType::iq4_nl},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", DType::iq4_xs},
    {24, "I8", DType::i8},
    {25, "I16", DType::i16},
    {26, "I32", DType::i32},
    {27, "I64", DType::i64},
    {28, "F64", DType::f64},
    {29, "IQ1_M", {}},
    {30, "BF16", DType::bf16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
};

}  // namespace

std::optional<DType> dtype_of_ggml(uint32_t type) {
  const auto* found = std::ranges::find(kTypes, type, &GgmlType::number);
  return found == std::end(kTypes) ? std::nullopt : found->dtype;
}

uint32_t ggml_of_dtype(DType type) {
  const auto* found = std::ranges::find(kTypes, std::optional(type), &GgmlType::dtype);
  if (found == std::end(kTypes)) throw ModelError("GGUF has no element type for {}", name(type));
  return found->number;
}

std::string ggml_type_name(uint32_t type) {
  const auto* found = std::ranges::find(kTypes, type, &GgmlType::number);
  return found == std::end(kTypes) ? fmt::format("type {}", type) : std::string(found->name);
}

}  // namespace inkling
