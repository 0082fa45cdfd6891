// Speed of the CPU operations at the shapes of the 20 B model (D = 3072) and of the small one (D = 256).
// `peak` is the fraction of oneDNN's own sgemm on a 2048^3 product, measured first on the same threads.
//   bench_ops --benchmark_filter=attention
#include <benchmark/benchmark.h>
#include <oneapi/dnnl/dnnl.h>

#include <chrono>
#include <random>

#include "backends/cpu/cpu_ops.h"
#include "formats/block_quant.h"

namespace inkling {
namespace {

double sgemm_peak() {
  static const double peak = [] {
    constexpr int64_t n = 2048;
    std::vector<float> a(n * n, 0.5f), b(n * n, 0.25f), c(n * n);
    double best = 0;
    for (int i = 0; i < 7; ++i) {
      const auto start = std::chrono::steady_clock::now();
      dnnl_sgemm('N', 'N', n, n, n, 1.f, a.data(), n, b.data(), n, 0.f, c.data(), n);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::max(best, 2.0 * n * n * n / seconds.count());
    }
    return best;
  }();
  return peak;
}

Tensor random_tensor(const Shape& shape, float scale = 1.f) {
  static std::mt19937 engine(1);
  std::normal_distribution<float> normal(0.f, scale);
  Tensor t = host_tensor(shape);
  for (float& v : t.span<float>()) v = normal(engine);
  return t;
}

Weight weight(CpuOps& ops, const Shape& shape, DType stored) {
  Weight w;
  w.name = "weight";
  w.shape = shape;
  const Tensor plain = random_tensor(shape, 0.02f);
  w.value = stored == DType::f32 ? plain : host_tensor(shape, stored);
  if (stored != DType::f32) quantize_row(stored, plain.data<float>(), w.value.raw(), plain.elements());
  ops.prepare(w);
  return w;
}

void report_flops(benchmark::State& state, double flops) {
  const double peak = sgemm_peak();
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["peak"] = Counter(flops / peak, Counter::kIsIterationInvariantRate);
}

void report_bytes(benchmark::State& state, int64_t bytes) { state.SetBytesProcessed(state.iterations() * bytes); }

void linear(benchmark::State& state, Precision precision, DType stored) {
  CpuOps ops(CpuOptions{precision});
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const Weight w = weight(ops, Shape{n, k}, stored);
  const Tensor x = random_tensor(Shape{m, k});
  ops.linear(x, w);
  for (auto _ : state) benchmark::DoNotOptimize(ops.linear(x, w));
  report_flops(state, 2.0 * m * k * n);
}

void linear_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"m", "k", "n"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (int64_t m : {1, 64, 1024}) b->Args({m, 3072, 3072});
  b->Args({256, 3072, 12288})
      ->Args({1024, 3072, 12288})
      ->Args({1, 256, 1536})
      ->Args({512, 256, 256})
      ->Args({512, 256, 1024})
      ->Args({512, 1024, 256});
}

// Integer products; `peak` is still that of sgemm. Names of instruction sets: the best that may be used.
void integer_linear(benchmark::State& state, Precision precision, kernels::Int8Isa isa) {
  if (kernels::best_int8_isa(isa) != isa) return state.SkipWithError("not on this machine");
  CpuOps ops(CpuOptions{precision, isa});
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const Weight w = weight(ops, Shape{n, k}, DType::f32);
  const Tensor x = random_tensor(Shape{m, k});
  ops.linear(x, w);
  for (auto _ : state) benchmark::DoNotOptimize(ops.linear(x, w));
  report_flops(state, 2.0 * m * k * n);
}

// One row times a sensitive matrix in blocks, as modulation does.
void sensitive_linear(benchmark::State& state) {
  CpuOps ops(CpuOptions{Precision::bf16});
  const Shape shape{18432, 3072};
  Weight w;
  w.name = "weight";
  w.shape = shape;
  w.sensitive = true;
  const Tensor plain = random_tensor(shape, 0.02f);
  w.value = host_tensor(shape, DType::q4_0);
  quantize_row(DType::q4_0, plain.data<float>(), w.value.raw(), plain.elements());
  ops.prepare(w);
  const Tensor x = random_tensor(Shape{state.range(0), 3072});
  for (auto _ : state) benchmark::DoNotOptimize(ops.linear(x, w));
  report_bytes(state, shape.elements() / 32 * 18);
}
BENCHMARK(sensitive_linear)->ArgName("m")->UseRealTime()->Unit(benchmark::kMicrosecond)->Arg(1)->Arg(8);

// What prepare() costs a weight that is rounded.
void rounding(benchmark::State& state, Precision precision) {
  const Shape shape{3072, 3072};
  const Tensor plain = random_tensor(shape, 0.02f);
  for (auto _ : state) {
    CpuOps ops(CpuOptions{precision});
    Weight w;
    w.name = "weight";
    w.shape = shape;
    w.value = plain;
    ops.prepare(w);
    benchmark::DoNotOptimize(w.prepared);
  }
  state.SetItemsProcessed(state.iterations() * shape.elements());
}
BENCHMARK_CAPTURE(rounding, w8, Precision::w8a8)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(rounding, w4, Precision::w4a8)->UseRealTime()->Unit(benchmark::kMillisecond);

BENCHMARK_CAPTURE(linear, f32, Precision::f32, DType::f32)->Apply(linear_shapes);
BENCHMARK_CAPTURE(linear, f32_q4_0, Precision::f32, DType::q4_0)->Apply(linear_shapes);
BENCHMARK_CAPTURE(linear, bf16, Precision::bf16, DType::bf16)->Apply(linear_shapes);
BENCHMARK_CAPTURE(linear, bf16_q4_0, Precision::bf16, DType::q4_0)->Apply(linear_shapes);
BENCHMARK_CAPTURE(integer_linear, w8a8_avx2, Precision::w8a8, kernels::Int8Isa::avx2)->Apply(linear_shapes);
BENCHMARK_CAPTURE(integer_linear, w8a8_avx512, Precision::w8a8, kernels::Int8Isa::avx512)->Apply(linear_shapes);
BENCHMARK_CAPTURE(integer_linear, w8a8_amx, Precision::w8a8, kernels::Int8Isa::amx)->Apply(linear_shapes);
BENCHMARK_CAPTURE(integer_linear, w4a8_avx512, Precision::w4a8, kernels::Int8Isa::avx512)->Apply(linear_shapes);
BENCHMARK_CAPTURE(integer_linear, w4a8_amx, Precision::w4a8, kernels::Int8Isa::amx)->Apply(linear_shapes);

void attention(benchmark::State& state) {
  CpuOps ops;
  const int64_t rows = state.range(0), heads = state.range(1), dim = state.range(2);
  const Shape shape{rows, heads * dim};
  const Tensor q = random_tensor(shape), k = random_tensor(shape), v = random_tensor(shape);
  const AttentionSpec spec{heads, heads, 0.1f, false, Segments::single(rows)};
  for (auto _ : state) benchmark::DoNotOptimize(ops.attention(q, k, v, spec));
  report_flops(state, 4.0 * rows * rows * heads * dim);
}
BENCHMARK(attention)
    ->ArgNames({"rows", "heads", "dim"})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->Args({4096, 4, 128})
    ->Args({550, 4, 64})
    ->Args({256, 4, 64})
    ->Args({1024, 16, 80})
    ->Args({64, 16, 80})
    ->Args({1024, 1, 96})
    ->Args({4096, 1, 384});

void conv2d(benchmark::State& state) {
  CpuOps ops;
  const int64_t size = state.range(0), in = state.range(1), out = state.range(2);
  const Weight w = weight(ops, Shape{out, in, 3, 3}, DType::f32);
  const Tensor x = random_tensor(Shape{size, size, in});
  ops.conv2d(x, w, ConvSpec::same3x3());
  for (auto _ : state) benchmark::DoNotOptimize(ops.conv2d(x, w, ConvSpec::same3x3()));
  report_flops(state, 18.0 * size * size * in * out);
}
BENCHMARK(conv2d)
    ->ArgNames({"size", "in", "out"})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->Args({64, 384, 384})
    ->Args({256, 96, 96})
    ->Args({256, 24, 24})
    ->Args({128, 48, 48})
    ->Args({256, 24, 3});

template <typename Call>
void rowwise(benchmark::State& state, int tensors, Call call) {
  CpuOps ops;
  const int64_t rows = state.range(0), channels = state.range(1);
  const Tensor x = random_tensor(Shape{rows, channels}), vector = random_tensor(Shape{channels}),
               table = random_tensor(Shape{1, channels});
  call(ops, x, vector, table);
  for (auto _ : state) benchmark::DoNotOptimize(call(ops, x, vector, table));
  report_bytes(state, tensors * x.bytes());
}

void row_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "channels"})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond)
      ->Args({4096, 3072})
      ->Args({512, 256})
      ->Args({65536, 24});
}

