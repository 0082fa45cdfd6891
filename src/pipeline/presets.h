// Architectures by name, without weights: for plan and synth.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "models/qwen_image/dit.h"
#include "models/qwen_image/text_encoder.h"
#include "models/qwen_image/vae.h"
#include "models/qwen_image/vision.h"

namespace inkling {

struct ModelConfig {
  DitConfig dit;
  TextConfig text;
  VisionConfig vision;
  VaeConfig vae;
  ProcessorConfig processor;
};

// "qwen-image", "qwen-image-edit-2509": the published 20 B layout; "qwen-image-13b": the same with 40 of the 60
// blocks; "tiny": the configuration of the model that ships. False for another name.
bool is_preset(std::string_view name);
ModelConfig preset(std::string_view name);

// Every network of a model as an empty tree: shapes and names, no weights.
struct ModelTree {
  explicit ModelTree(const ModelConfig& config);

  TextEncoder text_encoder;
  VisionTower vision;
  DitModulation modulation;
  Dit dit;
  VaeEncoder vae_encoder;
  VaeDecoder vae_decoder;
};

}  // namespace inkling
