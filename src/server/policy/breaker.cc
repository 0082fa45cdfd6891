#include "server/policy/breaker.h"

#include <algorithm>

namespace inkling::server {

bool Breaker::allow(double now) {
  if (state_ == State::closed) return true;
  if (now - since_ < options_.open_s) return false;
  state_ = State::half_open;
  since_ = now;
  return true;
}

void Breaker::success(double) {
  // While closed the failures stay: a device that crashes after every other picture is not healthy.
  if (state_ != State::half_open) return;
  state_ = State::closed;
  failures_.clear();
}

void Breaker::failure(double now) {
  if (state_ == State::open) return;  // it was left alone: nothing new
  while (!failures_.empty() && now - failures_.front() > options_.window_s) failures_.pop_front();
  failures_.push_back(now);
  if (state_ == State::closed && failures_.size() < static_cast<size_t>(options_.failures)) return;
  state_ = State::open;
  since_ = now;
  failures_.clear();
}

double Breaker::retry_after(double now) const {
  return state_ == State::closed ? 0 : std::max(0.0, options_.open_s - (now - since_));
}

std::string_view name(Breaker::State state) {
  switch (state) {
    case Breaker::State::closed: return "closed";
    case Breaker::State::open: return "open";
    case Breaker::State::half_open: return "half_open";
  }
  return "";
}

}  // namespace inkling::server
