#include "models/names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>
#include <span>

namespace inkling {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// Splits "12.rest" into 12 and "rest".
std::optional<std::pair<int, std::string_view>> leading_index(std::string_view text) {
  int index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end == text.data() + text.size() || *end != '.') return {};
  return std::pair(index, text.substr(end - text.data() + 1));
}

// Replaces the head of `text` (up to a dot or the whole) by the first pair whose key matches.
std::optional<std::string> replace_head(std::string_view text, std::span<const Pair> pairs) {
  for (const auto& [from, to] : pairs)
    if (text.starts_with(from) && (text.size() == from.size() || text[from.size()] == '.'))
      return std::string(to) + std::string(text.substr(from.size()));
  return {};
}

NameMap strip(std::string prefix) {
  return [prefix = std::move(prefix)](std::string_view name) -> std::optional<CanonicalName> {
    if (!name.starts_with(prefix)) return {};
    return CanonicalName{std::string(name.substr(prefix.size())), CanonicalName::Join::none, 0};
  };
}

// The first prefix under which `anchor` exists.
NameMap strip_first(const std::vector<std::string>& names, std::initializer_list<const char*> prefixes,
                    const std::string& anchor) {
  for (const char* prefix : prefixes)
    if (contains(names, prefix + anchor)) return strip(prefix);
  return {};
}

// --- llama.cpp ------------------------------------------------------------------------------------------------
constexpr std::array<Pair, 3> kGgufText{
    {{"token_embd", "embed_tokens"}, {"output_norm", "norm"}, {"output", "lm_head"}}};
constexpr std::array<Pair, 9> kGgufLayer{{{"attn_norm", "input_layernorm"},
                                          {"attn_q", "self_attn.q_proj"},
                                          {"attn_k", "self_attn.k_proj"},
                                          {"attn_v", "self_attn.v_proj"},
                                          {"attn_output", "self_attn.o_proj"},
                                          {"ffn_norm", "post_attention_layernorm"},
                                          {"ffn_gate", "mlp.gate_proj"},
                                          {"ffn_up", "mlp.up_proj"},
                                          {"ffn_down", "mlp.down_proj"}}};
constexpr std::array<Pair, 3> kGgufVision{
    {{"v.post_ln", "merger.ln_q"}, {"mm.0", "merger.mlp.0"}, {"mm.2", "merger.mlp.2"}}};
constexpr std::array<Pair, 10> kGgufVisionBlock{{{"ln1", "norm1"},
                                                 {"ln2", "norm2"},
                                                 {"attn_qkv", "attn.qkv"},
                                                 {"attn_q", "attn.qkv"},
                                                 {"attn_k", "attn.qkv"},
                                                 {"attn_v", "attn.qkv"},
                                                 {"attn_out", "attn.proj"},
                                                 {"ffn_gate", "mlp.gate_proj"},
                                                 {"ffn_up", "mlp.up_proj"},
                                                 {"ffn_down", "mlp.down_proj"}}};

CanonicalName plain(std::string name) { return {std::move(name), CanonicalName::Join::none, 0}; }

std::optional<CanonicalName> gguf_text_name(std::string_view name) {
  if (name.starts_with("blk.")) {
    const auto layer = leading_index(name.substr(4));
    if (!layer) return {};
    const auto rest = replace_head(layer->second, kGgufLayer);
    return plain("layers." + std::to_string(layer->first) + "." + (rest ? *rest : std::string(layer->second)));
  }
  const auto head = replace_head(name, kGgufText);
  return plain(head ? *head : std::string(name));
}

std::optional<CanonicalName> gguf_vision_name(std::string_view name) {
  using Join = CanonicalName::Join;
  if (name == "v.patch_embd.weight") return CanonicalName{"patch_embed.proj.weight", Join::time, 0};
  if (name == "v.patch_embd.weight.1") return CanonicalName{"patch_embed.proj.weight", Join::time, 1};
  if (!name.starts_with("v.blk.")) {
    const auto head = replace_head(name, kGgufVision);
    return plain(head ? *head : std::string(name));
  }
  const auto block = leading_index(name.substr(6));
  if (!block) return {};
  const auto rest = replace_head(block->second, kGgufVisionBlock);
  CanonicalName result =
      plain("blocks." + std::to_string(block->first) + "." + (rest ? *rest : std::string(block->second)));
  for (int part = 0; part < 3; ++part)
    if (block->second.starts_with(std::array{"attn_q.", "attn_k.", "attn_v."}[part])) {
      result.join = Join::rows;
      result.part = part;
    }
  return result;
}

