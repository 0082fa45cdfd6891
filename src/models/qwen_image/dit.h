// QwenImageTransformer2DModel: the two-stream diffusion transformer (reference/qwen-image.md section 5).
//
// Dit is what runs at every step. Its modulation is the separate module DitModulation, evaluated once per
// schedule. Weights that only feed the unused text output of the last block are not part of the tree.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/module.h"
#include "models/qwen_image/config.h"
#include "models/qwen_image/modulation.h"
#include "models/rope.h"

namespace inkling {

// What a job brings to the DiT. B samples share the picture shapes; their texts may differ in length.
struct DitInputs {
  std::vector<PictureShape> pictures;  // of one sample: what is denoised, then the references
  int64_t denoised_pictures = 1;       // how many of them are denoised (Layered: output layers + 1)
  Tensor text;                         // [sum L_i, text_dim], hidden states of the text encoder
  Segments text_segments;              // B segments
  Tensor references;  // packed clean latents: [R, 64], the same for every sample, or [B R, 64]; undefined without
};

// The part of a forward pass that is the same at every step, computed once per job.
struct DitContext {
  Segments image_segments, text_segments;  // B each; an image segment is N denoised tokens, then R references
  int64_t denoised_tokens = 0;             // N
  Tensor text;                             // [sum L_i, D], after txt_in
  int64_t reference_tokens = 0;            // R
  Tensor references;                       // [R, D] or [B R, D], after img_in; undefined without
  Rope image_rope, text_rope;
};

// Linear layers that checkpoints hold and nothing reads: those that only feed the last block's text output.
struct UnusedLinear {
  std::string name;
  Shape shape;
};
std::vector<UnusedLinear> unused_linears(const DitConfig& config);

// A run of the blocks, [begin, end). end < 0: to the last.
struct BlockRange {
  int64_t begin = 0, end = -1;
  bool operator==(const BlockRange&) const = default;
};

// The two streams on their way through the blocks.
struct DitState {
  Tensor image;  // [B (N + R), D]
  Tensor text;   // [sum L_i, D]; undefined after the last block
};

// With a range the tree holds these blocks alone: a part of the transformer on a device of its own. What leads into the
// first block belongs to the part that begins there, what follows the last to the part that ends there.
class Dit : public Module {
 public:
  explicit Dit(const DitConfig& config, BlockRange blocks = {});
  ~Dit() override;

  // A part without the first block makes no text and no references.
  DitContext prepare(Ops& ops, const DitInputs& inputs);
  // latents [B N, 64] -> velocity [B N, 64]. timestep_row[i]: row of `step` for sample i; empty: row 0 for all.
  Tensor forward(Ops& ops, const DitContext& context, const Tensor& latents, const StepModulation& step,
                 std::span<const int64_t> timestep_row = {});
  // The same in three steps; each part of a divided transformer takes those that are its own.
  DitState enter(Ops& ops, const DitContext& context, const Tensor& latents);
  void run_blocks(Ops& ops, const DitContext& context, DitState& state, const StepModulation& step,
                  std::span<const int64_t> timestep_row = {});
  Tensor leave(Ops& ops, const DitContext& context, DitState state, const StepModulation& step,
               std::span<const int64_t> timestep_row = {});
  const DitConfig& config() const { return config_; }
  BlockRange blocks() const { return range_; }
  bool whole() const { return begins() && ends(); }
  bool begins() const { return range_.begin == 0; }
  bool ends() const { return range_.end == config_.layers; }

 private:
  struct Groups;
  Groups groups(const DitContext& context, const StepModulation& step, std::span<const int64_t> timestep_row) const;

  class Stream;
  class Block;

  const DitConfig config_;
  const BlockRange range_;
  Weight img_in_;                               // [D, 64]
  Tensor txt_norm_;                             // [text_dim]
  Weight txt_in_;                               // [D, text_dim]
  std::vector<std::unique_ptr<Block>> blocks_;  // of range_
  Weight proj_out_;                             // [64, D]
};

}  // namespace inkling
