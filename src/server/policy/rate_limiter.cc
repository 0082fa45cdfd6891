#include "server/policy/rate_limiter.h"

#include <algorithm>

namespace inkling::server {

RateLimiter::RateLimiter(int per_minute, size_t max_keys)
    : capacity_(per_minute), per_second_(per_minute / 60.0), max_keys_(std::max<size_t>(1, max_keys)) {}

std::optional<double> RateLimiter::limited(const std::string& key, double now) {
  if (capacity_ <= 0) return std::nullopt;
  const auto found = buckets_.find(key);
  if (found == buckets_.end()) {
    if (buckets_.size() >= max_keys_) {
      buckets_.erase(order_.back().key);
      order_.pop_back();
    }
    order_.push_front({key, capacity_, now});
    buckets_[key] = order_.begin();
  } else {
    order_.splice(order_.begin(), order_, found->second);
  }
  Bucket& bucket = order_.front();
  bucket.tokens = std::min(capacity_, bucket.tokens + std::max(0.0, now - bucket.at) * per_second_);
  bucket.at = std::max(bucket.at, now);
  // Rounding of the refill must not cost a client that waited exactly as long as it was told.
  if (bucket.tokens >= 1 - 1e-9) {
    bucket.tokens -= 1;
    return std::nullopt;
  }
  return (1 - bucket.tokens) / per_second_;
}

}  // namespace inkling::server
