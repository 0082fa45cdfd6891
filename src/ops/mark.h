// Points in the work that a backend was given, to measure between them. On a CPU, whose operations are done when they
// return, a mark is the clock's time; on a GPU it is an event in the stream, so that the host may run ahead.
#pragma once

#include <memory>

namespace inkling {

class Mark {
 public:
  virtual ~Mark() = default;
  // From an earlier mark of the same backend to this one; waits until both are reached.
  virtual double seconds_since(const Mark& earlier) const = 0;
};

// Of a backend whose operations are done when they return.
std::unique_ptr<Mark> clock_mark();

}  // namespace inkling
