// The Qwen2.5-VL vision tower: one picture's patches to text-model tokens (reference/qwen-image.md section 4).
#pragma once

#include <memory>
#include <vector>

#include "formats/image.h"
#include "models/module.h"
#include "models/qwen_image/config.h"

namespace inkling {

// A picture in patches of 14 pixels, ordered so that groups of merge^2 rows are one merge unit.
struct VisionInput {
  Tensor patches;                 // host f32 [height * width, 1176]
  int64_t height = 0, width = 0;  // in patches, multiples of merge
};
// `image`: RGB, already resized so that both sides are multiples of patch * merge.
VisionInput make_patches(const Image& image, const VisionConfig& config, const ProcessorConfig& processor);

class VisionTower : public Module {
 public:
  explicit VisionTower(const VisionConfig& config);
  ~VisionTower() override;

  // -> [height * width / merge^2, out_dim], merge units row by row. `picture` numbers the trace names.
  Tensor forward(Ops& ops, const VisionInput& input, int64_t picture = 0);
  const VisionConfig& config() const { return config_; }

 private:
  class Block;

  const VisionConfig config_;
  Weight patch_embed_;  // [D, 1176]
  std::vector<std::unique_ptr<Block>> blocks_;
  Tensor ln_q_;           // [D]
  Weight mlp_0_, mlp_2_;  // [4 D, 4 D], [out_dim, 4 D]
};

}  // namespace inkling
