// Running a picture network tile by tile to bound its memory, blending the overlaps exactly as diffusers does
// (reference/qwen-image.md section 6).
#pragma once

#include <functional>

#include "ops/ops.h"

namespace inkling {

// In pixels; tiles start every `stride` pixels and overlap by tile - stride.
struct Tiling {
  int64_t tile = 256;
  int64_t stride = 192;
  bool operator==(const Tiling&) const = default;
};

// Applies `run` to tiles of x [H, W, C] of `tile` x `tile` at every multiple of `stride`, and joins the
// results; `scale` output pixels stand for one input pixel (numerator / denominator).
Tensor run_tiled(Ops& ops, const Tensor& x, const Tiling& input, const Tiling& output,
                 const std::function<Tensor(const Tensor&)>& run);

}  // namespace inkling
