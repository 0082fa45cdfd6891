// Checks of operands, shared by every backend and the plan. Each function throws RuntimeError
// ("op: got ..., expected ...") or returns the shape of the result.
#pragma once

#include <string_view>
#include <vector>

#include "ops/ops.h"

namespace inkling::checks {

Shape linear(std::string_view op, const Tensor& x, const Weight& w);
Shape swiglu(const Tensor& x, const Weight& gate, const Weight& up);
Shape embedding(const Tensor& ids, const Weight& w);
Shape same_shape(std::string_view op, const Tensor& a, const Tensor& b);
// An operand that must have the shape of the result.
void operand(std::string_view op, std::string_view operand_name, const Tensor& t, const Shape& expected);
// A matrix of at least one channel.
Shape rows(std::string_view op, const Tensor& x);
Shape norm(std::string_view op, const Tensor& x, const Tensor& gamma);
// A modulation table [G, D] against x [M, D].
Shape table(std::string_view op, const Tensor& x, const Tensor& table, const RowGroups& groups);
Shape head_norm_rope(const Tensor& x, const Tensor& gamma, const Rope& rope, int64_t heads);
Shape attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec);
void joint_attention(const QKV& text, const Segments& text_segments, const QKV& image, const Segments& image_segments,
                     int64_t heads);
// One stream of joint_qkv and of joint_finish (which is not absent).
void stream_projection(std::string_view op, const StreamProjection& stream, int64_t heads);
void stream_finish(std::string_view op, const StreamFinish& stream);
Shape concat_rows(const std::vector<Tensor>& parts);
Shape slice_channels(const Tensor& x, int64_t begin, int64_t end);
Shape gather_rows(const Tensor& x, const Tensor& index);
Shape conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec);
Shape upsample2x(const Tensor& x);

// Offsets start at 0, do not fall and end at `rows`.
void segments(std::string_view op, const Segments& segments, int64_t rows);
// Host i32 indices, each in [0, limit). Skipped where the indices are planned memory.
void indices(std::string_view op, const Tensor& index, int64_t limit);

}  // namespace inkling::checks
