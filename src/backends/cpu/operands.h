// Access to operands, with the operation's name in the error.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "ops/ops.h"

namespace inkling {

inline const float* floats(std::string_view op, const Tensor& t) {
  if (t.dtype() != DType::f32) throw RuntimeError("{}: got {} {}, expected f32", op, name(t.dtype()), t.shape().str());
  if (t.raw() == nullptr) throw RuntimeError("{}: got {} without data, expected host memory", op, t.shape().str());
  return t.data<float>();
}

inline float* floats(Tensor& t) { return reinterpret_cast<float*>(t.raw()); }

// Floats per thread below which a second thread costs more than it saves.
constexpr int64_t kGrain = 16 * 1024;
inline int64_t row_grain(int64_t channels) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, channels)); }

// Calls body(row_begin, row_end, table_row) for every group of rows.
template <typename Body>
void for_each_group(const RowGroups& groups, Body body) {
  for (int64_t i = 0; i < groups.segments.count(); ++i)
    body(groups.segments.offsets[i], groups.segments.offsets[i + 1], groups.table_row[i]);
}

}  // namespace inkling
