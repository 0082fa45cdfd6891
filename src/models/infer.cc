// Model sizes from tensor shapes, for files that come without a config.json.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "models/checkpoint.h"

namespace inkling {

namespace {

int64_t dim_of(const Checkpoint& c, const std::string& name, int axis) {
  const CheckpointTensor* t = c.find(name);
  if (t == nullptr) throw ModelError("{}: {} is missing", c.file(), name);
  if (axis >= t->shape.rank())
    throw ModelError("{}: {} has shape {}, expected more dimensions", c.file(), name, t->shape.str());
  return t->shape[axis];
}

// Highest N of names "<prefix>N.…", plus one.
int64_t count_blocks(const Checkpoint& c, const std::string& prefix) {
  int64_t count = 0;
  for (auto at = c.tensors().lower_bound(prefix); at != c.tensors().end() && at->first.starts_with(prefix); ++at) {
    int64_t index = 0;
    const char* begin = at->first.data() + prefix.size();
    if (std::from_chars(begin, at->first.data() + at->first.size(), index).ec == std::errc())
      count = std::max(count, index + 1);
  }
  return count;
}

int64_t metadata_or(const Checkpoint& c, const std::string& key, int64_t otherwise) {
  const auto at = c.metadata().find(key);
  if (at == c.metadata().end()) return otherwise;
  int64_t value = 0;
  const std::string& text = at->second;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc() || value <= 0)
    throw ModelError("{}: metadata {} is {}, expected a positive integer", c.file(), key, text);
  return value;
}

int64_t divide(const Checkpoint& c, const char* what, int64_t value, int64_t by) {
  if (by <= 0 || value <= 0 || value % by != 0)
    throw ModelError("{}: cannot infer {} from {} / {}; put the model's config.json beside the file", c.file(), what,
                     value, by);
  return value / by;
}

// `total` cut in the published proportion rest : part : part, parts even when `even`.
std::array<int64_t, 3> proportion(int64_t total, int64_t part, int64_t of, bool even) {
  int64_t p = total * part / of;
  if (even) p -= p % 2;
  return {total - 2 * p, p, p};
}

}  // namespace

DitConfig infer_dit_config(const Checkpoint& c) {
  DitConfig config;
  if (const auto at = c.metadata().find("config"); at != c.metadata().end()) {
    config = parse_dit_config(at->second, c.file() + ": metadata config");
  } else {
    const std::string block = "transformer_blocks.0.";
    config.head_dim = dim_of(c, block + "attn.norm_k.weight", 0);
    config.heads = divide(c, "the number of heads", dim_of(c, "img_in.weight", 0), config.head_dim);
    config.in_channels = dim_of(c, "img_in.weight", 1);
    config.text_dim = dim_of(c, "txt_norm.weight", 0);
    config.layers = count_blocks(c, "transformer_blocks.");
    config.mlp_dim = dim_of(c, block + "img_mlp.net.0.proj.weight", 0);
    config.out_channels =
        divide(c, "the output channels", dim_of(c, "proj_out.weight", 0), config.patch_size * config.patch_size);
    config.rope_axes = proportion(config.head_dim, 56, 128, /*even=*/true);
  }
  apply_markers(config, c);
  validate(config, c.file());
  return config;
}

void apply_markers(DitConfig& config, const Checkpoint& c) {
  if (c.has_marker("__index_timestep_zero__")) config.zero_cond_t = true;
  if (c.has_marker("time_text_embed.addition_t_embedding.weight"))
    config.additional_t_cond = config.layer3d_rope = true;
}

TextConfig infer_text_config(const Checkpoint& c) {
  TextConfig config;
  const int64_t head_dim = config.head_dim();  // of the published model
  config.vocab = dim_of(c, "embed_tokens.weight", 0);
  config.dim = dim_of(c, "embed_tokens.weight", 1);
  config.layers = count_blocks(c, "layers.");
  config.mlp_dim = dim_of(c, "layers.0.mlp.gate_proj.weight", 0);
  config.heads = metadata_or(c, "qwen2vl.attention.head_count", 0);
  if (config.heads == 0) config.heads = divide(c, "the number of heads", config.dim, head_dim);
  config.kv_heads = divide(c, "the number of key/value heads", dim_of(c, "layers.0.self_attn.k_proj.weight", 0),
                           divide(c, "the head size", config.dim, config.heads));
  const auto theta = c.metadata().find("qwen2vl.rope.freq_base");
  if (theta != c.metadata().end()) config.rope_theta = std::strtof(theta->second.c_str(), nullptr);
  if (!(config.rope_theta >= 1.f)) throw ModelError("{}: qwen2vl.rope.freq_base is {}", c.file(), theta->second);
  config.mrope_sections = proportion(config.head_dim() / 2, 24, 64, /*even=*/false);
  validate(config, c.file());
  return config;
}

VisionConfig infer_vision_config(const Checkpoint& c) {
  VisionConfig config;
  const int64_t head_dim = config.head_dim();
  config.dim = dim_of(c, "patch_embed.proj.weight", 0);
  config.layers = count_blocks(c, "blocks.");
  config.mlp_dim = dim_of(c, "blocks.0.mlp.gate_proj.weight", 0);
  config.out_dim = dim_of(c, "merger.mlp.2.weight", 0);
  config.heads = metadata_or(c, "clip.vision.attention.head_count", 0);
  if (config.heads == 0) config.heads = divide(c, "the number of vision heads", config.dim, head_dim);
  const int64_t period = metadata_or(c, "clip.vision.n_wa_pattern", 8);  // every eighth block sees the whole picture
  config.full_attention.clear();
  for (int64_t i = period - 1; i < config.layers; i += period) config.full_attention.push_back(i);
  validate(config, c.file());
  return config;
}

VaeConfig infer_vae_config(const Checkpoint& c) {
  VaeConfig config;
  config.image_channels = dim_of(c, "decoder.conv_out.weight", 0);
  config.base_dim = dim_of(c, "decoder.norm_out.gamma", 0);
  config.latent_channels = dim_of(c, "post_quant_conv.weight", 0);
  if (config.latent_channels != static_cast<int64_t>(config.latents_mean.size()))
    throw ModelError("{}: {} latent channels, expected {}; put the model's config.json beside the file", c.file(),
                     config.latent_channels, config.latents_mean.size());
  validate(config, c.file());
  return config;
}

}  // namespace inkling
