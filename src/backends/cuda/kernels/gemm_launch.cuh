// Launching one instance of the matrix-product kernel.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "backends/cuda/kernels/gemm_kernel.cuh"

namespace inkling::cuda::gemm {

// CTAs of the instance that the current device holds; 0 where one does not fit.
template <Kind kKind, class T>
int resident_blocks() {
  static std::array<std::atomic<int>, 64> known;  // + 1; 0: not asked yet
  const Device& d = device();
  std::atomic<int>& slot = known[d.index];
  if (slot == 0) {
    constexpr int kShared = Stage<kKind, T>::kShared;
    int blocks = 0;
    if (kShared <= d.shared_per_block) {
      check(cudaFuncSetAttribute(gemm_kernel<kKind, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared), "gemm");
      check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, gemm_kernel<kKind, T>, T::kThreads, kShared),
            "gemm");
    }
    slot = blocks * d.multiprocessors + 1;
  }
  return slot - 1;
}

template <Kind kKind, class T>
void launch(const Args& args, cudaStream_t stream) {
  static_assert(Stage<kKind, T>::kShared <= 99 * 1024, "consumer cards give a block 99 KB");
  const int tiles = ((args.m + T::kBM - 1) / T::kBM) * ((args.n + T::kBN - 1) / T::kBN);
  const int blocks = std::min(tiles, resident_blocks<kKind, T>());
  gemm_kernel<kKind, T><<<blocks, T::kThreads, Stage<kKind, T>::kShared, stream>>>(args);
  check_launch("gemm");
}

}  // namespace inkling::cuda::gemm
