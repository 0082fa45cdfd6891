// The table of kernels: what is counted is what PlanOps counts, and what is measured can be.
#include "pipeline/kernel_benchmark.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "base/error.h"
#include "pipeline/presets.h"

namespace inkling {
namespace {

PlanRequest small(PrecisionChoice precision = PrecisionChoice::automatic) {
  PlanRequest r;
  r.model.model = "tiny";
  r.model.device = parse_device("cpu");
  r.model.precision = precision;
  r.width = r.height = 64;
  r.prompt_tokens = 8;
  return r;
}

const KernelRow& find(const KernelTable& table, const std::string& kernel, const std::string& precision,
                      const std::string& shape_begin = "") {
  const auto row = std::ranges::find_if(table.rows, [&](const KernelRow& r) {
    return r.kernel == kernel && r.precision == precision && r.shape.starts_with(shape_begin);
  });
  if (row == table.rows.end()) throw RuntimeError("no row '{}' in {}", kernel, precision);
  return *row;
}

TEST(Mark, OfTheClockMeasuresSleep) {
  const auto begin = clock_mark();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto end = clock_mark();
  EXPECT_GE(end->seconds_since(*begin), 0.02);
  EXPECT_LT(end->seconds_since(*begin), 10);
}

TEST(Ceilings, OfTheCpuAreOrdered) {
  const Ceilings c = open_backend({}, PrecisionChoice::f32)->measure_ceilings();
  EXPECT_GT(c.of(NumberFormat::f32).per_second, 1e8);
  EXPECT_GT(c.copy.per_second, 1e7);
  EXPECT_EQ(c.of(NumberFormat::fp8).per_second, 0);
  // Where there are instructions for narrower numbers, they are faster by a factor that no neighbour takes away.
  for (const NumberFormat f : {NumberFormat::bf16, NumberFormat::int8})
    if (c.of(f).how.starts_with("amx")) {
      EXPECT_GT(c.of(f).per_second, 2 * c.of(NumberFormat::f32).per_second);
    }
}

TEST(KernelBenchmark, HasEveryKernelInEveryPrecisionOfTheDevice) {
  const PlanRequest request = small();
  size_t told = 0;
  const KernelTable table = run_kernel_benchmark(request, 1, [&](const KernelTable& t) {
    EXPECT_EQ(t.rows.size(), told);  // the ceilings first
    EXPECT_GT(t.ceilings.copy.per_second, 0);
    ++told;
  });
  EXPECT_EQ(told, table.rows.size() + 1);
  std::set<std::string> precisions;
  for (const KernelRow& r : table.rows) {
    precisions.insert(r.precision);
    EXPECT_TRUE(r.note.empty()) << r.kernel << ": " << r.note;
    EXPECT_GT(r.seconds, 0) << r.kernel;
    EXPECT_LT(r.busy_seconds, 1.5 * r.seconds + 1e-4) << r.kernel;
    EXPECT_GT(r.bytes, 0) << r.kernel;
    EXPECT_GE(r.inner_bytes, 0) << r.kernel << " " << r.shape << " " << r.precision;
    EXPECT_EQ(r.operations > 0, !r.formats.empty()) << r.kernel;
  }
  EXPECT_EQ(precisions, (std::set<std::string>{"f32", "bf16", "w8a8", "w4a8", "nf4"}));
  for (const std::string& precision : precisions)
    for (const char* kernel : {"q, k, v, norm, rotation", "out, gate, residual", "fc1, gelu", "fc2, gate, residual"})
      for (const char* rows : {"8 x ", "16 x "}) EXPECT_GT(find(table, kernel, precision, rows).operations, 0);
  for (const char* kernel : {"norm, modulation", "head norm, rotation", "gate, residual", "copy",
                             "block: joint attention", "convolution 3x3, residual", "doubling, convolution 3x3",
                             "doubling", "channel norm, silu", "attention of pixels"})
    EXPECT_EQ(std::ranges::count_if(table.rows,
                                    [&](const KernelRow& r) { return r.kernel == kernel && r.precision != "f32"; }),
              0)
        << kernel << " does not depend on the precision";
}

TEST(KernelBenchmark, CountsTheWorkAndTheLeastTraffic) {
  const KernelTable table = run_kernel_benchmark(small(PrecisionChoice::w8a8), 1);
  const DitConfig c = preset("tiny").dit;
  const int64_t m = 16, d = c.dim(), f = c.mlp_dim;
  const KernelRow& fc1 = find(table, "fc1, gelu", "w8a8", "16 x ");
  EXPECT_EQ(fc1.operations, 2.0 * static_cast<double>(m * d * f));
  EXPECT_EQ(fc1.formats, "int8");
  // x and the result in f32; codes of a byte, a scale an output.
  EXPECT_EQ(fc1.bytes, m * d * 4 + m * f * 4 + f * d + f * 4);
  // x once more as codes with a scale and a sum a row, and the scratch of each thread.
  EXPECT_GE(fc1.inner_bytes, 2 * (m * d + 8 * m));
  const KernelRow& copy = find(table, "copy", "w8a8", "16 x ");
  EXPECT_EQ(copy.bytes, 2 * m * d * 4);
  EXPECT_EQ(copy.inner_bytes, 0);
  EXPECT_EQ(copy.traffic(), 1);
  const KernelRow& attention = find(table, "block: joint attention", "w8a8");
  EXPECT_EQ(attention.operations, 4.0 * static_cast<double>((m + 8) * (m + 8) * d));
  EXPECT_EQ(attention.formats, "f32");
  // The least time is the work over the ceiling of its own numbers.
  EXPECT_DOUBLE_EQ(fc1.least_seconds, fc1.operations / table.ceilings.of(NumberFormat::int8).per_second);
}

TEST(KernelBenchmark, RefusesSeveralDevicesAndWhatTheDeviceHasNot) {
  PlanRequest two = small();
  two.model.device = parse_device("cpu,cpu");
  EXPECT_THROW(run_kernel_benchmark(two, 1), ArgumentError);
  EXPECT_THROW(run_kernel_benchmark(small(PrecisionChoice::fp8), 1), ArgumentError);
  PlanRequest unknown = small();
  unknown.model.model = "no such preset";
  EXPECT_THROW(run_kernel_benchmark(unknown, 1), ArgumentError);
}

}  // namespace
}  // namespace inkling
