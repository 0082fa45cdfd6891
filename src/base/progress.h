// How long-running work reports and how it is stopped.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/error.h"

namespace inkling {

// One report. `step` counts finished units of the phase, 0..total.
struct Progress {
  std::string phase;  // "load", "encode prompt", "encode image", "denoise", "decode"
  int step = 0;
  int total = 0;
};

// Set from another thread or a signal handler; checked at least once per denoising step and block.
class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  void throw_if_cancelled() const {
    if (cancelled()) throw CancelledError("stopped by the user");
  }

 private:
  std::atomic<bool> cancelled_{false};
};

using ProgressFn = std::function<void(const Progress&)>;

}  // namespace inkling
