// Every operation in its plainest form, in double precision: what the CPU backend is compared with.
#pragma once

#include <vector>

#include "ops/ops.h"

namespace inkling::reference {

using Values = std::vector<double>;

Values values(const Tensor& t);
double nmse(const Tensor& got, const Values& want);

Values linear(const Tensor& x, const Tensor& w, const Tensor& bias);
Values activate(const Values& x, Activation f);
Values rms_norm(const Values& x, const Tensor& gamma, double eps);
Values layer_norm(const Values& x, int64_t channels, double eps);
Values modulate(const Values& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups);
Values gated_add(const Values& residual, const Values& y, const Tensor& gate, const RowGroups& groups);
Values head_norm_rope(const Values& x, const Tensor& gamma, double eps, const Rope& rope, int64_t heads, int64_t rows);
Values attention(const Values& q, const Values& k, const Values& v, const AttentionSpec& spec, int64_t channels);
Values conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvSpec& spec);
Values channel_norm(const Values& x, const Tensor& gamma);
Values guide(const Values& positive, const Values& negative, double scale, int64_t channels);

}  // namespace inkling::reference
