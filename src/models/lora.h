// Low-rank adapters in every naming that is published (reference/qwen-image.md section 9), merged into a
// weight when it is loaded: W + strength * alpha / rank * up * down, in float32.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/tensor_file.h"
#include "models/module.h"
#include "models/qwen_image/config.h"

namespace inkling {

// A linear layer that an adapter may change.
struct LinearSite {
  std::string name;  // "transformer_blocks.7.attn.to_q"
  Shape shape;       // [out, in]
};
// Every linear layer of the DiT, those of unused weights included.
std::vector<LinearSite> lora_sites(const DitConfig& config);

enum class LoraAlpha {
  always,     // alpha / rank wherever an alpha is stored (as ComfyUI)
  diffusers,  // the alpha beside lora_A / lora_B is ignored (as diffusers)
};

class LoraSet {
 public:
  explicit LoraSet(const DitConfig& config) : LoraSet(lora_sites(config)) {}
  explicit LoraSet(std::vector<LinearSite> sites);
  LoraSet(LoraSet&&) = default;  // by_key_ points into sites_: movable, not copyable
  LoraSet& operator=(LoraSet&&) = default;

  // Adds a file's adapters; returns how many layers it changes. Throws ModelError for a name that is no layer
  // of the model, a shape that does not fit, a layout that is not a plain low-rank product.
  int64_t add(const std::filesystem::path& path, float strength, LoraAlpha alpha = LoraAlpha::always);
  int64_t add(const std::shared_ptr<const TensorFile>& file, float strength, LoraAlpha alpha = LoraAlpha::always);

  bool empty() const { return patches_.empty(); }
  bool patches(const std::string& layer) const { return patches_.contains(layer); }
  // Adds every adapter of the layer to `weight`, host f32 [out, in].
  void apply(const std::string& layer, Tensor& weight) const;

 private:
  struct Patch {
    std::shared_ptr<const TensorFile> file;
    const TensorEntry* down = nullptr;  // [rank, in]
    const TensorEntry* up = nullptr;    // [out, rank]
    float scale = 1.f;
  };

  std::vector<LinearSite> sites_;
  std::map<std::string, const LinearSite*> by_key_;  // dotted and underscored names
  std::map<std::string, std::vector<Patch>> patches_;
};

}  // namespace inkling
