// Attention: the shapes of the Qwen-Image family, every kernel, and with --tiles other tilings of attend() at 24 heads.
// TFLOP/s = 4 S^2 heads head_dim / time. "of mma" is the share of what mma.sync reaches in a loop without loads, measured
// first in the same run: with bf16, and for int8 attention with int8 in half of the work.
//
// Operands are standard normal and rotate through three sets; a time is the median of 20 after warm-up.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backends/cuda/kernels/attention_core.cuh"
#include "backends/cuda/kernels/ceiling.h"

using namespace inkling::cuda;
using namespace inkling::cuda::attn;

namespace {

// TFLOP/s of mma.sync alone on this device.
double bf16_ceiling = 0, int8_ceiling = 0;

__global__ void fill(__nv_bfloat16* x, int64_t n, uint64_t seed) {
  const int64_t i = blockIdx.x * int64_t{256} + threadIdx.x;
  if (i >= n) return;
  uint64_t h = (seed << 40) + i;
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  h ^= h >> 31;
  const float u = (static_cast<float>(h >> 40) + 0.5f) * 0x1p-24f, v = static_cast<float>(h & 0xffffff) * 0x1p-24f;
  x[i] = __float2bfloat16(sqrtf(-2.f * logf(u)) * cosf(6.2831853f * v));
}

template <class T>
T* allocate(int64_t count) {
  T* p = nullptr;
  check(cudaMalloc(&p, std::max<int64_t>(count, 1) * sizeof(T)), "bench");
  return p;
}

struct Work {
  std::string name;
  int heads, kv_heads, head_dim;
  std::vector<int> first, second;
  bool causal = false;
};

constexpr int kSets = 3;

class Operands {
 public:
  explicit Operands(const Work& w) {
    const int sequences = static_cast<int>(w.first.size());
    for (const auto* lengths : {&w.first, &w.second}) {
      offsets_.push_back(0);
      for (int s = 0; s < sequences; ++s) offsets_.push_back(offsets_.back() + (lengths->empty() ? 0 : (*lengths)[s]));
    }
    int32_t* device_offsets = allocate<int32_t>(offsets_.size());
    check(cudaMemcpy(device_offsets, offsets_.data(), offsets_.size() * 4, cudaMemcpyHostToDevice), "bench");
    shape = {w.heads, w.kv_heads, w.head_dim, 1.f / sqrtf(w.head_dim), w.causal, sequences, device_offsets,
             offsets_.data()};
    const int64_t q = int64_t{w.heads} * w.head_dim, kv = int64_t{w.kv_heads} * w.head_dim;
    for (int set = 0; set < kSets; ++set) {
      const int64_t a = shape.total_rows(0), n = a + shape.total_rows(1);
      __nv_bfloat16 *mq = make(n * q, set * 3 + 1), *mk = make(n * kv, set * 3 + 2), *mv = make(n * kv, set * 3 + 3),
                    *my = make(n * q, 0);
      parts[set][0] = {mq, mk, mv, my, q, kv, q};
      parts[set][1] = {mq + a * q, mk + a * kv, mv + a * kv, my + a * q, q, kv, q};
    }
    for (int s = 0; s < sequences; ++s) {
      const double n = shape.length(s);
      flop += 4. * (w.causal ? n * (n + 1) / 2 : n * n) * q;
    }
  }
  ~Operands() {
    for (void* p : memory_) cudaFree(p);
    cudaFree(const_cast<int32_t*>(shape.offsets));
  }
  AttentionShape shape;
  AttentionPart parts[kSets][2];
  double flop = 0;

 private:
  __nv_bfloat16* make(int64_t n, uint64_t seed) {
    __nv_bfloat16* p = allocate<__nv_bfloat16>(n);
    fill<<<static_cast<unsigned>((n + 255) / 256), 256>>>(p, n, seed);
    memory_.push_back(p);
    return p;
  }
  std::vector<int32_t> offsets_;
  std::vector<void*> memory_;
};

using Launch = std::function<void(const AttentionShape&, const AttentionPart&, const AttentionPart&)>;

double milliseconds(const Operands& o, const Launch& launch) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "bench");
  check(cudaEventCreate(&end), "bench");
  int set = 0;
  const auto run = [&](int times) {
    for (int i = 0; i < times; ++i, ++set) launch(o.shape, o.parts[set % kSets][0], o.parts[set % kSets][1]);
  };
  run(3);
  check(cudaDeviceSynchronize(), "bench");
  const int times = o.flop > 1e11 ? 1 : 6;
  std::vector<double> all;
  for (int i = 0; i < 20; ++i) {
    check(cudaEventRecord(begin), "bench");
    run(times);
    check(cudaEventRecord(end), "bench");
    check(cudaEventSynchronize(end), "bench");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "bench");
    all.push_back(ms / times);
  }
  std::nth_element(all.begin(), all.begin() + 10, all.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return all[10];
}

