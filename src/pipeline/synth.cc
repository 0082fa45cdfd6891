#include "pipeline/synth.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "formats/tensor_file.h"
#include "pipeline/engine.h"
#include "pipeline/presets.h"

namespace inkling {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

// --- random values --------------------------------------------------------------------------------------------

uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// 65,536 quantiles of the normal distribution: one 16-bit draw is one value, ten times faster than Box-Muller and
// good enough for statistics.
const std::array<float, 65536>& normal_quantiles() {
  static const std::array<float, 65536> table = [] {
    std::array<float, 65536> t{};
    for (size_t i = 0; i < t.size(); ++i) {
      const double p = (static_cast<double>(i) + 0.5) / 65536;
      double x = 0;  // Newton on the distribution function
      for (int k = 0; k < 60; ++k) {
        const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - p;
        const double density = std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
        x -= std::clamp(error / std::max(density, 1e-12), -0.5, 0.5);
      }
      t[i] = static_cast<float>(x);
    }
    return t;
  }();
  return table;
}

void fill_normal(uint64_t seed, float mean, float deviation, std::span<float> out) {
  const auto& table = normal_quantiles();
  for (size_t i = 0; i < out.size();) {
    uint64_t bits = splitmix64(seed);
    for (int k = 0; k < 4 && i < out.size(); ++k, bits >>= 16) out[i++] = mean + deviation * table[bits & 0xffff];
  }
}

// --- what a checkpoint holds ------------------------------------------------------------------------------------

struct SynthTensor {
  TensorToWrite file;
  float mean = 0, deviation = 0;
};

// Shape on disk: the VAE's convolutions are stored with three temporal slices, 1x1 ones with one.
Shape stored_shape(const Parameter& p) {
  if (p.fold == Parameter::Fold::last_temporal_slice) {
    const int64_t kernel = p.shape.rank() == 4 ? p.shape[2] : 1;
    return Shape{p.shape[0], p.shape[1], kernel == 1 ? 1 : 3, kernel, kernel};
  }
  return p.shape;
}

// Residual branches are damped so that activations stay of order one through 60 blocks.
float weight_deviation(const std::string& name, int64_t fan_in) {
  const bool closes_branch = name.find("to_out") != std::string::npos || name.find("to_add_out") != std::string::npos ||
                             name.find("net.2") != std::string::npos || name.find("o_proj") != std::string::npos ||
                             name.find("down_proj") != std::string::npos || name.find("attn.proj") != std::string::npos;
  const bool modulation = name.find("_mod.1") != std::string::npos;
  return (closes_branch ? 0.5f : modulation ? 0.2f : 1.f) / std::sqrt(static_cast<float>(fan_in));
}

void collect(const Module& module, DType matrix, DType vector, const std::string& prefix,
             std::vector<SynthTensor>& out) {
  module.for_each_parameter(
      [&](const Parameter& p) {
        const bool is_vector = p.kind == Parameter::Kind::vector;
        const Shape shape = stored_shape(p);
        if (is_vector) {
          out.push_back({{p.name, vector, shape}, 1.f, 0.05f});
          return;
        }
        const int64_t fan_in = p.shape.elements() / p.shape[0];
        const bool whole_blocks = shape.rank() == 2 && shape[-1] % info(matrix).block_elements == 0;
        const DType type = whole_blocks ? matrix : is_block_quantized(matrix) ? DType::f32 : matrix;
        const float deviation = p.kind == Parameter::Kind::embedding ? 0.02f : weight_deviation(p.name, fan_in);
        out.push_back({{p.name, type, shape}, 0.f, deviation});
        if (p.weight->has_bias)
          out.push_back({{p.name.substr(0, p.name.size() - 6) + "bias", vector, Shape{p.shape[0]}}, 0.f, 0.01f});
      },
      prefix);
}

// The published file also holds what feeds the unused text output of the last block; the tree leaves it out.
void add_dead_weights(int64_t layers, std::vector<SynthTensor>& dit) {
  const std::string first = "transformer_blocks.0.", last = fmt::format("transformer_blocks.{}.", layers - 1);
  std::set<std::string> present;
  for (const SynthTensor& t : dit) present.insert(t.file.name);
  for (size_t i = 0, n = dit.size(); i < n; ++i) {
    SynthTensor t = dit[i];
    if (!t.file.name.starts_with(first)) continue;
    t.file.name = last + t.file.name.substr(first.size());
    if (present.insert(t.file.name).second) dit.push_back(t);
  }
}

Tensor make_tensor(const SynthTensor& t) {
  Tensor result = host_tensor(t.file.shape, t.file.dtype);
  const int64_t rows = result.rows(), columns = result.channels(), stride = row_bytes(t.file.dtype, columns);
  const uint64_t seed = std::hash<std::string>()(t.file.name);
  parallel_for(rows, 64, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      fill_normal(seed + static_cast<uint64_t>(r) * 0x100000001b3u, t.mean, t.deviation, row);
      quantize_row(t.file.dtype, row.data(), result.raw() + r * stride, columns);
    }
  });
  return result;
}

