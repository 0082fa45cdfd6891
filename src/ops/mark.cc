#include "ops/mark.h"

#include <chrono>

#include "base/error.h"
#include "ops/ops.h"

namespace inkling {

namespace {

class ClockMark : public Mark {
 public:
  double seconds_since(const Mark& earlier) const override {
    const auto* other = dynamic_cast<const ClockMark*>(&earlier);
    if (other == nullptr) throw RuntimeError("mark: got one of another backend, expected a time of this clock");
    return std::chrono::duration<double>(time_ - other->time_).count();
  }

 private:
  const std::chrono::steady_clock::time_point time_ = std::chrono::steady_clock::now();
};

}  // namespace

std::unique_ptr<Mark> clock_mark() { return std::make_unique<ClockMark>(); }

std::unique_ptr<Mark> Ops::mark() { return clock_mark(); }

}  // namespace inkling
