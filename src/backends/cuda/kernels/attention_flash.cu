#include <algorithm>

#include "backends/cuda/kernels/attention_core.cuh"
#include "backends/cuda/kernels/attention_kernels.h"

namespace inkling::cuda::attn {

namespace {

// Measured on an H100, TFLOP/s; bench/cuda/attention.cu --tiles times the alternatives.
struct Flash32 {
  static constexpr Tile kTile{.head_dim = 32, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 3};
};
struct Flash64 {  // 338 at 4096 rows; one strip: 279
  static constexpr Tile kTile{.head_dim = 64, .strips = 2, .warps = 4, .keys = 64, .step = 32, .blocks = 3};
};
struct Flash80 {  // 276 at 4096 rows; one strip: 173
  static constexpr Tile kTile{.head_dim = 80, .strips = 2, .warps = 4, .keys = 64, .step = 32, .blocks = 2};
};
struct Flash80Short {  // windows of 64 rows: 74; two strips: 54
  static constexpr Tile kTile{.head_dim = 80, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 4};
};
struct Flash96 {
  static constexpr Tile kTile{.head_dim = 96, .strips = 2, .warps = 4, .keys = 64, .step = 32, .blocks = 2};
};
// Two strips halve what a product reads of shared memory; the query then does not fit into the registers.
struct Flash128 {  // 380 at 4160 rows, 393 at 8448
  static constexpr Tile kTile{.head_dim = 128, .strips = 2, .warps = 4, .keys = 32, .step = 32, .blocks = 2,
                              .query_in_registers = false};
};
// Where two blocks of Flash128 do not fit on a multiprocessor (100 KB: sm_86, 89, 120), eight warps of one strip. On an
// H100 297 and 311.
struct Flash128Single {
  static constexpr Tile kTile{.head_dim = 128, .strips = 1, .warps = 8, .keys = 64, .step = 64, .blocks = 1};
};
struct Flash128Short {
  static constexpr Tile kTile{.head_dim = 128, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 2};
};
struct Flash384 {  // 253 at 16384 rows
  static constexpr Tile kTile{.head_dim = 384, .strips = 1, .warps = 4, .keys = 32, .step = 32, .blocks = 1,
                              .query_in_registers = false, .stages = 1};
};

template <class C>
void launch(const AttentionShape& shape, const Problem& problem, cudaStream_t stream) {
  static_assert(C::kTile.shared_bytes() <= 99 * 1024, "must fit every device");
  launch_attend<C>(problem, most_tiles(shape, C::kTile.rows()), stream);
}

}  // namespace

bool small_shared() { return device().shared_per_block < 2 * Flash128::kTile.shared_bytes(); }

void flash(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, bool small_shared,
           cudaStream_t stream) {
  const Problem p = problem_of(shape, first, second);
  const bool windows = std::max(longest(shape, 0), longest(shape, 1)) <= 64;
  switch (shape.head_dim) {
    case 32: return launch<Flash32>(shape, p, stream);
    case 64: return launch<Flash64>(shape, p, stream);
    case 80: return windows ? launch<Flash80Short>(shape, p, stream) : launch<Flash80>(shape, p, stream);
    case 96: return launch<Flash96>(shape, p, stream);
    case 128:
      if (windows) return launch<Flash128Short>(shape, p, stream);
      if (small_shared) return launch<Flash128Single>(shape, p, stream);
      return launch<Flash128>(shape, p, stream);
    case 384: return launch<Flash384>(shape, p, stream);
    default: check(cudaErrorInvalidValue, "flash attention: head_dim");
  }
}

}  // namespace inkling::cuda::attn
