// Loops that measure what a GPU can do at most: mma.sync without loads, and a copy between two blocks of its memory.
#pragma once

#include "backends/cuda/kernels/gemm_args.h"

namespace inkling::cuda {

// Operations a second, 2 a multiply-add, on all multiprocessors. scratch: device memory of mma_scratch_bytes().
double mma_ceiling(gemm::Kind kind, void* scratch, cudaStream_t stream);
int64_t mma_scratch_bytes();
// Bytes a second, those read and those written.
double copy_ceiling(void* to, const void* from, int64_t bytes, cudaStream_t stream);

}  // namespace inkling::cuda
