#include "models/qwen_image/config.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "models/json.h"

namespace inkling {

namespace {

constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxDim = 1 << 20;

void check(bool condition, const std::string& where, const std::string& field, const std::string& got,
           const std::string& expected) {
  if (!condition) throw ModelError("{}: {} is {}, expected {}", where, field, got, expected);
}

// Sizes inferred from a file are as untrusted as those read from JSON.
struct Size {
  const char* name;
  int64_t value, most;
};
void check_sizes(const std::string& where, std::initializer_list<Size> sizes) {
  for (const Size& s : sizes)
    check(s.value >= 1 && s.value <= s.most, where, s.name, std::to_string(s.value), fmt::format("1..{}", s.most));
}

std::array<int64_t, 3> triple(const std::vector<int64_t>& v) { return {v[0], v[1], v[2]}; }

// One object may be wrapped by newer libraries ("text_config", "image_processor").
struct Document {
  nlohmann::json json;
  JsonFields fields;
  explicit Document(const std::filesystem::path& file) : json(read_json_object(file)), fields(json, file.string()) {}
  Document(const std::string& text, const std::string& where)
      : json(parse_json_object(text, where)), fields(json, where) {}
  Document(const Document&) = delete;
};

DitConfig dit_config(const JsonFields& f);

}  // namespace

DitConfig read_dit_config(const std::filesystem::path& file) { return dit_config(Document(file).fields); }
DitConfig parse_dit_config(const std::string& json, const std::string& where) {
  return dit_config(Document(json, where).fields);
}

namespace {
DitConfig dit_config(const JsonFields& f) {
  f.require("_class_name", "QwenImageTransformer2DModel");
  f.require("guidance_embeds", false);
  DitConfig c;
  f.read("patch_size", c.patch_size, 1, 16);
  f.read("in_channels", c.in_channels, 1, 4096);
  f.read("out_channels", c.out_channels, 1, 4096);
  f.read("num_layers", c.layers, 1, kMaxLayers);
  f.read("num_attention_heads", c.heads, 1, 1024);
  f.read("attention_head_dim", c.head_dim, 2, 1024);
  f.read("joint_attention_dim", c.text_dim, 1, kMaxDim);
  std::vector<int64_t> axes(c.rope_axes.begin(), c.rope_axes.end());
  f.read("axes_dims_rope", axes, 3, 3, 2, 1024);
  c.rope_axes = triple(axes);
  f.read("zero_cond_t", c.zero_cond_t);
  f.read("use_additional_t_cond", c.additional_t_cond);
  f.read("use_layer3d_rope", c.layer3d_rope);
  c.mlp_dim = 4 * c.dim();
  validate(c, f.where());
  return c;
}
}  // namespace

void validate(const DitConfig& c, const std::string& where) {
  for (int64_t a : c.rope_axes) check(a % 2 == 0, where, "axes_dims_rope", std::to_string(a), "even numbers");
  const int64_t sum = c.rope_axes[0] + c.rope_axes[1] + c.rope_axes[2];
  check(sum == c.head_dim, where, "the sum of axes_dims_rope", std::to_string(sum),
        fmt::format("attention_head_dim = {}", c.head_dim));
  check(c.in_channels % (c.patch_size * c.patch_size) == 0, where, "in_channels", std::to_string(c.in_channels),
        fmt::format("a multiple of patch_size^2 = {}", c.patch_size * c.patch_size));
  check(c.in_channels == c.token_out(), where, "patch_size^2 * out_channels", std::to_string(c.token_out()),
        fmt::format("in_channels = {}", c.in_channels));
  check_sizes(where, {{"layers", c.layers, kMaxLayers},
                      {"heads", c.heads, kMaxHeads},
                      {"mlp_dim", c.mlp_dim, kMaxDim},
                      {"joint_attention_dim", c.text_dim, kMaxDim}});
}

TextConfig read_text_config(const std::filesystem::path& file) {
  const Document document(file);
  document.fields.require("model_type", "qwen2_5_vl");
  const JsonFields f = document.fields.child_or_self("text_config");
  f.require("hidden_act", "silu");
  f.require("use_sliding_window", false);
  TextConfig c;
  f.read("vocab_size", c.vocab, 1, 1 << 24);
  f.read("hidden_size", c.dim, 1, kMaxDim);
  f.read("num_hidden_layers", c.layers, 1, kMaxLayers);
  f.read("num_attention_heads", c.heads, 1, 1024);
  c.kv_heads = c.heads;
  f.read("num_key_value_heads", c.kv_heads, 1, 1024);
  f.read("intermediate_size", c.mlp_dim, 1, kMaxDim);
  f.read("rms_norm_eps", c.eps, 0.f, 1.f);
  f.read("rope_theta", c.rope_theta, 1.f, 1e12f);
  for (const char* name : {"rope_scaling", "rope_parameters"})
    if (f.has(name)) {
      const JsonFields rope = f.child_or_self(name);
      rope.read("rope_theta", c.rope_theta, 1.f, 1e12f);
      std::vector<int64_t> sections(c.mrope_sections.begin(), c.mrope_sections.end());
      rope.read("mrope_section", sections, 3, 3, 0, 1024);
      c.mrope_sections = triple(sections);
    }
  validate(c, f.where());
  return c;
}

void validate(const TextConfig& c, const std::string& where) {
  check_sizes(where, {{"num_hidden_layers", c.layers, kMaxLayers},
                      {"num_attention_heads", c.heads, kMaxHeads},
                      {"intermediate_size", c.mlp_dim, kMaxDim},
                      {"hidden_size", c.dim, kMaxDim}});
  check(c.heads >= 1 && c.dim % c.heads == 0, where, "hidden_size", std::to_string(c.dim),
        fmt::format("a multiple of num_attention_heads = {}", c.heads));
  check(c.kv_heads >= 1 && c.heads % c.kv_heads == 0, where, "num_key_value_heads", std::to_string(c.kv_heads),
        fmt::format("a divisor of num_attention_heads = {}", c.heads));
  check(c.head_dim() % 2 == 0, where, "hidden_size / num_attention_heads", std::to_string(c.head_dim()),
        "an even number");
  const int64_t sum = std::accumulate(c.mrope_sections.begin(), c.mrope_sections.end(), int64_t{0});
  check(sum == c.head_dim() / 2, where, "the sum of mrope_section", std::to_string(sum),
        fmt::format("half of head_dim {}", c.head_dim()));
}

VisionConfig read_vision_config(const std::filesystem::path& file) {
  const Document document(file);
  if (!document.fields.has("vision_config")) throw ModelError("{}: vision_config is missing", file.string());
  const JsonFields f = document.fields.child_or_self("vision_config");
  f.require("hidden_act", "silu");
  VisionConfig c;
  f.read("depth", c.layers, 1, kMaxLayers);
  f.read("hidden_size", c.dim, 1, kMaxDim);
  f.read("num_heads", c.heads, 1, 1024);
  f.read("intermediate_size", c.mlp_dim, 1, kMaxDim);
  f.read("out_hidden_size", c.out_dim, 1, kMaxDim);
  f.read("in_chans", c.channels, 1, 16);
  f.read("in_channels", c.channels, 1, 16);
  f.read("patch_size", c.patch, 1, 256);
  f.read("temporal_patch_size", c.temporal_patch, 1, 16);
  f.read("spatial_merge_size", c.merge, 1, 16);
  f.read("window_size", c.window, 1, 1 << 16);
  f.read("fullatt_block_indexes", c.full_attention, 0, kMaxLayers, 0, kMaxLayers);
  validate(c, f.where());
  return c;
}

void validate(const VisionConfig& c, const std::string& where) {
  check_sizes(where, {{"depth", c.layers, kMaxLayers},
                      {"num_heads", c.heads, kMaxHeads},
                      {"intermediate_size", c.mlp_dim, kMaxDim},
                      {"hidden_size", c.dim, kMaxDim}});
  check(c.heads >= 1 && c.dim % c.heads == 0, where, "hidden_size", std::to_string(c.dim),
        fmt::format("a multiple of num_heads = {}", c.heads));
  check(c.head_dim() % 4 == 0, where, "hidden_size / num_heads", std::to_string(c.head_dim()), "a multiple of 4");
  check(c.channels == 3, where, "in_channels", std::to_string(c.channels), "3");
  check(c.window >= c.patch * c.merge, where, "window_size", std::to_string(c.window),
        fmt::format("at least one merge unit = {}", c.patch * c.merge));
}

ProcessorConfig read_processor_config(const std::filesystem::path& file) {
  const Document document(file);
  const JsonFields f = document.fields.child_or_self("image_processor");
  ProcessorConfig c;
  constexpr int64_t kPixels = int64_t{1} << 40;
  f.read("min_pixels", c.min_pixels, 1, kPixels);
  f.read("max_pixels", c.max_pixels, 1, kPixels);
  if (f.has("size")) {
    const JsonFields size = f.child_or_self("size");
    size.read("shortest_edge", c.min_pixels, 1, kPixels);
    size.read("longest_edge", c.max_pixels, 1, kPixels);
  }
  check(c.min_pixels <= c.max_pixels, f.where(), "min_pixels", std::to_string(c.min_pixels),
        fmt::format("at most max_pixels = {}", c.max_pixels));
  std::vector<float> mean(c.mean.begin(), c.mean.end()), std(c.std.begin(), c.std.end());
  f.read("image_mean", mean, 3, 3, -10.f, 10.f);
  f.read("image_std", std, 3, 3, 1e-3f, 10.f);
  std::ranges::copy(mean, c.mean.begin());
  std::ranges::copy(std, c.std.begin());
  return c;
}

VaeConfig read_vae_config(const std::filesystem::path& file) {
  const Document document(file);
  const JsonFields& f = document.fields;
  f.require("_class_name", "AutoencoderKLQwenImage");
  f.require("attn_scales", nlohmann::json::array());
  VaeConfig c;
  f.read("base_dim", c.base_dim, 1, 4096);
  f.read("z_dim", c.latent_channels, 1, 1024);
  f.read("dim_mult", c.dim_mult, 2, 8, 1, 64);
  f.read("num_res_blocks", c.res_blocks, 1, 16);
  f.read("input_channels", c.image_channels, 3, 4);
  constexpr float kBig = std::numeric_limits<float>::max();
  f.read("latents_mean", c.latents_mean, 1, 1024, -kBig, kBig);
  f.read("latents_std", c.latents_std, 1, 1024, 1e-6f, kBig);
  if (f.has("temperal_downsample") && f.raw("temperal_downsample").size() + 1 != c.dim_mult.size())
    f.fail("temperal_downsample", f.raw("temperal_downsample").dump(),
           fmt::format("a list of {}", c.dim_mult.size() - 1));
  validate(c, file.string());
  return c;
}

void validate(const VaeConfig& c, const std::string& where) {
  check_sizes(where, {{"base_dim", c.base_dim, 4096}, {"z_dim", c.latent_channels, 1024}});
  check(c.image_channels == 3 || c.image_channels == 4, where, "input_channels", std::to_string(c.image_channels),
        "3 or 4");
  const auto channels = static_cast<size_t>(c.latent_channels);
  check(c.latents_mean.size() == channels, where, "latents_mean", fmt::format("a list of {}", c.latents_mean.size()),
        fmt::format("z_dim = {} numbers", channels));
  check(c.latents_std.size() == channels, where, "latents_std", fmt::format("a list of {}", c.latents_std.size()),
        fmt::format("z_dim = {} numbers", channels));
}

}  // namespace inkling
