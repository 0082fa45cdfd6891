#include "compress/quantize/rules.h"

#include <algorithm>

#include "base/error.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"

namespace inkling {

namespace {

constexpr auto kGguf = TensorFormat::gguf, kSafetensors = TensorFormat::safetensors;
constexpr QuantizeTarget kTargets[] = {
    {"q8_0", kGguf, DType::q8_0, LowBit::none, "7"},
    {"q6_k", kGguf, DType::q6_k, LowBit::none, "18"},
    {"q5_k", kGguf, DType::q5_k, LowBit::none, "16"},
    {"q4_k", kGguf, DType::q4_k, LowBit::none, "14"},
    {"q4_0", kGguf, DType::q4_0, LowBit::none, "2"},
    {"w8a8", kSafetensors, DType::i8, LowBit::w8a8},
    {"w4a8", kSafetensors, DType::u8, LowBit::w4a8},
    {"nf4", kSafetensors, DType::u8, LowBit::nf4},
    {"fp8", kSafetensors, DType::f8_e4m3},
    {"bf16", kSafetensors, DType::bf16},
    {"f16", kSafetensors, DType::f16},
};

bool is_plain_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }

bool whole_blocks(DType type, const Shape& shape) {
  return shape.rank() > 0 && shape[-1] % info(type).block_elements == 0;
}

// Names of the blocks in each component's tree; the VAE has none.
constexpr std::string_view blocks_of(Component component) {
  return component == Component::dit            ? "transformer_blocks."
         : component == Component::text_encoder ? "layers."
                                                : "blocks.";
}

}  // namespace

std::span<const QuantizeTarget> quantize_targets() { return kTargets; }

const QuantizeTarget& quantize_target(std::string_view name) {
  const auto at = std::ranges::find(kTargets, name, &QuantizeTarget::name);
  if (at == std::end(kTargets)) throw ArgumentError("{}: no type that a model can be written in", name);
  return *at;
}

TypeRules::TypeRules(const std::vector<std::string>& names, const QuantizeTarget& target, const std::string& file)
    : target_(target) {
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
    if (matrix && canonical->name.starts_with(blocks_of(c)))
      return canonical->name.ends_with("_mod.1.weight") ? TensorRole::modulation : TensorRole::matrix;
    if (matrix && canonical->name == "embed_tokens.weight") return TensorRole::embedding;
    return TensorRole::outer;
  }
  return TensorRole::other;
}

// What does not fill the target's groups of columns gets the next better form that it fills.
TensorForm TypeRules::matrix_form(const Shape& shape) const {
  switch (target_.low_bit) {
    case LowBit::w4a8:  // ComfyUI's layout is always rotated
      if (fits(LowBit::w4a8, shape) && default_rotation(shape[1]) > 0) return {DType::u8, LowBit::w4a8};
      return {DType::i8, LowBit::w8a8};
    case LowBit::w8a8: return {DType::i8, LowBit::w8a8};
    case LowBit::nf4:  // blocks run on over the rows
      return shape.elements() % 2 == 0 ? TensorForm{DType::u8, LowBit::nf4} : TensorForm{DType::bf16};
    case LowBit::none: break;
  }
  if (whole_blocks(target_.type, shape)) return {target_.type};
  return {whole_blocks(DType::q8_0, shape) ? DType::q8_0 : DType::bf16};
}

// Eight bits at least, and 16 where the file's kind of layout has no 8 bits beside it. Backends compute with it as
// 16-bit numbers.
TensorForm TypeRules::modulation_form(const Shape& shape) const {
  if (target_.format == TensorFormat::gguf) return {whole_blocks(DType::q8_0, shape) ? DType::q8_0 : DType::bf16};
  switch (target_.low_bit) {
    case LowBit::w4a8:
    case LowBit::w8a8: return {DType::i8, LowBit::w8a8};
    case LowBit::nf4: return {DType::bf16};
    case LowBit::none: break;
  }
  return {target_.type};
}

std::string TypeRules::transformer_name(const std::string& name) const {
  if (!has(Component::dit)) return {};
  const auto canonical = maps_[static_cast<size_t>(Component::dit)](name);
  return canonical && canonical->join == CanonicalName::Join::none ? canonical->name : "";
}

TensorForm TypeRules::form(const std::string& name, const Shape& shape, DType stored) const {
  const bool gguf = target_.format == TensorFormat::gguf;
  const DType sixteen = target_.type == DType::f16 ? DType::f16 : DType::bf16;
  switch (role(name, shape)) {
    case TensorRole::matrix: return matrix_form(shape);
    case TensorRole::modulation: return modulation_form(shape);
    case TensorRole::embedding: return {gguf && whole_blocks(DType::q8_0, shape) ? DType::q8_0 : sixteen};
    case TensorRole::outer: return {sixteen};
    case TensorRole::vector: return {!gguf && is_plain_float(stored) ? stored : DType::f32};
    case TensorRole::other: break;
  }
  if (!gguf) return {is_block_quantized(stored) ? DType::f32 : stored};
  return {stored == DType::f8_e4m3 || stored == DType::f8_e5m2 ? DType::bf16 : stored};
}

}  // namespace inkling
