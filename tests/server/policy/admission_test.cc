// Admission, and what it is worth: a simulation of one device with Poisson arrivals.
#include "server/policy/admission.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <iostream>
#include <random>
#include <vector>

namespace inkling::server {
namespace {

TEST(Admission, TakesWhatWillBeInTime) {
  const auto d = Admission().decide(10.4, 2, 5.2, 30, 1);
  EXPECT_TRUE(d.accepted);
  EXPECT_DOUBLE_EQ(d.predicted_wait_s, 10.4);
}

TEST(Admission, RefusesBeyondDeadlineOverService) {
  const Admission admission({.predicted_wait = false});
  EXPECT_TRUE(admission.decide(20, 4, 5.2, 30, 1).accepted);
  const auto d = admission.decide(26, 5, 5.2, 30, 1);
  EXPECT_FALSE(d.accepted);
  EXPECT_EQ(d.status, 429);
  EXPECT_GE(d.retry_after_s, 1);
  EXPECT_LE(d.retry_after_s, 6);  // one of the five is over by then
  EXPECT_NE(d.reason.find("5 of 5"), std::string::npos);
  EXPECT_TRUE(admission.decide(26, 5, 5.2, 30, 2).accepted);  // twice the places with two devices
}

TEST(Admission, RefusesPredictedLateness) {
  const auto d = Admission().decide(25, 4, 5.2, 30, 1);
  EXPECT_FALSE(d.accepted);
  EXPECT_EQ(d.status, 429);
  EXPECT_TRUE(Admission().decide(25, 4, 5.2, 30, 2).accepted);
}

TEST(Admission, HardCapHoldsForAnyDeadline) {
  EXPECT_TRUE(Admission().decide(63, 63, 1, 3600, 1).accepted);
  EXPECT_EQ(Admission().decide(64, 64, 1, 3600, 1).status, 429);
  EXPECT_EQ(Admission().decide(64, 64, 1, 3600, 8).status, 429);
}

TEST(Admission, NobodyWorks) {
  const auto d = Admission().decide(0, 0, 5, 30, 0);
  EXPECT_FALSE(d.accepted);
  EXPECT_EQ(d.status, 503);
  EXPECT_GE(d.retry_after_s, 1);
}

TEST(Admission, AnIdleServerTriesEvenWhatItThinksTooSlow) {
  EXPECT_TRUE(Admission().decide(0, 0, 500, 30, 1).accepted);
  EXPECT_FALSE(Admission().decide(1, 1, 500, 30, 1).accepted);
}

struct Outcome {
  double p50, p99, goodput, rejected;  // s, s, % of capacity, %
};

constexpr double kService = 5.2, kVariation = 0.15, kDeadline = 30;

// What the server knows of the work ahead: all of it to the second, or the end of the running job (it tells its steps)
// and of the waiting ones only what such jobs usually take.
enum class Knowledge { exact, usual };

Outcome simulate(double load, const Admission& admission, Knowledge knowledge) {
  constexpr int kArrivals = 60'000;
  std::mt19937_64 random(20251125);
  const auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };
  double now = 0, free_at = 0;
  std::deque<double> ends;  // of accepted jobs that are not over
  std::vector<double> latencies;
  int rejected = 0, in_time = 0;
  for (int i = 0; i < kArrivals; ++i) {
    now += -std::log(uniform()) * kService / load;
    while (!ends.empty() && ends.front() <= now) ends.pop_front();
    const double normal = std::sqrt(-2 * std::log(uniform())) * std::cos(2 * M_PI * uniform());
    const double service = std::max(0.1, kService * (1 + kVariation * normal));
    double ahead = 0;
    if (!ends.empty())
      ahead = knowledge == Knowledge::exact ? free_at - now
                                            : ends.front() - now + static_cast<double>(ends.size() - 1) * kService;
    if (!admission.decide(ahead, static_cast<int>(ends.size()), kService, kDeadline, 1).accepted) {
      ++rejected;
      continue;
    }
    free_at = std::max(free_at, now) + service;
    ends.push_back(free_at);
    latencies.push_back(free_at - now);
    in_time += latencies.back() <= kDeadline;
  }
  std::ranges::sort(latencies);
  const auto rank = [&](double q) {
    return latencies[static_cast<size_t>(q * static_cast<double>(latencies.size() - 1))];
  };
  return {rank(0.5), rank(0.99), 100 * in_time * kService / std::max(now, free_at), 100.0 * rejected / kArrivals};
}

// Prints the table of docs/serving-policy.md. Expected: an independent simulation of the same queue, 5 points apart at
// most.
TEST(Admission, GoodputUnderLoad) {
  struct Row {
    double load, fifo, cap5, predicted;  // goodput, % of capacity
  };
  const Row rows[] = {{0.5, 50, 50, 50}, {0.85, 67, 81, 81}, {1.0, 9, 89, 90}, {1.2, 0, 96, 95}, {2.0, 0, 100, 92}};
  const Admission fifo({.hard_cap = 64, .deadline_cap = false, .predicted_wait = false});
  const Admission cap({.hard_cap = 64, .deadline_cap = true, .predicted_wait = false});
  const Admission predicted({.hard_cap = 64, .deadline_cap = false, .predicted_wait = true});
  const auto cell = [](const Outcome& o) {
    return fmt::format("{:.1f} / {:.1f} / {:.0f} / {:.1f} %", o.p50, o.p99, o.goodput, o.rejected);
  };
  std::cout << "| load | 64 places, FIFO | 5 places | predicted wait, exact | predicted wait, usual | both, usual |\n"
               "|---|---|---|---|---|---|\n";
  for (const Row& row : rows) {
    const Outcome a = simulate(row.load, fifo, Knowledge::usual), b = simulate(row.load, cap, Knowledge::usual),
                  c = simulate(row.load, predicted, Knowledge::exact),
                  d = simulate(row.load, predicted, Knowledge::usual),
                  both = simulate(row.load, Admission(), Knowledge::usual);
    std::cout << fmt::format("| {} | {} | {} | {} | {} | {} |\n", row.load, cell(a), cell(b), cell(c), cell(d),
                             cell(both));
    EXPECT_NEAR(a.goodput, row.fifo, 5) << "FIFO at " << row.load;
    EXPECT_NEAR(b.goodput, row.cap5, 5) << "cap 5 at " << row.load;
    EXPECT_NEAR(c.goodput, row.predicted, 5) << "predicted wait at " << row.load;
    EXPECT_NEAR(both.goodput, row.cap5, 5) << "both at " << row.load;
  }
}

}  // namespace
}  // namespace inkling::server
