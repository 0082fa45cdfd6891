// The Qwen2.5-VL language model as a text encoder: hidden states after the final norm
// (reference/qwen-image.md section 3). There is no language-model head.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/module.h"
#include "models/qwen_image/config.h"
#include "models/rope.h"

namespace inkling {

// Vision features that take the place of the embeddings from row `row` on.
struct PictureFeatures {
  int64_t row = 0;
  Tensor features;  // [tokens, D]
};

struct TextInputs {
  Tensor ids;                             // host i32 [T]: prompts one after another, unpadded
  Segments prompts;                       // their borders
  PositionRows positions;                 // T each; every prompt counts from 0 (mrope_positions)
  std::vector<PictureFeatures> pictures;  // in order of their rows
};

class TextEncoder : public Module {
 public:
  explicit TextEncoder(const TextConfig& config);
  ~TextEncoder() override;

  // -> [T, D]
  Tensor forward(Ops& ops, const TextInputs& inputs);
  const TextConfig& config() const { return config_; }

 private:
  class Layer;

  const TextConfig config_;
  Weight embed_tokens_;  // [vocab, D]
  std::vector<std::unique_ptr<Layer>> layers_;
  Tensor norm_;  // [D]
};

}  // namespace inkling
