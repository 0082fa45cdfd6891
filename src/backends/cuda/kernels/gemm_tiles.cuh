// The instances of the product kernel. One list for every kind; each is compiled in the file of its kind.
#pragma once

#include "backends/cuda/kernels/gemm_args.h"
#include "backends/cuda/kernels/gemm_launch.cuh"

namespace inkling::cuda::gemm {

// Seen on an H100: unpacking 4-bit weights costs the tensor cores' time, so that each warp of the
// large tile has columns of its own and no weight is unpacked twice.
template <Kind kKind>
struct Tiles {
  using T128x256 = Tile<128, 256, 2, 4, 64, 4, 1>;
  using T128x192 = Tile<128, 192, 2, 4, 64, 4, 1>;
  using T64x256 = Tile<64, 256, 1, 4, 64, 4, 2>;
  using T64x128 = Tile<64, 128, 2, 4, 128, 4, 1>;
  using T32x64 = Tile<32, 64, 1, 4, 256, 4, 1>;
  using T16x32 = Tile<16, 32, 1, 2, 256, 5, 1>;
};
template <>
struct Tiles<Kind::w4a8> {
  using T128x256 = Tile<128, 256, 1, 8, 64, 4, 1>;
  using T128x192 = Tile<128, 192, 2, 4, 64, 4, 1>;
  using T64x256 = Tile<64, 256, 1, 4, 64, 4, 2>;
  using T64x128 = Tile<64, 128, 1, 8, 128, 4, 1>;
  using T32x64 = Tile<32, 64, 1, 4, 256, 5, 1>;
  using T16x32 = Tile<16, 32, 1, 2, 256, 6, 1>;
};

template <Kind kKind>
void launch_kind(TileShape shape, const Args& args, cudaStream_t stream) {
  switch (shape) {
    case TileShape::t128x256: return launch<kKind, typename Tiles<kKind>::T128x256>(args, stream);
    case TileShape::t128x192: return launch<kKind, typename Tiles<kKind>::T128x192>(args, stream);
    case TileShape::t64x256: return launch<kKind, typename Tiles<kKind>::T64x256>(args, stream);
    case TileShape::t64x128: return launch<kKind, typename Tiles<kKind>::T64x128>(args, stream);
    case TileShape::t32x64: return launch<kKind, typename Tiles<kKind>::T32x64>(args, stream);
    case TileShape::t16x32: return launch<kKind, typename Tiles<kKind>::T16x32>(args, stream);
  }
}

}  // namespace inkling::cuda::gemm
