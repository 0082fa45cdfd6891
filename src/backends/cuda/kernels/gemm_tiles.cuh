// The instances of the product kernel. One list for every kind; each is compiled in the file of its kind.
#pragma once

#include "backends/cuda/kernels/gemm_args.h"
#include "backends/cuda/kernels/gemm_launch.cuh"

namespace inkling::cuda::gemm {

using Tile128x256 = Tile<128, 256, 2, 4, 64, 4, 1, 0>;
using Tile128x192 = Tile<128, 192, 2, 4, 64, 4, 1, 0>;
using Tile64x256 = Tile<64, 256, 1, 4, 64, 4, 2, 0>;
using Tile64x128 = Tile<64, 128, 2, 4, 128, 4, 1, 0>;
using Tile32x64 = Tile<32, 64, 1, 4, 256, 4, 1, 0>;

template <Kind kKind>
void launch_kind(TileShape shape, const Args& args, cudaStream_t stream) {
  switch (shape) {
    case TileShape::t128x256: return launch<kKind, Tile128x256>(args, stream);
    case TileShape::t128x192: return launch<kKind, Tile128x192>(args, stream);
    case TileShape::t64x256: return launch<kKind, Tile64x256>(args, stream);
    case TileShape::t64x128: return launch<kKind, Tile64x128>(args, stream);
    case TileShape::t32x64: return launch<kKind, Tile32x64>(args, stream);
  }
}

}  // namespace inkling::cuda::gemm
