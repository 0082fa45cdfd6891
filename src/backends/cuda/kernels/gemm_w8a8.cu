#include "backends/cuda/kernels/gemm_tiles.cuh"

namespace inkling::cuda::gemm {

void launch_w8a8(TileShape shape, const Args& args, cudaStream_t stream) { launch_kind<Kind::w8a8>(shape, args, stream); }

}  // namespace inkling::cuda::gemm
