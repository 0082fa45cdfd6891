#include "pipeline/presets.h"

#include "base/error.h"
#include "pipeline/engine.h"

namespace inkling {

bool is_preset(std::string_view name) {
  return name == "qwen-image" || name == "qwen-image-edit-2509" || name == "qwen-image-13b" || name == "tiny";
}

ModelConfig preset(std::string_view name) {
  ModelConfig config;  // the published 20 B layout
  if (name == "qwen-image" || name == "qwen-image-edit-2509") return config;
  if (name == "qwen-image-13b") {
    config.dit.layers = 40;
    return config;
  }
  if (name != "tiny")
    throw ArgumentError("preset: got '{}', expected qwen-image, qwen-image-edit-2509, qwen-image-13b or tiny", name);
  const auto folder = shipped_model();
  config.dit = read_dit_config(folder / "transformer/config.json");
  config.text = read_text_config(folder / "text_encoder/config.json");
  config.vision = read_vision_config(folder / "text_encoder/config.json");
  config.vae = read_vae_config(folder / "vae/config.json");
  config.processor = read_processor_config(folder / "processor/preprocessor_config.json");
  return config;
}

ModelTree::ModelTree(const ModelConfig& config)
    : text_encoder(config.text),
      vision(config.vision),
      modulation(config.dit),
      dit(config.dit),
      vae_encoder(config.vae),
      vae_decoder(config.vae) {}

}  // namespace inkling
