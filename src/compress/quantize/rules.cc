#include "compress/quantize/rules.h"

#include <algorithm>

#include "base/error.h"

namespace inkling {

namespace {

bool is_plain_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }

// Names of the blocks in each component's tree; the VAE has none.
constexpr std::string_view blocks_of(Component component) {
  return component == Component::dit            ? "transformer_blocks."
         : component == Component::text_encoder ? "layers."
                                                : "blocks.";
}

}  // namespace

TypeRules::TypeRules(const std::vector<std::string>& names, DType target, const std::string& file) : target_(target) {
  for (const Component c : {Component::dit, Component::text_encoder, Component::vision, Component::vae})
    maps_[static_cast<size_t>(c)] = find_name_map(c, names);
  if (!has(Component::dit) && !has(Component::text_encoder) && !has(Component::vision))
    throw ModelError("{}: holds no Qwen-Image transformer, text encoder or vision tower", file);
}

TensorRole TypeRules::role(const std::string& name, const Shape& shape) const {
  if (shape.elements() == 0) return TensorRole::other;  // a marker
  if (name.ends_with("lm_head.weight") || name == "output.weight") return TensorRole::embedding;
  // The tower first: the language model's prefix may begin the tower's names too.
  for (const Component c : {Component::vision, Component::text_encoder, Component::dit}) {
    if (!has(c)) continue;
    const auto canonical = maps_[static_cast<size_t>(c)](name);
    if (!canonical) continue;
    if (shape.rank() < 2) return TensorRole::vector;
    const bool matrix = shape.rank() == 2 && canonical->name.ends_with(".weight");
    if (matrix && canonical->name.starts_with(blocks_of(c))) return TensorRole::matrix;
    if (matrix && canonical->name == "embed_tokens.weight") return TensorRole::embedding;
    return TensorRole::outer;
  }
  return TensorRole::other;
}

DType TypeRules::type(const std::string& name, const Shape& shape, DType stored) const {
  const bool gguf = writes_gguf();
  const bool whole_blocks = shape.rank() > 0 && shape[-1] % 32 == 0;
  const DType sixteen = target_ == DType::f16 ? DType::f16 : DType::bf16;
  switch (role(name, shape)) {
    case TensorRole::matrix: return gguf && !whole_blocks ? sixteen : target_;
    case TensorRole::embedding: return gguf && whole_blocks ? DType::q8_0 : sixteen;
    case TensorRole::outer: return sixteen;
    case TensorRole::vector: return !gguf && is_plain_float(stored) ? stored : DType::f32;
    case TensorRole::other: break;
  }
  if (!gguf) return is_block_quantized(stored) ? DType::f32 : stored;
  return stored == DType::f8_e4m3 || stored == DType::f8_e5m2 ? DType::bf16 : stored;
}

}  // namespace inkling
