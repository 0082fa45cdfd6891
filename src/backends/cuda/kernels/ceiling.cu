#include "backends/cuda/kernels/ceiling.h"

#include <algorithm>
#include <vector>

#include "backends/cuda/kernels/gemm_mma.cuh"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

__device__ uint32_t random_word(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdull;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ull;
  return static_cast<uint32_t>(x ^ (x >> 33));
}

// Operands are random, since zeros would let the clock rise; those of bf16 lie between 2^-7 and 2, of both signs.
template <gemm::Kind kKind>
__global__ void __launch_bounds__(kThreads) products_alone(int rounds, uint32_t* out) {
  typename gemm::Product<kKind>::Acc sum[16][4] = {};
  uint32_t a[4][4], b[4][2];
  const auto value = [](uint32_t i) {
    const uint32_t h = random_word(i * 65536ull + blockIdx.x * kThreads + threadIdx.x);
    return kKind == gemm::Kind::bf16 ? (h & 0x83ff83ffu) | 0x3c003c00u : h;
  };
  for (int i = 0; i < 16; ++i) a[i / 4][i % 4] = value(i);
  for (int i = 0; i < 8; ++i) b[i / 2][i % 2] = value(i + 16);
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int i = 0; i < 16; ++i) gemm::multiply_add<kKind>(sum[i], a[i % 4], b[i / 4][0], b[i / 4][1]);
  }
  uint32_t all = 0;
  for (int i = 0; i < 64; ++i) all += static_cast<uint32_t>(sum[i / 4][i % 4]);
  out[blockIdx.x * kThreads + threadIdx.x] = all;
}

// Median of 20, after two that warm the device up.
template <typename Call>
double seconds(cudaStream_t stream, Call call) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "ceiling");
  check(cudaEventCreate(&end), "ceiling");
  std::vector<float> times;
  for (int i = -2; i < 20; ++i) {
    check(cudaEventRecord(begin, stream), "ceiling");
    call();
    check(cudaEventRecord(end, stream), "ceiling");
    check(cudaEventSynchronize(end), "ceiling");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "ceiling");
    if (i >= 0) times.push_back(milliseconds);
  }
  check(cudaEventDestroy(begin), "ceiling");
  check(cudaEventDestroy(end), "ceiling");
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return times[10] * 1e-3;
}

template <gemm::Kind kKind>
double ceiling_of(uint32_t* out, cudaStream_t stream) {
  constexpr int kRounds = 20000;
  const int blocks = device().multiprocessors;
  const double time = seconds(stream, [&] { products_alone<kKind><<<blocks, kThreads, 0, stream>>>(kRounds, out); });
  check_launch("products_alone");
  constexpr double kOperations = 2. * 16 * 8 * (kKind == gemm::Kind::bf16 ? 16 : 32) * 16;
  return kOperations * kRounds * kWarps * blocks / time;
}

}  // namespace

int64_t mma_scratch_bytes() { return int64_t{device().multiprocessors} * kThreads * 4; }

double mma_ceiling(gemm::Kind kind, void* scratch, cudaStream_t stream) {
  auto* out = static_cast<uint32_t*>(scratch);
  switch (kind) {
    case gemm::Kind::w8a8: return ceiling_of<gemm::Kind::w8a8>(out, stream);
    case gemm::Kind::w4a8: return ceiling_of<gemm::Kind::w4a8>(out, stream);
    case gemm::Kind::bf16: break;
  }
  return ceiling_of<gemm::Kind::bf16>(out, stream);
}

double copy_ceiling(void* to, const void* from, int64_t bytes, cudaStream_t stream) {
  const double time = seconds(
      stream, [&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "ceiling"); });
  return 2. * static_cast<double>(bytes) / time;
}

}  // namespace inkling::cuda
