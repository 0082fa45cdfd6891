#include <algorithm>

#include "backends/cuda/kernels/attention_kernels.h"

namespace inkling::cuda::attn {

namespace {

constexpr int kThreads = 256, kMostCopies = 4;

struct Copies {
  PartCopy copy[kMostCopies];
};

// Grid: [16-byte chunks of the largest tensor, copies].
template <bool Join>
__global__ void copy_parts(const __grid_constant__ Copies copies) {
  const PartCopy& c = copies.copy[blockIdx.y];
  const int across = c.columns / 8;
  const int64_t total = (c.rows[0] + c.rows[1]) * across;
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= total) return;
  const int64_t row = i / across, column = i % across;
  const bool second = row >= c.rows[0];
  uint4* part = reinterpret_cast<uint4*>(static_cast<char*>(second ? c.part[1] : c.part[0]) +
                                         (second ? (row - c.rows[0]) * c.stride[1] : row * c.stride[0]) * 2) + column;
  uint4* whole = static_cast<uint4*>(c.whole) + i;
  if constexpr (Join)
    *whole = *part;
  else
    *part = *whole;
}

template <bool Join>
void launch(const PartCopy* copies, int count, cudaStream_t stream) {
  if (count == 0) return;
  Copies all;
  int64_t most = 0;
  for (int i = 0; i < count; ++i) {
    all.copy[i] = copies[i];
    most = std::max(most, (copies[i].rows[0] + copies[i].rows[1]) * (copies[i].columns / 8));
  }
  const dim3 grid(static_cast<unsigned>((most + kThreads - 1) / kThreads), count);
  copy_parts<Join><<<grid, kThreads, 0, stream>>>(all);
  check_launch("attention: copy_parts");
}

}  // namespace

void join_parts(const PartCopy* copies, int count, cudaStream_t stream) { launch<true>(copies, count, stream); }
void split_parts(const PartCopy& copy, cudaStream_t stream) { launch<false>(&copy, 1, stream); }

}  // namespace inkling::cuda::attn