void report(const std::string& work, const std::string& kernel, const Operands& o, const Launch& launch,
            double ceiling) {
  try {
    const double ms = milliseconds(o, launch), rate = o.flop / ms * 1e-9;
    std::printf("%-28s %-30s %8.3f ms %6.1f TFLOP/s", work.c_str(), kernel.c_str(), ms, rate);
    if (ceiling > 0) std::printf("  %4.1f %% of mma", 100 * rate / ceiling);
    std::printf("\n");
  } catch (const std::exception& e) {
    std::printf("%-28s %-30s %s\n", work.c_str(), kernel.c_str(), e.what());
  }
}

class Scratch {
 public:
  void* get(int64_t bytes) {
    if (bytes > size_) {
      cudaFree(data_);
      data_ = allocate<char>(bytes);
      size_ = bytes;
    }
    return data_;
  }

 private:
  char* data_ = nullptr;
  int64_t size_ = 0;
} scratch;

void every_kernel(const Work& w) {
  const Operands o(w);
  for (const auto& [kernel, name] : {std::pair{AttentionKernel::flash, "flash"}, {AttentionKernel::cudnn, "cudnn"}}) {
    if (!attention_available(kernel, o.shape)) continue;
    void* workspace = scratch.get(attention_workspace(kernel, o.shape));
    report(w.name, name, o, [&, k = kernel](const auto& s, const auto& a, const auto& b) {
      attention(k, s, a, b, workspace, nullptr);
    }, kernel == AttentionKernel::flash ? bf16_ceiling : 0);
  }
  if (!attention_available(AttentionKernel::int8, o.shape)) return;
  for (const auto& [values, name] : {std::pair{Values::bf16, "int8, f32 sums"}, {Values::f16, "int8, f16 sums"}}) {
    void* workspace = scratch.get(int8_workspace(o.shape, values));
    report(w.name, name, o, [&, v = values](const auto& s, const auto& a, const auto& b) {
      int8(s, a, b, v, workspace, nullptr);
    }, int8_ceiling);
    report(w.name, std::string(name) + ", prologue", o, [&, v = values](const auto& s, const auto& a, const auto& b) {
      int8_problem(s, a, b, v, workspace, nullptr);
    }, 0);
  }
}

// bf16 bits of the first set's first rows.
std::vector<uint16_t> result(const Operands& o) {
  const int64_t rows = std::min<int64_t>(o.shape.total_rows(0) + o.shape.total_rows(1), 512);
  std::vector<uint16_t> y(rows * o.shape.heads * o.shape.head_dim);
  check(cudaMemcpy(y.data(), o.parts[0][0].y, y.size() * 2, cudaMemcpyDeviceToHost), "bench");
  check(cudaMemset(o.parts[0][0].y, 0xff, y.size() * 2), "bench");
  return y;
}

double relative_difference(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const uint32_t x = uint32_t{a[i]} << 16, y = uint32_t{b[i]} << 16;
    float f, g;
    std::memcpy(&f, &x, 4);
    std::memcpy(&g, &y, 4);
    difference += (f - g) * (f - g), size += g * g;
  }
  return std::sqrt(difference / size);
}

template <class C>
void tiling(const Work& w, const Operands& o) {
  constexpr Tile T = C::kTile;
  const bool int8 = T.scores == Scores::int8;
  char name[64];
  std::snprintf(name, sizeof name, "%s%s %dx%d rows %d/%d keys x%d%s%s", int8 ? "int8" : "bf16",
                T.values == Values::f16 ? "/f16" : "", T.warps, T.strips * 16, T.keys, T.step, T.blocks,
                T.query_in_registers ? "" : " qs", T.stages == 1                     ? " 1 stage"
                : T.load == Load::late_values     ? " late values"
                : T.load == Load::late            ? " late"
                                                  : "");
  const Values values = T.values;
  Problem problem[kSets];
  for (int i = 0; i < kSets; ++i)
    problem[i] = int8 ? int8_problem(o.shape, o.parts[i][0], o.parts[i][1], values,
                                     scratch.get(int8_workspace(o.shape, values)), nullptr)
                      : problem_of(o.shape, o.parts[i][0], o.parts[i][1]);
  int i = 0;
  report(w.name, name, o, [&](const auto& s, const auto&, const auto&) {
    launch_attend<C>(problem[i++ % kSets], most_tiles(s, T.rows()), nullptr);
  }, int8 ? int8_ceiling : bf16_ceiling);
  // Against flash(): int8 differs by about 1e-2.
  attention(AttentionKernel::flash, o.shape, o.parts[0][0], o.parts[0][1], nullptr, nullptr);
  const std::vector<uint16_t> expected = result(o);
  if (int8)  // the workspace holds the last set's keys
    problem[0] = int8_problem(o.shape, o.parts[0][0], o.parts[0][1], values,
                              scratch.get(int8_workspace(o.shape, values)), nullptr);
  launch_attend<C>(problem[0], most_tiles(o.shape, T.rows()), nullptr);
  const double difference = relative_difference(result(o), expected);
  if (!(difference < (int8 ? 2e-2 : 4e-3))) std::printf("WRONG: %s differs by %.1e\n", name, difference);
}

#define TILE(name, ...) \
  struct name { static constexpr Tile kTile{__VA_ARGS__}; }
