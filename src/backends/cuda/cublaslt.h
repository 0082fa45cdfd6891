// Matrix products by NVIDIA's cublasLt, where the build found it: bf16, and e4m3 with a scale per row of either side
// (Hopper). The result is bf16 or f32, with bias and tanh-GELU in its epilogue.
#pragma once

#include <memory>

#include "backends/cuda/kernels/gemm.h"

namespace inkling {

class CublasLt {
 public:
  CublasLt();
  ~CublasLt();

  struct Call {
    int64_t m = 0, n = 0, k = 0;
    cuda::Elem type = cuda::Elem::bf16;  // of x and w: bf16 or e4m3
    const void *x = nullptr, *w = nullptr;
    const float *x_scale = nullptr, *w_scale = nullptr;  // e4m3: [m], [n]
    const float* bias = nullptr;                         // [n]: used where the result is f32 and x is bf16
    const void* bias16 = nullptr;                        // the same in bf16: used otherwise
    bool gelu = false;
    void* y = nullptr;
    cuda::Elem y_type = cuda::Elem::bf16;
    int64_t y_stride = 0;  // 0: n
  };
  // False: cublasLt has no algorithm for it, nothing was done. (Seen for e4m3 with a bias and few rows.)
  bool run(const Call& call, void* workspace, int64_t workspace_bytes, cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling
