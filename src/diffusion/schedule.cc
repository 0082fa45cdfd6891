#include "diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace inkling {
namespace {

using nlohmann::json;

template <typename T>
T field(const json& object, const char* name, T fallback) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? fallback : found->get<T>();
}

float shifted(const FlowMatchConfig& config, float level, double mu) {
  switch (config.shift_type) {
    case FlowMatchConfig::Shift::constant:
      return static_cast<float>(config.shift) * level / (1.f + static_cast<float>(config.shift - 1.0) * level);
    case FlowMatchConfig::Shift::exponential: {
      const auto e = static_cast<float>(std::exp(mu));
      return e / (e + (1.f / level - 1.f));
    }
    case FlowMatchConfig::Shift::linear: {
      const auto m = static_cast<float>(mu);
      return m / (m + (1.f / level - 1.f));
    }
  }
  return level;
}

// Moves the levels so that the last one is `terminal`. A last level of 1 (a single step) cannot be moved:
// the reference divides 0 by 0 there.
void stretch(std::vector<float>& levels, double terminal) {
  const float scale = (1.f - levels.back()) / static_cast<float>(1.0 - terminal);
  if (scale == 0.f) return;
  for (float& level : levels) level = 1.f - (1.f - level) / scale;
}

}  // namespace

FlowMatchConfig FlowMatchConfig::lightning() {
  FlowMatchConfig config;
  config.base_shift = config.max_shift = std::log(3.0);
  config.terminal = 0;
  return config;
}

FlowMatchConfig FlowMatchConfig::parse(std::string_view text) {
  FlowMatchConfig config;
  try {
    const json object = json::parse(text);
    if (!object.is_object()) throw ModelError("scheduler: expected a JSON object");
    for (const char* name :
         {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "stochastic_sampling"}) {
      if (field(object, name, false)) throw ModelError("scheduler: {} is not implemented", name);
    }
    const auto train_steps = field(object, "num_train_timesteps", 1000.0);
    if (train_steps != 1000) throw ModelError("scheduler: num_train_timesteps is {}, expected 1000", train_steps);
    const auto type = field(object, "time_shift_type", std::string("exponential"));
    if (type != "exponential" && type != "linear") throw ModelError("scheduler: unknown time_shift_type {}", type);
    config.shift_type = !field(object, "use_dynamic_shifting", false) ? Shift::constant
                        : type == "linear"                            ? Shift::linear
                                                                      : Shift::exponential;
    config.shift = field(object, "shift", 1.0);
    config.base_shift = field(object, "base_shift", 0.5);
    config.max_shift = field(object, "max_shift", 1.15);
    config.base_image_tokens = field(object, "base_image_seq_len", int64_t{256});
    config.max_image_tokens = field(object, "max_image_seq_len", int64_t{4096});
    config.terminal = field(object, "shift_terminal", 0.0);
  } catch (const json::exception& error) {
    throw ModelError("scheduler: {}", error.what());
  }
  if (config.max_image_tokens == config.base_image_tokens) {
    throw ModelError("scheduler: base_image_seq_len and max_image_seq_len are both {}", config.max_image_tokens);
  }
  if (!(config.shift > 0) || !(config.terminal >= 0 && config.terminal < 1)) {
    throw ModelError("scheduler: shift {} or shift_terminal {} is out of range", config.shift, config.terminal);
  }
  return config;
}

double FlowMatchConfig::mu(int64_t image_tokens) const {
  const double slope = (max_shift - base_shift) / static_cast<double>(max_image_tokens - base_image_tokens);
  const double intercept = base_shift - slope * static_cast<double>(base_image_tokens);
  return static_cast<double>(image_tokens) * slope + intercept;
}

Schedule make_schedule(const FlowMatchConfig& config, int steps, int64_t image_tokens) {
  if (steps < 1) throw ArgumentError("steps is {}, expected at least 1", steps);
  std::vector<float> levels(static_cast<size_t>(steps), 1.f);
  const double end = 1.0 / steps, gap = steps > 1 ? (end - 1.0) / (steps - 1) : 0;
  for (int i = 0; i < steps; ++i) levels[static_cast<size_t>(i)] = static_cast<float>(i * gap + 1.0);
  levels.back() = static_cast<float>(end);
  return shift_schedule(config, levels, config.mu(image_tokens));
}

Schedule shift_schedule(const FlowMatchConfig& config, std::span<const float> levels, double mu) {
  if (levels.empty()) throw ArgumentError("a schedule needs at least 1 step");
  Schedule schedule{{levels.begin(), levels.end()}};
  for (size_t i = 0; i < levels.size(); ++i) {
    if (!(levels[i] > 0 && levels[i] <= 1) || (i > 0 && levels[i] >= levels[i - 1])) {
      throw ArgumentError("noise level {} is {}, expected values that fall from at most 1 to above 0", i, levels[i]);
    }
    schedule.sigmas[i] = shifted(config, levels[i], mu);
  }
  if (config.terminal > 0) stretch(schedule.sigmas, config.terminal);
  schedule.sigmas.push_back(0.f);
  return schedule;
}

}  // namespace inkling
