// The third of the DiT that depends on the timestep alone: time embedding and the modulation matrices of
// every block. It is evaluated once per schedule; the weights are not needed while denoising.
//
// It shares the DiT's checkpoint and names but is a module of its own, loaded and dropped on its own.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/module.h"
#include "models/qwen_image/config.h"

namespace inkling {

using TensorMove = std::function<Tensor(const Tensor&)>;

// Modulation of one stream in one block. Each view is [G, D]: row g serves the RowGroups that name g.
struct StreamModulation {
  Tensor shift1, scale1, gate1;  // around attention
  Tensor shift2, scale2, gate2;  // around the MLP
};

// What one step's timestep decides. G timestep rows (one per distinct timestep in the batch); with
// zero_cond_t the image stream has one more row, the last, for t = 0.
class StepModulation {
 public:
  int64_t timesteps = 1;  // G
  bool zero_row = false;
  std::vector<Tensor> image;  // per block [6, G (+1), D]: shift1, scale1, gate1, shift2, scale2, gate2
  std::vector<Tensor> text;   // per block [6, G, D]
  Tensor norm_out;            // [2, G, D]: scale, shift

  StreamModulation image_block(int64_t block) const;
  StreamModulation text_block(int64_t block) const;
  // A copy made by `move`, such as Ops::upload of a step that was kept in host memory.
  StepModulation transferred(const TensorMove& move) const;
  // The same of the blocks [begin, end); the others are left out.
  StepModulation transferred(const TensorMove& move, int64_t begin, int64_t end) const;
};

class DitModulation : public Module {
 public:
  explicit DitModulation(const DitConfig& config);

  // One entry per step. timesteps: 1000 sigma, one list per step (usually of length 1). A long schedule takes
  // much memory (8.8 MB a step in float32): `place`, such as Ops::download, moves each block's part away as
  // soon as it is made.
  std::vector<StepModulation> forward(Ops& ops, std::span<const std::vector<float>> steps,
                                      const TensorMove& place = {});
  // A schedule with the same timestep for every sample.
  std::vector<StepModulation> forward(Ops& ops, std::span<const float> timesteps, const TensorMove& place = {});

 private:
  struct Block : Module {
    Weight image, text;  // img_mod.1, txt_mod.1 [6 D, D]
    explicit Block(int64_t dim);
  };
  Tensor time_embedding(Ops& ops, std::span<const float> timesteps);

  const DitConfig config_;
  Weight linear_1_, linear_2_;  // [D, 256], [D, D]
  Weight addition_;             // [2, D], Layered
  std::vector<std::unique_ptr<Block>> blocks_;
  Weight norm_out_;  // [2 D, D]
};

// [cos, sin] features of the timesteps: host f32 [T, 256], in the reference's order of operations.
Tensor timestep_features(std::span<const float> timesteps);

}  // namespace inkling
