#include "server/monitor/percentiles.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace inkling::server {

void Percentiles::add(double value, double now) {
  if (!std::isfinite(value)) return;
  samples_.emplace_back(now, value);
  while (samples_.size() > max_count_ || now - samples_.front().first > window_s_) samples_.pop_front();
}

Percentiles::Values Percentiles::values(double now) const {
  std::vector<double> sorted;
  for (const auto& [at, value] : samples_)
    if (now - at <= window_s_) sorted.push_back(value);
  if (sorted.empty()) return {};
  std::ranges::sort(sorted);
  const auto rank = [&](double q) {
    return sorted[static_cast<size_t>(std::max(1.0, std::ceil(q * static_cast<double>(sorted.size())))) - 1];
  };
  return {rank(0.50), rank(0.95), rank(0.99), sorted.size()};
}

}  // namespace inkling::server
