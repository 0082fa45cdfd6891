// Times the steps that led to attention_flash.cu, head_dim 128, 24 heads, and compares their results. See README.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "step1.cuh"
#include "step3.cuh"

using namespace inkling::cuda;

namespace {

struct OneStrip {
  static constexpr step1::Tile kTile{.head_dim = 128, .strips = 1, .warps = 8, .keys = 64, .blocks = 1};
};
struct TwoStrips {
  static constexpr step1::Tile kTile{.head_dim = 128, .strips = 2, .warps = 4, .keys = 32, .blocks = 2,
                                     .query_in_registers = false, .overlap = false};
};
struct Pointers {
  static constexpr step3::Tile kTile{.head_dim = 128, .strips = 2, .warps = 4, .keys = 32, .step = 32, .blocks = 2,
                                     .query_in_registers = false};
};

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

double median_ms(const std::function<void()>& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "ladder");
  check(cudaEventCreate(&end), "ladder");
  std::vector<float> times;
  for (int i = 0; i < 23; ++i) {
    check(cudaEventRecord(begin), "ladder");
    run();
    check(cudaEventRecord(end), "ladder");
    check(cudaEventSynchronize(end), "ladder");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "ladder");
    if (i >= 3) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void climb(int rows) {
  constexpr int kHeads = 24, kDim = 128;
  const int64_t columns = kHeads * kDim, n = rows * columns;
  __nv_bfloat16* x[4];
  for (int i = 0; i < 4; ++i) {
    check(cudaMalloc(&x[i], n * 2), "ladder");
    if (i < 3) fill<<<static_cast<unsigned>((n + 255) / 256), 256>>>(x[i], n, i + 1);
  }
  const int32_t offsets[4] = {0, rows, 0, 0};
  int32_t* device_offsets;
  check(cudaMalloc(&device_offsets, sizeof offsets), "ladder");
  check(cudaMemcpy(device_offsets, offsets, sizeof offsets, cudaMemcpyHostToDevice), "ladder");
  const AttentionShape shape{kHeads, kHeads, kDim, 1.f / std::sqrt(128.f), false, 1, device_offsets, offsets};
  const AttentionPart part{x[0], x[1], x[2], x[3], columns, columns, columns};

  std::vector<float> expected;
  const auto step = [&](const char* name, const std::function<void()>& run) {
    check(cudaMemset(x[3], 0xff, n * 2), "ladder");
    const double ms = median_ms(run);
    std::vector<uint16_t> bits(256 * columns);
    check(cudaMemcpy(bits.data(), x[3], bits.size() * 2, cudaMemcpyDeviceToHost), "ladder");
    double difference = 0, size = 0;
    std::vector<float> y(bits.size());
    for (size_t i = 0; i < y.size(); ++i) {
      const uint32_t wide = uint32_t{bits[i]} << 16;
      std::memcpy(&y[i], &wide, 4);
      if (!expected.empty()) difference += std::pow(y[i] - expected[i], 2), size += std::pow(expected[i], 2);
    }
    if (expected.empty()) expected = y;
    const double relative = size > 0 ? std::sqrt(difference / size) : 0;
    std::printf("%5d rows  %-34s %7.3f ms %6.1f TFLOP/s  %s\n", rows, name, ms, 4e-9 * rows * rows * columns / ms,
                relative < 4e-3 ? "same" : "WRONG");
  };
  step("attention_flash.cu", [&] { attention(AttentionKernel::flash, shape, part, {}, nullptr, nullptr); });
  step("1 one strip a warp, overlap",
       [&] { step1::launch_attend<OneStrip>(step1::problem_of(shape, part, {}), (rows + 127) / 128, nullptr); });
  step("2 two strips, query in shared memory",
       [&] { step1::launch_attend<TwoStrips>(step1::problem_of(shape, part, {}), (rows + 127) / 128, nullptr); });
  step("3 running pointers",
       [&] { step3::launch_attend<Pointers>(step3::problem_of(shape, part, {}), (rows + 127) / 128, nullptr); });
  for (void* p : x) cudaFree(p);
  cudaFree(device_offsets);
}

}  // namespace

int main() {
  for (const int rows : {1088, 4160, 8448}) climb(rows);
}
