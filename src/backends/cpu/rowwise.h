// Row loops shared by a primitive operation and the fused ones that end in it.
#pragma once

#include "ops/ops.h"

namespace inkling {

// out = residual + gate[group] * y; out may be y.
void gated_add_rows(const float* residual, const float* y, const float* gate, float* out, int64_t channels,
                    const RowGroups& groups);
// out may be x's memory.
void norm_rope_rows(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads, float* out);

}  // namespace inkling
