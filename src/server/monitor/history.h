// The last minutes for the status page: one row every 5 s, 60 rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>

namespace inkling::server {

class History {
 public:
  static constexpr size_t kRows = 60;
  static constexpr double kSeconds = 5;

  // Call as often as you like: adds a row when one is due. `done`: pictures finished since the start.
  void sample(double now, double now_unix, size_t waiting, size_t running, double p95_s, uint64_t done);
  nlohmann::json json() const;  // [{"t", "waiting", "running", "p95_s", "done_per_min"}], oldest first

 private:
  struct Row {
    double t;
    size_t waiting, running;
    double p95_s, done_per_min;
  };
  std::deque<Row> rows_;
  std::optional<double> last_;
  uint64_t last_done_ = 0;
};

}  // namespace inkling::server
