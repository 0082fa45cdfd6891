// Percentiles over what happened lately.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>

namespace inkling::server {

class Percentiles {
 public:
  explicit Percentiles(size_t max_count = 1000, double window_s = 600) : max_count_(max_count), window_s_(window_s) {}

  struct Values {
    double p50 = 0, p95 = 0, p99 = 0;  // nearest rank; 0 when there is nothing
    size_t count = 0;
  };
  void add(double value, double now);
  Values values(double now) const;

 private:
  const size_t max_count_;
  const double window_s_;
  std::deque<std::pair<double, double>> samples_;  // time, value
};

}  // namespace inkling::server