// --- files --------------------------------------------------------------------------------------------------------

void write_json(const fs::path& path, const json& j) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path);
  file << j.dump(2) << '\n';
  if (!file.flush()) throw RuntimeError("{}: could not be written", path.string());
}

json dit_json(const DitConfig& c) {
  json j{{"_class_name", "QwenImageTransformer2DModel"},
         {"patch_size", c.patch_size},
         {"in_channels", c.in_channels},
         {"out_channels", c.out_channels},
         {"num_layers", c.layers},
         {"attention_head_dim", c.head_dim},
         {"num_attention_heads", c.heads},
         {"joint_attention_dim", c.text_dim},
         {"guidance_embeds", false},
         {"axes_dims_rope", c.rope_axes}};
  return j;
}

json text_json(const TextConfig& t, const VisionConfig& v, const std::map<std::string, int64_t>& special) {
  json vision{{"depth", v.layers},
              {"hidden_size", v.dim},
              {"num_heads", v.heads},
              {"intermediate_size", v.mlp_dim},
              {"out_hidden_size", v.out_dim},
              {"in_chans", v.channels},
              {"patch_size", v.patch},
              {"temporal_patch_size", v.temporal_patch},
              {"spatial_merge_size", v.merge},
              {"window_size", v.window},
              {"fullatt_block_indexes", v.full_attention},
              {"hidden_act", "silu"}};
  return {{"architectures", {"Qwen2_5_VLForConditionalGeneration"}},
          {"model_type", "qwen2_5_vl"},
          {"vocab_size", t.vocab},
          {"hidden_size", t.dim},
          {"num_hidden_layers", t.layers},
          {"num_attention_heads", t.heads},
          {"num_key_value_heads", t.kv_heads},
          {"intermediate_size", t.mlp_dim},
          {"rms_norm_eps", t.eps},
          {"rope_theta", t.rope_theta},
          {"hidden_act", "silu"},
          {"rope_scaling", {{"type", "mrope"}, {"mrope_section", t.mrope_sections}}},
          {"tie_word_embeddings", false},
          {"image_token_id", special.at("<|image_pad|>")},
          {"vision_start_token_id", special.at("<|vision_start|>")},
          {"vision_end_token_id", special.at("<|vision_end|>")},
          {"vision_config", vision}};
}

json vae_json(const VaeConfig& c) {
  return {{"_class_name", "AutoencoderKLQwenImage"},
          {"base_dim", c.base_dim},
          {"z_dim", c.latent_channels},
          {"dim_mult", c.dim_mult},
          {"num_res_blocks", c.res_blocks},
          {"attn_scales", json::array()},
          {"temperal_downsample", {false, true, true}},
          {"dropout", 0.0},
          {"latents_mean", c.latents_mean},
          {"latents_std", c.latents_std}};
}

json scheduler_json() {
  return {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
          {"num_train_timesteps", 1000},
          {"shift", 1.0},
          {"use_dynamic_shifting", true},
          {"base_shift", 0.5},
          {"max_shift", 0.9},
          {"base_image_seq_len", 256},
          {"max_image_seq_len", 8192},
          {"shift_terminal", 0.02},
          {"time_shift_type", "exponential"}};
}

