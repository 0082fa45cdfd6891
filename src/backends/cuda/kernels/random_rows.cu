// Normal numbers for benchmarks: every pair of elements hashes its own index.
#include "backends/cuda/kernels/rows_device.cuh"
#include "backends/cuda/kernels/rows_error.h"
#include "backends/cuda/kernels/unpack.h"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256;

// The finalizer of splitmix64.
__device__ uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// Box-Muller on two numbers of 32 bits; the angle in revolutions.
__device__ float2 normal_pair(uint64_t key, int64_t pair) {
  const uint64_t bits = mix(key + static_cast<uint64_t>(pair) * 0x9e3779b97f4a7c15u);
  const float u = (static_cast<float>(static_cast<uint32_t>(bits)) + 0.5f) * 0x1p-32f;  // in (0, 1]
  const float angle = static_cast<float>(static_cast<uint32_t>(bits >> 32)) * (6.2831853f * 0x1p-32f) - 3.1415927f;
  const float radius = sqrtf(-2.f * __logf(u));
  return make_float2(radius * __cosf(angle), radius * __sinf(angle));
}

template <typename Y>
__global__ void __launch_bounds__(kThreads) random_kernel(uint64_t key, float std, int64_t n, Y* y) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * 8;
  if (i >= n) return;
  float v[8];
#pragma unroll
  for (int k = 0; k < 8; k += 2) {
    const float2 pair = normal_pair(key, (i + k) / 2);
    v[k] = std * pair.x, v[k + 1] = std * pair.y;
  }
  if (i + 8 <= n) {
    store<8>(y + i, v);
  } else {
    for (int k = 0; k < 8 && i + k < n; ++k) y[i + k] = static_cast<Y>(v[k]);
  }
}

}  // namespace

void random_rows(uint64_t seed, float std, int64_t elements, void* y, Elem out, cudaStream_t stream) {
  if (!aligned(y, 16) || (out != Elem::f32 && out != Elem::bf16))
    reject("random_rows", "got an odd address or 8-bit results, expected aligned f32 or bf16");
  if (elements == 0) return;
  const uint64_t key = seed * 0xd1342543de82ef95u + 1;
  const auto blocks = static_cast<unsigned>((elements + kThreads * 8 - 1) / (kThreads * 8));
  if (out == Elem::f32)
    random_kernel<<<blocks, kThreads, 0, stream>>>(key, std, elements, static_cast<float*>(y));
  else
    random_kernel<<<blocks, kThreads, 0, stream>>>(key, std, elements, static_cast<bf16*>(y));
  check_launch("random_rows");
}

}  // namespace inkling::cuda
