// Token bucket per key or address, so that one client cannot take the whole queue. Bounded memory: the key that was
// silent longest is forgotten first.
#pragma once

#include <list>
#include <optional>
#include <string>
#include <unordered_map>

namespace inkling::server {

class RateLimiter {
 public:
  // `per_minute` wishes, all at once if need be, then one every 60 / per_minute seconds. 0: no limit.
  explicit RateLimiter(int per_minute = 30, size_t max_keys = 10'000);

  // Nothing: taken, and counted. Else the seconds until the next one would be taken.
  std::optional<double> limited(const std::string& key, double now);
  size_t keys() const { return buckets_.size(); }

 private:
  struct Bucket {
    std::string key;
    double tokens, at;
  };
  const double capacity_, per_second_;
  const size_t max_keys_;
  std::list<Bucket> order_;  // used last: first
  std::unordered_map<std::string, std::list<Bucket>::iterator> buckets_;
};

}  // namespace inkling::server