// The shipped tokenizer, its special tokens moved to the ids that `vocab` rows leave room for.
std::map<std::string, int64_t> write_tokenizer(const fs::path& folder, int64_t vocab) {
  constexpr int64_t kRealFirstSpecial = 151643;
  const fs::path source = shipped_model() / "tokenizer";
  fs::create_directories(folder);
  std::ifstream in(source / "tokenizer_config.json");
  json config = json::parse(in);
  json moved = json::object();
  std::map<std::string, int64_t> special;
  for (const auto& [id, token] : config.at("added_tokens_decoder").items()) {
    const auto count = static_cast<int64_t>(special.size());
    const int64_t target = vocab > kRealFirstSpecial ? kRealFirstSpecial + count : std::stoll(id);
    special[token.at("content").get<std::string>()] = target;
    moved[std::to_string(target)] = token;
  }
  config["added_tokens_decoder"] = moved;
  write_json(folder / "tokenizer_config.json", config);
  write_json(folder / "added_tokens.json", json(special));
  std::ifstream vocab_in(source / "vocab.json");
  json base = json::parse(vocab_in);
  for (const auto& [token, id] : special) base.erase(token);
  write_json(folder / "vocab.json", base);
  fs::copy_file(source / "merges.txt", folder / "merges.txt", fs::copy_options::overwrite_existing);
  return special;
}

struct Writer {
  const ProgressFn& progress;
  const CancelToken* cancel;
  int done = 0, total = 0;

  void write(const fs::path& stem, const std::vector<SynthTensor>& tensors, bool gguf, const char* architecture) {
    std::vector<TensorToWrite> list;
    for (const SynthTensor& t : tensors) list.push_back(t.file);
    const TensorProducer produce = [&](size_t i) {
      if (cancel != nullptr) cancel->throw_if_cancelled();
      if (progress) progress({"write", ++done, total});
      return make_tensor(tensors[i]);
    };
    fs::create_directories(stem.parent_path());
    if (gguf)
      write_gguf(stem.string() + ".gguf", list, produce,
                 {{"general.architecture", architecture}, {"general.quantization_version", "2"}});
    else
      write_safetensors(stem.string() + ".safetensors", list, produce, {{"format", "pt"}});
  }
};

}  // namespace

void write_synthetic_model(std::string_view preset_name, DType dtype, const fs::path& folder,
                           const ProgressFn& progress, const CancelToken* cancel) {
  if (fs::exists(folder) && !fs::is_empty(folder))
    throw ArgumentError("{}: is not empty; name a new folder", folder.string());
  const ModelConfig config = preset(preset_name);
  const ModelTree tree(config);
  const bool gguf = is_block_quantized(dtype);
  const DType vector = gguf ? DType::f32 : DType::bf16;

  std::vector<SynthTensor> dit, text, vae;
  collect(tree.dit, dtype, vector, "", dit);
  collect(tree.modulation, dtype, vector, "", dit);
  add_dead_weights(config.dit.layers, dit);
  collect(tree.text_encoder, dtype, vector, "model", text);
  collect(tree.vision, dtype, vector, "visual", text);
  collect(tree.vae_encoder, DType::bf16, DType::bf16, "", vae);
  collect(tree.vae_decoder, DType::bf16, DType::bf16, "", vae);

  const bool edit = preset_name == "qwen-image-edit-2509" || preset_name == "tiny";
  const auto special = write_tokenizer(folder / "tokenizer", config.text.vocab);
  write_json(folder / "model_index.json", {{"_class_name", edit ? "QwenImageEditPlusPipeline" : "QwenImagePipeline"}});
  write_json(folder / "transformer/config.json", dit_json(config.dit));
  write_json(folder / "text_encoder/config.json", text_json(config.text, config.vision, special));
  write_json(folder / "vae/config.json", vae_json(config.vae));
  write_json(folder / "scheduler/scheduler_config.json", scheduler_json());
  write_json(folder / "processor/preprocessor_config.json",
             {{"min_pixels", config.processor.min_pixels}, {"max_pixels", config.processor.max_pixels}});

  Writer writer{progress, cancel, 0, static_cast<int>(dit.size() + text.size() + vae.size())};
  writer.write(folder / "vae/diffusion_pytorch_model", vae, false, "");
  writer.write(folder / "text_encoder/model", text, gguf, "qwen2vl");
  writer.write(folder / "transformer/diffusion_pytorch_model", dit, gguf, "qwen_image");
}

}  // namespace inkling
