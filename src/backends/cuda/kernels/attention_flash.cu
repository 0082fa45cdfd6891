#include <algorithm>

#include "backends/cuda/kernels/attention_core.cuh"
#include "backends/cuda/kernels/attention_kernels.h"

namespace inkling::cuda::attn {

namespace {

struct Flash32 {
  static constexpr Tile kTile{.head_dim = 32, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 3};
};
struct Flash64 {
  static constexpr Tile kTile{.head_dim = 64, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 3};
};
struct Flash80 {
  static constexpr Tile kTile{.head_dim = 80, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 2};
};
struct Flash96 {
  static constexpr Tile kTile{.head_dim = 96, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 2};
};
struct Flash128 {
  static constexpr Tile kTile{.head_dim = 128, .strips = 2, .warps = 4, .keys = 32, .step = 32, .blocks = 2,
                              .query_in_registers = false};
};
struct Flash128Short {
  static constexpr Tile kTile{.head_dim = 128, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 2};
};
struct Flash384 {
  static constexpr Tile kTile{.head_dim = 384, .strips = 1, .warps = 4, .keys = 32, .step = 32, .blocks = 1,
                              .query_in_registers = false, .stages = 1};
};

template <class C>
void launch(const AttentionShape& shape, const Problem& problem, cudaStream_t stream) {
  launch_attend<C>(problem, most_tiles(shape, C::kTile.rows()), stream);
}

}  // namespace

void flash(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, cudaStream_t stream) {
  const Problem p = problem_of(shape, first, second);
  switch (shape.head_dim) {
    case 32: return launch<Flash32>(shape, p, stream);
    case 64: return launch<Flash64>(shape, p, stream);
    case 80: return launch<Flash80>(shape, p, stream);
    case 96: return launch<Flash96>(shape, p, stream);
    case 128:
      if (std::max(longest(shape, 0), longest(shape, 1)) <= 64) return launch<Flash128Short>(shape, p, stream);
      return launch<Flash128>(shape, p, stream);
    case 384: return launch<Flash384>(shape, p, stream);
    default: check(cudaErrorInvalidValue, "flash attention: head_dim");
  }
}

}  // namespace inkling::cuda::attn
