#include "backends/cpu/ceiling.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <functional>
#include <vector>

#include "base/threads.h"

namespace inkling {

namespace {

constexpr int kTries = 15;
constexpr double kLeastSeconds = 0.005;  // of a try, each thread

// For which the calling thread ran. On a machine that others use too, the clock would measure them.
double own_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Work a second of all threads at once, the best of a few tries. work(thread, size) says how much it did, 0: nothing.
double best_rate(const std::function<int64_t(int64_t thread, int64_t size)>& work) {
  const int threads = thread_count();
  struct Done {
    double amount = 0, seconds = 0;
  };
  std::vector<Done> done(static_cast<size_t>(threads));
  int64_t size = 1;
  double best = 0;
  for (int tries = 0; tries < kTries;) {
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const double start = own_seconds();
        const auto amount = static_cast<double>(work(t, size));
        done[static_cast<size_t>(t)] = {amount, own_seconds() - start};
      }
    });
    if (done[0].amount == 0) return 0;
    if (std::ranges::any_of(done, [](const Done& d) { return d.seconds < kLeastSeconds; })) {
      size *= 2;
      continue;
    }
    double rate = 0;
    for (const Done& d : done) rate += d.amount / d.seconds;
    best = std::max(best, rate);
    ++tries;
  }
  return best;
}

double products(const std::function<int64_t(int64_t rounds)>& loop) {
  return best_rate([&](int64_t, int64_t size) { return loop(1000 * size); });
}

// Bytes a second, those read and those written, beyond any L2. Every thread copies a part of its own.
double copy_rate() {
  constexpr int64_t kBytes = int64_t{256} << 20;
  const int64_t part = kBytes / thread_count();
  std::vector<std::byte> from(kBytes, std::byte{1}), to(kBytes, std::byte{2});
  return best_rate([&](int64_t thread, int64_t size) {
    for (int64_t i = 0; i < size; ++i)
      std::memcpy(to.data() + thread * part, from.data() + thread * part, static_cast<size_t>(part));
    return 2 * part * size;
  });
}

}  // namespace

Ceilings measure_cpu_ceilings(kernels::Int8Isa int8) {
  Ceilings c;
  c.of(NumberFormat::f32) = {products(kernels::f32_products_alone), "multiply-adds on registers alone"};
  c.of(NumberFormat::bf16) = {products(kernels::bf16_products_alone),
                              kernels::bf16_instruction() + " products on registers alone"};
  c.of(NumberFormat::int8) = {products([&](int64_t rounds) { return kernels::int8_products_alone(int8, rounds); }),
                              std::string(kernels::name(int8)) + " products on registers alone"};
  c.copy = {copy_rate(), "memcpy of 256 MiB"};
  return c;
}

}  // namespace inkling
