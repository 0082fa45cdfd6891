// Circuit breaker of one device: after several failures in a short while it is left alone, then tried with one probe.
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>

#include "server/policy/config.h"

namespace inkling::server {

class Breaker {
 public:
  enum class State : uint8_t { closed, open, half_open };

  explicit Breaker(BreakerOptions options = {}) : options_(options) {}

  // Whether to try. When the pause is over this admits one probe and is half open until its success or failure is told
  // (or as long as the pause again, should neither come).
  bool allow(double now);
  void success(double now);
  void failure(double now);
  State state() const { return state_; }
  double retry_after(double now) const;  // seconds until the next probe; 0 when not open

 private:
  const BreakerOptions options_;
  State state_ = State::closed;
  std::deque<double> failures_;  // within the window, oldest first
  double since_ = 0;             // of the open state, or of the probe
};

std::string_view name(Breaker::State state);  // "closed", "open", "half_open"

}  // namespace inkling::server
