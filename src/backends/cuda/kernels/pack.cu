#include "backends/cuda/kernels/pack.h"

#include <string>

namespace inkling::cuda {
namespace {

// What a lane holds of 16 rows and 32 columns: fragments j = 0, 1 of 8 rows each, both halves h of 16 columns; four
// neighbouring columns from 4 (lane % 4) on. The row is chosen as gemm_kernel.cuh says.
__device__ __forceinline__ int fragment_row(int lane, int j) {
  const int g = lane / 4;
  return 4 * (g / 2) + 2 * j + g % 2;
}

// One thread, one lane's 16 bytes. q [n, k], packed [n / 16][k / 32][32 lanes][4 words].
__global__ void pack_w8_kernel(const uint32_t* q, int steps, int64_t total, uint4* packed) {
  const int64_t at = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (at >= total) return;
  const int lane = at % 32, step = at / 32 % steps, group = at / 32 / steps;
  uint32_t word[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = group * 16 + fragment_row(lane, i / 2);
    word[i] = q[static_cast<int64_t>(row) * steps * 8 + step * 8 + i % 2 * 4 + lane % 4];
  }
  packed[at] = make_uint4(word[0], word[1], word[2], word[3]);
}

// One thread, one lane's 8 bytes: word j has the codes of the first half in the low nibbles of its bytes, those of the
// second half in the high nibbles. codes [n, k / 2], packed [n / 16][k / 32][32 lanes][2 words].
__global__ void pack_w4_kernel(const uint16_t* codes, int steps, int64_t total, uint2* packed) {
  const int64_t at = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (at >= total) return;
  const int lane = at % 32, step = at / 32 % steps, group = at / 32 / steps;
  uint32_t word[2] = {0, 0};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int row = group * 16 + fragment_row(lane, j);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      // Four codes, the first in the lowest nibble.
      const uint32_t four = codes[static_cast<int64_t>(row) * steps * 8 + step * 8 + h * 4 + lane % 4];
      const uint32_t spread = (four & 0xf) | (four & 0xf0) << 4 | (four & 0xf00) << 8 | (four & 0xf000) << 12;
      word[j] |= spread << (4 * h);
    }
  }
  packed[at] = make_uint2(word[0], word[1]);
}

// group_scale [n, k / 64], packed [n / 16][k / 64][8 lanes of a column][2 fragments].
__global__ void pack_scale_kernel(const uint8_t* scale, int columns, int64_t total, uint8_t* packed) {
  const int64_t at = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (at >= total) return;
  const int i = at % 16, column = at / 16 % columns, group = at / 16 / columns;
  const int row = group * 16 + fragment_row(i / 2 * 4, i % 2);
  packed[at] = scale[static_cast<int64_t>(row) * columns + column];
}

constexpr int kThreads = 256;
int blocks(int64_t threads) { return static_cast<int>((threads + kThreads - 1) / kThreads); }

void check_sizes(const char* what, int64_t n, int64_t k) {
  if (n < 16 || n % 16 != 0 || k < 64 || k % 64 != 0 || n > INT32_MAX || k > INT32_MAX)
    check(cudaErrorInvalidValue, (std::string(what) + ": got " + std::to_string(n) + " rows of " + std::to_string(k) +
                                  ", expected rows in multiples of 16 and columns of 64").c_str());
}

}  // namespace

void pack_w8(const int8_t* q, int64_t n, int64_t k, int8_t* packed, cudaStream_t stream) {
  check_sizes("pack_w8", n, k);
  const int64_t total = n * k / 16;
  pack_w8_kernel<<<blocks(total), kThreads, 0, stream>>>(reinterpret_cast<const uint32_t*>(q), k / 32, total,
                                                         reinterpret_cast<uint4*>(packed));
  check_launch("pack_w8");
}

void pack_w4(const uint8_t* codes, const uint8_t* group_scale, int64_t n, int64_t k, uint8_t* packed,
             uint8_t* packed_group_scale, cudaStream_t stream) {
  check_sizes("pack_w4", n, k);
  const int64_t total = n * k / 16, scales = n * k / 64;
  pack_w4_kernel<<<blocks(total), kThreads, 0, stream>>>(reinterpret_cast<const uint16_t*>(codes), k / 32, total,
                                                         reinterpret_cast<uint2*>(packed));
  pack_scale_kernel<<<blocks(scales), kThreads, 0, stream>>>(group_scale, k / 64, scales, packed_group_scale);
  check_launch("pack_w4");
}

}  // namespace inkling::cuda
