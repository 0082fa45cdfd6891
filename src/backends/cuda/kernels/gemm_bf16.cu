#include "backends/cuda/kernels/gemm_tiles.cuh"

namespace inkling::cuda::gemm {

void launch_bf16(TileShape shape, const Args& args, cudaStream_t stream) { launch_kind<Kind::bf16>(shape, args, stream); }

}  // namespace inkling::cuda::gemm
