// Which tensor of a checkpoint becomes which type.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/names.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace inkling {

// What a tensor is for, which decides how much it may be rounded.
enum class TensorRole {
  matrix,     // of a transformer block, of the DiT, the language model or the vision tower: nearly all bytes
  embedding,  // token embeddings and the language-model head
  outer,      // what the blocks stand between: embedders, time embedding, output projection. Small and sensitive
  vector,     // norms and biases
  other,      // VAE, markers, unknown: kept as it is
};

class TypeRules {
 public:
  // `target` is q8_0, q4_0, bf16, f16 or f8_e4m3. Throws ModelError when no part of a Qwen-Image model is among the
  // names.
  TypeRules(const std::vector<std::string>& names, DType target, const std::string& file);

  TensorRole role(const std::string& name, const Shape& shape) const;
  DType type(const std::string& name, const Shape& shape, DType stored) const;
  bool writes_gguf() const { return is_block_quantized(target_); }
  bool has(Component component) const { return static_cast<bool>(maps_[static_cast<size_t>(component)]); }

 private:
  DType target_;
  std::array<NameMap, 4> maps_;  // by Component; empty: not in the file
};

}  // namespace inkling
