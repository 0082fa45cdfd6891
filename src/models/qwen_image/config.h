// Sizes and switches of the Qwen-Image family, read from the JSON files of a diffusers folder (both the old
// and the new spelling, reference/qwen-image.md 1.1). Defaults are the published models. Every field is
// range-checked; an error names the file, the field, the value and what was expected.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace inkling {

struct DitConfig {
  int64_t patch_size = 2;
  int64_t in_channels = 64;   // of a packed token
  int64_t out_channels = 16;  // before packing
  int64_t layers = 60;
  int64_t heads = 24;
  int64_t head_dim = 128;
  int64_t text_dim = 3584;
  int64_t mlp_dim = 12288;
  std::array<int64_t, 3> rope_axes{16, 56, 56};
  bool zero_cond_t = false;        // reference tokens are modulated as at t = 0 (Edit-2511)
  bool additional_t_cond = false;  // adds a learned vector to the time embedding (Layered)
  bool layer3d_rope = false;       // the condition picture sits at frame -1 (Layered)

  int64_t dim() const { return heads * head_dim; }
  int64_t token_out() const { return patch_size * patch_size * out_channels; }
};

struct TextConfig {
  int64_t vocab = 152064;
  int64_t dim = 3584;
  int64_t layers = 28;
  int64_t heads = 28;
  int64_t kv_heads = 4;
  int64_t mlp_dim = 18944;
  float eps = 1e-6f;
  float rope_theta = 1e6f;
  std::array<int64_t, 3> mrope_sections{16, 24, 24};

  int64_t head_dim() const { return dim / heads; }
};

struct VisionConfig {
  int64_t layers = 32;
  int64_t dim = 1280;
  int64_t heads = 16;
  int64_t mlp_dim = 3420;
  int64_t out_dim = 3584;
  int64_t channels = 3;
  int64_t patch = 14;
  int64_t temporal_patch = 2;
  int64_t merge = 2;     // patches per side of a merge unit
  int64_t window = 112;  // pixels
  std::vector<int64_t> full_attention{7, 15, 23, 31};

  int64_t head_dim() const { return dim / heads; }
  int64_t patch_values() const { return channels * temporal_patch * patch * patch; }
};

// How pictures are prepared for the vision tower.
struct ProcessorConfig {
  int64_t min_pixels = 3136;
  int64_t max_pixels = 12845056;
  std::array<float, 3> mean{0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std{0.26862954f, 0.26130258f, 0.27577711f};
};

struct VaeConfig {
  int64_t base_dim = 96;
  int64_t latent_channels = 16;
  std::vector<int64_t> dim_mult{1, 2, 4, 4};
  int64_t res_blocks = 2;
  int64_t image_channels = 3;  // 4: RGBA (Layered)
  std::vector<float> latents_mean{-0.7571f, -0.7089f, -0.9113f, 0.1075f,  -0.1745f, 0.9653f,  -0.1517f, 1.5508f,
                                  0.4134f,  -0.0715f, 0.5517f,  -0.3632f, -0.1922f, -0.9497f, 0.2503f,  -0.2921f};
  std::vector<float> latents_std{2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
                                 3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f};

  int64_t levels() const { return static_cast<int64_t>(dim_mult.size()); }
  int64_t scale() const { return int64_t{1} << (levels() - 1); }  // pixels per latent
};

// `file` is the JSON file itself. Throw ModelError.
DitConfig read_dit_config(const std::filesystem::path& file);
TextConfig read_text_config(const std::filesystem::path& file);
VisionConfig read_vision_config(const std::filesystem::path& file);  // the text encoder's config.json
ProcessorConfig read_processor_config(const std::filesystem::path& file);
VaeConfig read_vae_config(const std::filesystem::path& file);
// The same from JSON text, such as the "config" entry of a file's metadata; `where` names it in errors.
DitConfig parse_dit_config(const std::string& json, const std::string& where);

// Consistency between fields; called by the readers and for configurations inferred from tensors.
void validate(const DitConfig& config, const std::string& where);
void validate(const TextConfig& config, const std::string& where);
void validate(const VisionConfig& config, const std::string& where);
void validate(const VaeConfig& config, const std::string& where);

}  // namespace inkling
