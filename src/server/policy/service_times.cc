#include "server/policy/service_times.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace inkling::server {

namespace {
// Encoding and decoding together cost about as much as one more forward.
constexpr double kOtherForwards = 1;
// Of a new measurement in the average; one odd picture must not close the door, ten must be believed.
constexpr double kWeight = 0.2;
// The first pictures of a process load and warm up; more than this times the expected one is counted as this.
constexpr double kMaxJump = 4;

double blend(double old, double measured) { return old + kWeight * (std::min(measured, kMaxJump * old) - old); }
}  // namespace

struct ServiceTimes::Shape {
  const ModelEntry& model;
  Class size_class;
  double pixels, forwards;  // pixels of one forward, forwards of the wish

  double units() const { return pixels * forwards; }
};

ServiceTimes::ServiceTimes(std::vector<ModelEntry> models) : models_(std::move(models)) {}

ServiceTimes::Shape ServiceTimes::complete(const JobShape& s) const {
  const auto found = std::ranges::find(models_, s.model, &ModelEntry::id);
  const ModelEntry& m = found == models_.end() ? models_.front() : *found;
  const double width = s.width > 0 ? s.width : m.side, height = s.height > 0 ? s.height : m.side;
  const double steps = s.steps > 0 ? s.steps : m.steps, passes = s.passes > 0 ? s.passes : m.passes;
  // The tokens of the reference pictures go through every forward beside those of the picture being drawn.
  const double pictures = s.edit ? 1 + std::max(1, s.references) : 1;
  const int size = static_cast<int>(std::lround(std::log2(width * height)));
  return {m, {m.id, s.edit, size}, width * height * pictures, std::max(1, s.n) * (steps * passes + kOtherForwards)};
}

// Of the measured size nearest to this one; of the config before there is any.
double ServiceTimes::rate(const Shape& s) const {
  int best = std::numeric_limits<int>::max();
  double rate = 0;
  for (const auto& [c, value] : rates_) {
    const int distance = std::abs(c.size - s.size_class.size);
    if (c.model == s.size_class.model && c.edit == s.size_class.edit && distance < best) {
      best = distance;
      rate = value;
    }
  }
  if (rate > 0) return rate;
  const double seconds = s.size_class.edit && s.model.edit_s > 0 ? s.model.edit_s : s.model.text_s;
  const JobShape seed{.edit = s.size_class.edit, .model = s.model.id};
  return std::max(seconds, 1e-3) / complete(seed).units();
}

double ServiceTimes::estimate(const JobShape& shape) const {
  const Shape s = complete(shape);
  return rate(s) * s.units();
}

void ServiceTimes::observe(const JobShape& shape, double seconds) {
  if (!std::isfinite(seconds) || seconds <= 0) return;
  const Shape s = complete(shape);
  const double measured = seconds / s.units();
  const auto found = rates_.find(s.size_class);
  if (found != rates_.end()) {
    found->second = blend(found->second, measured);
  } else {
    rates_[s.size_class] = std::min(measured, kMaxJump * rate(s));  // a first measurement outweighs any guess
  }
}

void ServiceTimes::observe_step(const std::string& model, double seconds) {
  if (!std::isfinite(seconds) || seconds <= 0) return;
  const std::string id = complete({.model = model}).model.id;
  const auto [entry, fresh] = steps_.try_emplace(id, seconds);
  if (!fresh) entry->second = blend(entry->second, seconds);
}

double ServiceTimes::step_seconds(const std::string& model) const {
  const Shape s = complete({.model = model});
  const auto found = steps_.find(s.model.id);
  if (found != steps_.end()) return found->second;
  return estimate({.model = model}) / (s.model.steps * s.model.passes + kOtherForwards) * s.model.passes;
}

}  // namespace inkling::server
