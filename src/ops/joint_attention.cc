// One sample: concatenate, attend, and cut the result into two views. Several samples: their parts are
// interleaved, so the two results are gathered from the joint one.
#include "ops/checks.h"
#include "ops/ops.h"

namespace inkling {

namespace {

// [text_0, image_0, text_1, image_1, ...]
Tensor interleave(Ops& ops, const Tensor& text, const Segments& text_segments, const Tensor& image,
                  const Segments& image_segments) {
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < text_segments.count(); ++i) {
    parts.push_back(text.slice_rows(text_segments.offsets[i], text_segments.offsets[i + 1]));
    parts.push_back(image.slice_rows(image_segments.offsets[i], image_segments.offsets[i + 1]));
  }
  return ops.concat_rows(parts);
}

}  // namespace

std::pair<Tensor, Tensor> Ops::joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                               const Segments& image_segments, int64_t heads, float scale) {
  checks::joint_attention(text, text_segments, image, image_segments, heads);
  AttentionSpec spec{heads, heads, scale, false, {}};
  for (int64_t i = 0; i < text_segments.count(); ++i)
    spec.segments.add(text_segments.length(i) + image_segments.length(i));

  Tensor joint;
  {
    const Tensor q = interleave(*this, text.q, text_segments, image.q, image_segments);
    const Tensor k = interleave(*this, text.k, text_segments, image.k, image_segments);
    const Tensor v = interleave(*this, text.v, text_segments, image.v, image_segments);
    joint = attention(q, k, v, spec);
  }
  if (spec.segments.count() == 1) {
    const int64_t border = text_segments.rows();
    return {joint.slice_rows(0, border), joint.slice_rows(border, joint.dim(0))};
  }
  std::vector<Tensor> text_parts, image_parts;
  for (int64_t i = 0; i < spec.segments.count(); ++i) {
    const int64_t begin = spec.segments.offsets[i];
    const int64_t border = begin + text_segments.length(i);
    text_parts.push_back(joint.slice_rows(begin, border));
    image_parts.push_back(joint.slice_rows(border, spec.segments.offsets[i + 1]));
  }
  Tensor text_rows = concat_rows(text_parts);
  Tensor image_rows = concat_rows(image_parts);
  return {text_rows, image_rows};
}

}  // namespace inkling
