#include "pipeline/denoiser.h"

#include <cstring>

namespace inkling {

Tensor concat_host_rows(const std::vector<Tensor>& parts) {
  if (parts.size() == 1) return parts[0];
  int64_t rows = 0;
  for (const Tensor& p : parts) rows += p.rows();
  Tensor all = host_tensor(Shape{rows, parts[0].channels()});
  std::byte* to = all.raw();
  for (const Tensor& p : parts) {
    std::memcpy(to, p.raw(), static_cast<size_t>(p.bytes()));
    to += p.bytes();
  }
  return all;
}

DitContext make_context(Ops& ops, Dit& dit, const DenoiseInputs& inputs, const std::vector<Tensor>& prompts) {
  DitInputs in;
  in.pictures = inputs.pictures;
  for (const Tensor& p : prompts) in.text_segments.add(p.rows());
  in.text = ops.upload(concat_host_rows(prompts));
  if (!inputs.references.empty()) in.references = ops.upload(concat_host_rows(inputs.references));
  return dit.prepare(ops, in);
}

void OneDeviceDenoiser::start(const DenoiseInputs& inputs) {
  stop();
  positive_ = make_context(ops_, dit_, inputs, inputs.positive);
  guided_ = !inputs.negative.empty();
  if (guided_) negative_ = make_context(ops_, dit_, inputs, inputs.negative);
  cfg_scale_ = inputs.cfg_scale;
}

Tensor OneDeviceDenoiser::velocity(const Tensor& x, int step, bool traced) {
  const StepModulation modulation = modulation_(step);
  const auto forward = [&](const DitContext& c) { return dit_.forward(ops_, c, x, modulation); };
  Tensor v = traced ? forward(positive_) : untraced(ops_, [&] { return forward(positive_); });
  if (guided_) v = ops_.guide(v, untraced(ops_, [&] { return forward(negative_); }), cfg_scale_);
  return v;
}

void OneDeviceDenoiser::stop() { positive_ = negative_ = {}; }

}  // namespace inkling
