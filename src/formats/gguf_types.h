// Numbers of the GGUF format shared by its reader and writer.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace inkling {

constexpr std::string_view kGgufMagicBytes = "GGUF";
constexpr uint32_t kGgufVersion = 3;
constexpr int64_t kGgufDefaultAlignment = 32;
constexpr std::string_view kGgufOrigShapePrefix = "comfy.gguf.orig_shape.";

enum class GgufValue : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
constexpr uint32_t kGgufValueKinds = 13;

// The element type of a ggml type number; empty when we cannot hold it.
std::optional<DType> dtype_of_ggml(uint32_t type);
// The other way; throws ModelError for types that GGUF does not have (float8, u8, bool).
uint32_t ggml_of_dtype(DType type);
// "IQ2_XXS" for a type that exists but is not supported, "type 77" for one that we do not know.
std::string ggml_type_name(uint32_t type);

}  // namespace inkling
