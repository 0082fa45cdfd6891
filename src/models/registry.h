// What a path holds: the one place that knows model classes and file layouts. A new model is one folder of
// src/models and one line in registry.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "models/checkpoint.h"
#include "models/qwen_image/config.h"

namespace inkling {

// The kinds of pipeline of the family; they differ in templates, references and sizes, not in networks.
enum class PipelineKind { generate, edit, edit_plus, layered };
std::string_view name(PipelineKind kind);

// From an optional inkling.json beside model_index.json; 0 leaves the pipeline's own default.
struct ModelDefaults {
  int64_t width = 0, height = 0, steps = 0;
  std::optional<float> cfg_scale;
  int64_t vae_reference_area = 0;     // pixels of a reference picture for the VAE
  int64_t vision_reference_area = 0;  // and for the vision tower
};

// Where the parts of a model are. Empty paths: absent (vision tower, configs) or not given.
struct ModelFiles {
  PipelineKind kind = PipelineKind::generate;
  std::filesystem::path source;                          // what the user named
  std::filesystem::path dit, text_encoder, vision, vae;  // tensor files; one file may serve several
  std::filesystem::path dit_config, text_config, vae_config, processor_config;
  std::filesystem::path scheduler_config;  // read by diffusion/schedule
  std::filesystem::path tokenizer;         // folder
  std::optional<bool> zero_cond_t;         // overrides file and config
  ModelDefaults defaults;
};

// Parts named one by one; each replaces that part of `base`, if one is given.
struct SeparateFiles {
  std::filesystem::path base, dit, text_encoder, mmproj, vae, tokenizer;
  std::optional<PipelineKind> kind;
  std::optional<bool> zero_cond_t;
};

// `path`: a diffusers folder, or a single file that holds at least the transformer. Throws ModelError.
ModelFiles find_model(const std::filesystem::path& path);
ModelFiles combine(const SeparateFiles& parts);
// Throws ModelError naming each part that is missing for this kind and the option that gives it.
void require_complete(const ModelFiles& files);

// The tensor file of a component's folder: an index of shards, else the only file. Throws ModelError.
std::filesystem::path tensor_file_in(const std::filesystem::path& folder);

// Configurations: from the config.json where there is one, else inferred from the tensors; switches that the
// checkpoint itself or the file's name carries are applied.
DitConfig dit_config(const ModelFiles& files, const Checkpoint& dit);
TextConfig text_config(const ModelFiles& files, const Checkpoint& text_encoder);
VisionConfig vision_config(const ModelFiles& files, const Checkpoint& vision);
VaeConfig vae_config(const ModelFiles& files, const Checkpoint& vae);
ProcessorConfig processor_config(const ModelFiles& files);

}  // namespace inkling
