// Noise levels of flow matching with Euler steps (reference/qwen-image.md section 7.1). Every operation is
// done in the precision and order of diffusers' FlowMatchEulerDiscreteScheduler, so that the values are its
// values to the last bit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace inkling {

struct FlowMatchConfig {
  enum class Shift { constant, exponential, linear };

  Shift shift_type = Shift::exponential;
  double shift = 1.0;  // of Shift::constant; the others depend on the number of image tokens:
  double base_shift = 0.5, max_shift = 0.9;
  int64_t base_image_tokens = 256, max_image_tokens = 8192;
  double terminal = 0.02;  // sigma of the last step; 0: as it comes

  // Distilled models of 4 or 8 steps: constant shift of 3, no terminal.
  static FlowMatchConfig lightning();
  // Text of a scheduler_config.json. Throws ModelError, also for schedules that are not implemented.
  static FlowMatchConfig parse(std::string_view json);
  // The shift exponent mu; linear in the noise tokens (references do not count), not clamped.
  double mu(int64_t image_tokens) const;
};

struct Schedule {
  std::vector<float> sigmas;  // [steps + 1], falling from 1 to the final 0

  int steps() const { return static_cast<int>(sigmas.size()) - 1; }
  float timestep(int step) const { return sigmas[static_cast<size_t>(step)] * 1000.f; }
  // What a step adds of the velocity: x += delta(step) * v.
  float delta(int step) const { return sigmas[static_cast<size_t>(step) + 1] - sigmas[static_cast<size_t>(step)]; }
};

// `steps` levels from 1 to 1/steps, shifted and stretched. `image_tokens`: noise tokens of one picture.
Schedule make_schedule(const FlowMatchConfig& config, int steps, int64_t image_tokens);
// The same from other unshifted levels (falling, in (0, 1]) and shift exponent.
Schedule shift_schedule(const FlowMatchConfig& config, std::span<const float> levels, double mu);

}  // namespace inkling
