#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace inkling::cli {

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) != 0), phase_start_(Clock::now()) {}

ProgressBar::~ProgressBar() {
  if (line_open_) std::fputc('\n', stderr);
}

void ProgressBar::report(const Progress& p) {
  if (p.phase != phase_) {
    if (line_open_) std::fputc('\n', stderr);
    line_open_ = false;
    phase_ = p.phase;
    phase_start_ = Clock::now();
  }
  const double elapsed = std::chrono::duration<double>(Clock::now() - phase_start_).count();
  const double per_step = p.step > 0 ? elapsed / p.step : 0;
  const double remaining = per_step * (p.total - p.step);
  if (terminal_) {
    draw(p, per_step, remaining);
  } else {
    fmt::print(
        stderr,
        R"({{"event":"progress","phase":"{}","step":{},"total":{},"seconds_per_step":{:.3f},"eta_seconds":{:.1f}}})"
        "\n",
        p.phase, p.step, p.total, per_step, remaining);
  }
  std::fflush(stderr);
}

void ProgressBar::draw(const Progress& p, double per_step, double remaining) {
  constexpr int kWidth = 30;
  const int filled = p.total > 0 ? kWidth * p.step / p.total : kWidth;
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  fmt::print(stderr, "\r\033[K{:<14} {} {}/{}", p.phase, bar, p.step, p.total);
  if (p.step > 0) fmt::print(stderr, "  {:.2f} s/it  ETA {:.0f} s", per_step, remaining);
  line_open_ = true;
}

}  // namespace inkling::cli