#define I8 .scores = Scores::int8
#define F16 .scores = Scores::int8, .values = Values::f16
#define SIZE(d, s, w, k, t, b) .head_dim = d, .strips = s, .warps = w, .keys = k, .step = t, .blocks = b
TILE(A1, SIZE(128, 2, 4, 32, 32, 2), .query_in_registers = false);
TILE(A2, SIZE(128, 2, 4, 64, 32, 2), .query_in_registers = false);
TILE(A3, SIZE(128, 2, 4, 64, 64, 2), .query_in_registers = false);
TILE(A4, SIZE(128, 2, 4, 64, 64, 2), .query_in_registers = false, .stages = 1);
TILE(A5, SIZE(128, 1, 8, 64, 64, 1));
TILE(A6, SIZE(128, 1, 4, 64, 64, 3));
TILE(A9, SIZE(128, 2, 4, 32, 32, 2), .query_in_registers = false, .load = Load::late_values);
TILE(A10, SIZE(128, 2, 4, 32, 32, 2), .query_in_registers = false, .load = Load::late);
TILE(B1, SIZE(128, 2, 4, 64, 32, 2), I8);
TILE(B2, SIZE(128, 2, 4, 64, 64, 2), I8);
TILE(B3, SIZE(128, 1, 8, 64, 64, 1), I8);
TILE(B4, SIZE(128, 1, 4, 64, 64, 3), I8);
TILE(B5, SIZE(128, 1, 4, 64, 32, 3), I8);
TILE(B7, SIZE(128, 2, 4, 64, 32, 2), I8, .load = Load::late_values);
TILE(B8, SIZE(128, 2, 4, 64, 32, 2), I8, .load = Load::late);
TILE(C1, SIZE(128, 1, 8, 64, 64, 1), F16);
TILE(C2, SIZE(128, 1, 4, 64, 64, 2), F16);
TILE(C3, SIZE(128, 2, 4, 64, 32, 2), F16);
TILE(D1, SIZE(64, 1, 4, 64, 64, 3));
TILE(D2, SIZE(64, 2, 4, 64, 64, 2));
TILE(D3, SIZE(64, 2, 4, 64, 32, 3));
TILE(D5, SIZE(64, 2, 4, 64, 64, 2), I8);
TILE(D6, SIZE(64, 2, 4, 64, 32, 3), I8);
TILE(D7, SIZE(64, 1, 4, 64, 64, 4), I8);
TILE(E1, SIZE(80, 1, 4, 64, 64, 2));
TILE(E2, SIZE(80, 2, 4, 64, 64, 2));
TILE(E3, SIZE(80, 2, 4, 64, 32, 2));
TILE(E4, SIZE(80, 1, 4, 64, 64, 4));

template <class... C>
void tilings(const Work& w) {
  const Operands o(w);
  (tiling<C>(w, o), ...);
}

}  // namespace

int main(int argc, char** argv) {
  void* out = scratch.get(mma_scratch_bytes());
  bf16_ceiling = mma_ceiling(gemm::Kind::bf16, out, nullptr) * 1e-12;
  const double alone = mma_ceiling(gemm::Kind::w8a8, out, nullptr) * 1e-12;
  int8_ceiling = 2 / (1 / bf16_ceiling + 1 / alone);
  std::printf("mma.sync alone: %.0f TFLOP/s with bf16, %.0f TOPS with int8\n", bf16_ceiling, alone);
  const std::vector<Work> image = {{"1088 = 64 + 1024", 24, 24, 128, {64}, {1024}},
                                   {"4160 = 64 + 4096", 24, 24, 128, {64}, {4096}},
                                   {"8448 = 256 + 8192", 24, 24, 128, {256}, {8192}}};
  for (const Work& w : image) every_kernel(w);
  every_kernel({"2 x 1088", 24, 24, 128, {64, 64}, {1024, 1024}});
  every_kernel({"2 x 4160", 24, 24, 128, {64, 64}, {4096, 4096}});
  every_kernel({"causal 1024, 28 over 4 heads", 28, 4, 128, {1024}, {}, true});
  every_kernel({"400 windows of 64", 16, 16, 80, std::vector<int>(400, 64), {}});
  every_kernel({"vision 4096", 16, 16, 80, {4096}, {}});
  every_kernel({"head_dim 64, 4096", 24, 24, 64, {4096}, {}});
  every_kernel({"vae 4096", 1, 1, 384, {4096}, {}});
  every_kernel({"vae 16384", 1, 1, 384, {16384}, {}});
  if (argc > 1 && std::strcmp(argv[1], "--tiles") == 0) {
    tilings<D1, D2, D3, D5, D6, D7>({"head_dim 64, 4096", 24, 24, 64, {4096}, {}});
    tilings<E1, E2, E3, E4>({"vision 4096", 16, 16, 80, {4096}, {}});
    tilings<E1, E2, E3, E4>({"400 windows of 64", 16, 16, 80, std::vector<int>(400, 64), {}});
    for (const Work& w : image)
      tilings<A1, A2, A3, A4, A5, A6, A9, A10, B1, B2, B3, B4, B5, B7, B8, C1, C2, C3>(w);
  }
}
