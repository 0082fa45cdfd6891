// From a Problem to a launch of one of the kernels of conv_kernel.cuh.
#pragma once

#include "backends/cuda/kernels/conv_kernel.cuh"

namespace inkling::cuda::conv {

// Sets the tiling of `p` and returns the number of blocks.
template <class T>
int64_t blocks(Problem& p) {
  const auto over = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  p.tiles_x = static_cast<int>(over(over(p.out_w, p.phases), kTileW));
  p.blocks_n = static_cast<int>(over(p.cout, T::kOutputs));
  return over(over(p.out_h, p.phases), T::kRows) * p.tiles_x * p.phases * p.phases * p.blocks_n;
}

template <class T>
void launch(void (*kernel)(Problem), Problem p, int shared, cudaStream_t stream) {
  const int64_t count = blocks<T>(p);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "conv2d");
  kernel<<<static_cast<unsigned>(count), T::kThreads, shared, stream>>>(p);
  check_launch("conv2d");
}

}  // namespace inkling::cuda::conv