// --- Wan names of the VAE -----------------------------------------------------------------------------------
constexpr std::array<Pair, 6> kWanBlock{{{"residual.0", "norm1"},
                                         {"residual.2", "conv1"},
                                         {"residual.3", "norm2"},
                                         {"residual.6", "conv2"},
                                         {"shortcut", "conv_shortcut"},
                                         {"norm", "norm"}}};
constexpr std::array<Pair, 6> kWanPart{{{"conv1", "conv_in"},
                                        {"middle.0", "mid_block.resnets.0"},
                                        {"middle.1", "mid_block.attentions.0"},
                                        {"middle.2", "mid_block.resnets.1"},
                                        {"head.0", "norm_out"},
                                        {"head.2", "conv_out"}}};

std::string wan_block(std::string_view inside) {
  const auto mapped = replace_head(inside, kWanBlock);
  return mapped ? *mapped : std::string(inside);
}

// The decoder's flat list: residual blocks of a level, then its up-sampler.
std::map<int, std::string> wan_up_blocks(const std::vector<std::string>& names, const std::string& prefix) {
  std::set<int> all, upsamplers;
  for (const std::string& n : names) {
    if (!n.starts_with(prefix)) continue;
    const auto index = leading_index(std::string_view(n).substr(prefix.size()));
    if (!index) continue;
    all.insert(index->first);
    if (index->second.starts_with("resample.")) upsamplers.insert(index->first);
  }
  std::map<int, std::string> result;
  int level = 0, resnet = 0;
  for (int i : all) {
    const std::string block = "decoder.up_blocks." + std::to_string(level) + ".";
    if (upsamplers.contains(i)) {
      result[i] = block + "upsamplers.0.";
      ++level;
      resnet = 0;
    } else {
      result[i] = block + "resnets." + std::to_string(resnet++) + ".";
    }
  }
  return result;
}

NameMap wan_vae(const std::string& prefix, const std::vector<std::string>& names) {
  return [prefix, up = wan_up_blocks(names, prefix + "decoder.upsamples.")](
             std::string_view name) -> std::optional<CanonicalName> {
    if (!name.starts_with(prefix)) return {};
    name.remove_prefix(prefix.size());
    constexpr std::array<Pair, 2> kTop{{{"conv1", "quant_conv"}, {"conv2", "post_quant_conv"}}};
    if (const auto top = replace_head(name, kTop)) return plain(*top);
    for (const std::string_view side : {"encoder.", "decoder."}) {
      if (!name.starts_with(side)) continue;
      const std::string_view inside = name.substr(side.size());
      if (inside.starts_with("downsamples."))
        if (const auto i = leading_index(inside.substr(12)))
          return plain("encoder.down_blocks." + std::to_string(i->first) + "." + wan_block(i->second));
      if (inside.starts_with("upsamples."))
        if (const auto i = leading_index(inside.substr(10)); i && up.contains(i->first))
          return plain(up.at(i->first) + wan_block(i->second));
      for (const auto& [from, to] : kWanPart)
        if (inside.starts_with(from) && inside.size() > from.size() && inside[from.size()] == '.')
          return plain(std::string(side) + std::string(to) + "." + wan_block(inside.substr(from.size() + 1)));
    }
    return plain(std::string(name));
  };
}

}  // namespace

std::string_view name(Component component) {
  switch (component) {
    case Component::dit: return "transformer";
    case Component::text_encoder: return "text encoder";
    case Component::vision: return "vision tower";
    case Component::vae: return "VAE";
  }
  return "";
}

NameMap find_name_map(Component component, const std::vector<std::string>& names) {
  switch (component) {
    case Component::dit:
      return strip_first(names, {"", "model.diffusion_model.", "diffusion_model.", "transformer."}, "txt_norm.weight");
    case Component::text_encoder:
      if (contains(names, "token_embd.weight")) return gguf_text_name;
      return strip_first(
          names,
          {"model.", "model.language_model.", "language_model.model.", "", "text_encoders.qwen25_7b.transformer.model.",
           "text_encoders.qwen25_7b.transformer.model.language_model."},
          "embed_tokens.weight");
    case Component::vision:
      if (contains(names, "v.patch_embd.weight")) return gguf_vision_name;
      return strip_first(names,
                         {"visual.", "model.visual.", "", "text_encoders.qwen25_7b.transformer.visual.",
                          "text_encoders.qwen25_7b.transformer.model.visual."},
                         "patch_embed.proj.weight");
    case Component::vae:
      for (const std::string prefix : {"", "vae."})
        if (contains(names, prefix + "decoder.middle.0.residual.0.gamma")) return wan_vae(prefix, names);
      return strip_first(names, {"", "vae."}, "decoder.conv_in.weight");
  }
  return {};
}

}  // namespace inkling
