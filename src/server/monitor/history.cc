#include "server/monitor/history.h"

namespace inkling::server {

void History::sample(double now, double now_unix, size_t waiting, size_t running, double p95_s, uint64_t done) {
  if (last_ && now - *last_ < kSeconds) return;
  const double minutes = last_ ? (now - *last_) / 60 : 0;
  const double rate = minutes > 0 && done >= last_done_ ? static_cast<double>(done - last_done_) / minutes : 0;
  rows_.push_back({now_unix, waiting, running, p95_s, rate});
  if (rows_.size() > kRows) rows_.pop_front();
  last_ = now;
  last_done_ = done;
}

nlohmann::json History::json() const {
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& r : rows_)
    rows.push_back({{"t", r.t},
                    {"waiting", r.waiting},
                    {"running", r.running},
                    {"p95_s", r.p95_s},
                    {"done_per_min", r.done_per_min}});
  return rows;
}

}  // namespace inkling::server