using T = const Tensor&;
BENCHMARK_CAPTURE(rowwise, add, 3, [](CpuOps& ops, T x, T, T) { return ops.add(x, x); })->Apply(row_shapes);
BENCHMARK_CAPTURE(rowwise, rms_norm, 2, [](CpuOps& ops, T x, T g, T) {
  return ops.rms_norm(x, g, 1e-6f);
})->Apply(row_shapes);
BENCHMARK_CAPTURE(rowwise, modulated_norm, 2, [](CpuOps& ops, T x, T, T t) {
  return ops.modulated_norm(x, t, t, RowGroups::single(x.rows()), 1e-6f);
})->Apply(row_shapes);
BENCHMARK_CAPTURE(rowwise, gated_add, 3, [](CpuOps& ops, T x, T, T t) {
  return ops.gated_add(x, x, t, RowGroups::single(x.rows()));
})->Apply(row_shapes);
BENCHMARK_CAPTURE(rowwise, channel_norm_silu, 2, [](CpuOps& ops, T x, T g, T) {
  return ops.channel_norm_silu(x, g);
})->Apply(row_shapes);
BENCHMARK_CAPTURE(rowwise, gelu_tanh, 2, [](CpuOps& ops, T x, T, T) {
  return ops.activate(x, Activation::gelu_tanh);
})->Apply(row_shapes);

// What a call costs beside its work: one row, one channel.
void call_overhead(benchmark::State& state) {
  CpuOps ops;
  const Weight w = weight(ops, Shape{16, 16}, DType::f32);
  const Tensor x = random_tensor(Shape{1, 16});
  ops.linear(x, w);
  for (auto _ : state) benchmark::DoNotOptimize(ops.linear(x, w));
}
BENCHMARK(call_overhead)->UseRealTime();

}  // namespace
}  // namespace inkling

BENCHMARK_MAIN();
