#include "backends/cpu/ceiling.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "base/threads.h"
#include "ops/mark.h"

namespace inkling {

namespace {

// The best of many short tries counts: on a machine that others use too, some fall where nobody else runs.
constexpr int kTries = 60, kCopies = 8;
constexpr double kLeastSeconds = 0.005;  // of a try

double seconds_of(const std::function<void()>& f) {
  const auto begin = clock_mark();
  f();
  return clock_mark()->seconds_since(*begin);
}

// Operations a second of a loop on every thread at once.
double best_rate(const std::function<int64_t(int64_t rounds)>& loop) {
  const int threads = thread_count();
  std::vector<int64_t> done(static_cast<size_t>(threads));
  int64_t rounds = 1000;
  double best = 0;
  for (int tries = 0; tries < kTries;) {
    const double seconds = seconds_of([&] {
      parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) done[static_cast<size_t>(t)] = loop(rounds);
      });
    });
    if (done[0] == 0) return 0;
    if (seconds < kLeastSeconds) {
      rounds *= 4;
      continue;
    }
    int64_t operations = 0;
    for (const int64_t d : done) operations += d;
    best = std::max(best, static_cast<double>(operations) / seconds);
    ++tries;
  }
  return best;
}

// Bytes a second, those read and those written, beyond any L2.
double copy_rate() {
  constexpr int64_t kBytes = int64_t{256} << 20, kPiece = int64_t{1} << 20;
  std::vector<std::byte> from(kBytes, std::byte{1}), to(kBytes, std::byte{2});
  double best = 0;
  for (int tries = 0; tries < kCopies; ++tries) {
    const double seconds = seconds_of([&] {
      parallel_for(kBytes / kPiece, 1, [&](int64_t begin, int64_t end) {
        std::memcpy(to.data() + begin * kPiece, from.data() + begin * kPiece,
                    static_cast<size_t>((end - begin) * kPiece));
      });
    });
    best = std::max(best, 2.0 * static_cast<double>(kBytes) / seconds);
  }
  return best;
}

}  // namespace

Ceilings measure_cpu_ceilings(kernels::Int8Isa int8) {
  Ceilings c;
  c.of(NumberFormat::f32) = {best_rate(kernels::f32_products_alone), "multiply-adds on registers alone"};
  c.of(NumberFormat::bf16) = {best_rate(kernels::bf16_products_alone),
                              kernels::bf16_instruction() + " products on registers alone"};
  c.of(NumberFormat::int8) = {best_rate([&](int64_t rounds) { return kernels::int8_products_alone(int8, rounds); }),
                              std::string(kernels::name(int8)) + " products on registers alone"};
  c.copy = {copy_rate(), "memcpy of 256 MiB"};
  return c;
}

}  // namespace inkling
