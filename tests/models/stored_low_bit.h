// A low-bit matrix as the tensors of a file, spelled out once more for the tests.
#pragma once

#include <nlohmann/json.hpp>

#include "formats/float8.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"
#include "models/tiny.h"

namespace inkling::testing {

inline Tensor text_tensor(const std::string& s) {
  Tensor t = host_tensor(Shape{static_cast<int64_t>(s.size())}, DType::u8);
  std::ranges::copy(s, reinterpret_cast<char*>(t.raw()));
  return t;
}

// The tensors of `module`: ComfyUI's layouts for w8a8 and w4a8, bitsandbytes' for nf4.
inline TensorMap stored_low_bit(const std::string& module, const Shape& matrix, const LowBitMatrix& m) {
  const std::string weight = module + ".weight";
  const auto retyped = [&](const Shape& shape, DType type) {
    return Tensor(shape, type, m.value.storage(), m.value.raw() - m.value.storage()->data());
  };
  if (m.parts.kind == LowBit::w8a8) {
    nlohmann::json format{{"format", "int8_tensorwise"}};
    if (m.parts.rotation > 0) format["convrot"] = true, format["convrot_groupsize"] = m.parts.rotation;
    return {{weight, m.value},
            {module + ".weight_scale", m.parts.scale.reshape(Shape{matrix[0], 1})},
            {module + ".comfy_quant", text_tensor(format.dump())}};
  }
  if (m.parts.kind == LowBit::w4a8) {
    Tensor relative = host_tensor(Shape{matrix[0], matrix[1] / 16}, DType::f8_e4m3);
    for (int64_t i = 0; i < relative.elements(); ++i)
      relative.raw()[i] = static_cast<std::byte>(to_f8_e4m3(m.parts.group_scale.data<uint8_t>()[i / 4]));
    std::vector<float> codebook(16);
    for (int i = 0; i < 16; ++i) codebook[static_cast<size_t>(i)] = static_cast<float>(i - 8);
    const nlohmann::json format{{"format", "asym_w4a8_int8"}, {"convrot_groupsize", m.parts.rotation}};
    return {{weight, retyped(Shape{matrix[0], matrix[1] / 2}, DType::i8)},
            {module + ".weight_s_rel", relative},
            {module + ".weight_s_channel", m.parts.scale},
            {module + ".weight_codebook", host_tensor(Shape{16}, codebook)},
            {module + ".comfy_quant", text_tensor(format.dump())}};
  }
  const Nf4Nested nested = nest_nf4(m.parts.scale.span<float>());
  const nlohmann::json state{{"shape", {matrix[0], matrix[1]}},
                             {"blocksize", 64},
                             {"nested_blocksize", 256},
                             {"nested_offset", nested.offset}};
  return {{weight, retyped(Shape{matrix.elements() / 2, 1}, DType::u8)},
          {weight + ".absmax", host_tensor(m.parts.scale.shape(), std::span<const uint8_t>(nested.codes))},
          {weight + ".quant_map", host_tensor(Shape{16}, std::span<const float>(kNf4))},
          {weight + ".nested_absmax", host_tensor(Shape{std::ssize(nested.scale)}, nested.scale)},
          {weight + ".nested_quant_map", host_tensor(Shape{256}, std::span<const float>(nf4_nested_map()))},
          {weight + ".quant_state.bitsandbytes__nf4", text_tensor(state.dump())}};
}

}  // namespace inkling::testing
