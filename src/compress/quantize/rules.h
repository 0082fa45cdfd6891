// Which tensor of a checkpoint becomes what.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_file.h"
#include "models/names.h"
#include "tensor/low_bit.h"

namespace inkling {

// What the matrices of the blocks become. The names are those of the command line.
struct QuantizeTarget {
  std::string_view name;
  TensorFormat format;
  DType type;                       // kind none
  LowBit low_bit = LowBit::none;    // else
  std::string_view gguf_type = {};  // ggml's number of "mostly" this type
};
std::span<const QuantizeTarget> quantize_targets();
// Throws ArgumentError for a name that is none.
const QuantizeTarget& quantize_target(std::string_view name);

// What a tensor is for, which decides how much it may be rounded.
enum class TensorRole {
  matrix,      // of a transformer block, of the DiT, the language model or the vision tower: nearly all bytes
  modulation,  // a third of the DiT, evaluated once per schedule: its error enters every block's scales and shifts
  embedding,   // token embeddings and the language-model head
  outer,       // what the blocks stand between: embedders, time embedding, output projection. Small and sensitive
  vector,      // norms and biases
  other,       // VAE, markers, unknown: kept as it is
};

// A plain or block type, or low-bit codes (then `type` says nothing).
struct TensorForm {
  DType type = DType::f32;
  LowBit low_bit = LowBit::none;
  bool operator==(const TensorForm&) const = default;
};

class TypeRules {
 public:
  // Throws ModelError when no part of a Qwen-Image model is among the names.
  TypeRules(const std::vector<std::string>& names, const QuantizeTarget& target, const std::string& file);

  TensorRole role(const std::string& name, const Shape& shape) const;
  TensorForm form(const std::string& name, const Shape& shape, DType stored) const;
  // In the transformer's module tree; empty: not a tensor of its own there.
  std::string transformer_name(const std::string& name) const;
  const QuantizeTarget& target() const { return target_; }
  bool has(Component component) const { return static_cast<bool>(maps_[static_cast<size_t>(component)]); }

 private:
  TensorForm matrix_form(const Shape& shape) const;
  TensorForm modulation_form(const Shape& shape) const;

  QuantizeTarget target_;
  std::array<NameMap, 4> maps_;  // by Component; empty: not in the file
};

}  // namespace inkling
