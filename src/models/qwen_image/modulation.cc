#include "models/qwen_image/modulation.h"

#include <cmath>

#include "base/error.h"

namespace inkling {

namespace {

constexpr int64_t kFeatures = 256;

StreamModulation split(const Tensor& six) {
  const Shape chunk{six.dim(1), six.dim(2)};
  const auto row = [&](int64_t i) { return six.slice_rows(i, i + 1).reshape(chunk); };
  return {row(0), row(1), row(2), row(3), row(4), row(5)};
}

// From modulation rows [T, chunks * D], those of the timesteps `pick` as [chunks, G, D]. A view for G = 1.
Tensor gather_chunks(Ops& ops, const Tensor& rows, int64_t chunks, std::span<const int64_t> pick) {
  const int64_t dim = rows.channels() / chunks;
  const auto groups = static_cast<int64_t>(pick.size());
  std::vector<Tensor> parts;
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t t : pick) parts.push_back(rows.slice_rows(t, t + 1).reshape({chunks, dim}).slice_rows(c, c + 1));
  if (groups == 1) return rows.slice_rows(pick[0], pick[0] + 1).reshape({chunks, 1, dim});
  return ops.concat_rows(parts).reshape({chunks, groups, dim});
}

}  // namespace

StreamModulation StepModulation::image_block(int64_t block) const { return split(image[block]); }
StreamModulation StepModulation::text_block(int64_t block) const { return split(text[block]); }

StepModulation StepModulation::transferred(const TensorMove& move) const {
  return transferred(move, 0, std::ssize(image));
}

StepModulation StepModulation::transferred(const TensorMove& move, int64_t begin, int64_t end) const {
  StepModulation copy{timesteps, zero_row, {}, {}, move(norm_out)};
  copy.image.resize(image.size());
  copy.text.resize(text.size());
  for (int64_t i = begin; i < end; ++i) {
    copy.image[i] = move(image[i]);
    copy.text[i] = move(text[i]);
  }
  return copy;
}

DitModulation::Block::Block(int64_t dim) {
  add_linear("img_mod.1", image, 6 * dim, dim);
  add_linear("txt_mod.1", text, 6 * dim, dim);
}

DitModulation::DitModulation(const DitConfig& config) : config_(config) {
  const int64_t dim = config.dim();
  add_linear("time_text_embed.timestep_embedder.linear_1", linear_1_, dim, kFeatures);
  add_linear("time_text_embed.timestep_embedder.linear_2", linear_2_, dim, dim);
  if (config.additional_t_cond) add_embedding("time_text_embed.addition_t_embedding", addition_, 2, dim);
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<Block>(dim));
    add_block(fmt::format("transformer_blocks.{}", i), *blocks_.back());
  }
  add_linear("norm_out.linear", norm_out_, 2 * dim, dim);
  for_each_parameter([](const Parameter& p) { p.weight->sensitive = true; });
  finish_names();
}

Tensor timestep_features(std::span<const float> timesteps) {
  constexpr int64_t kHalf = kFeatures / 2;
  Tensor features = host_tensor(Shape{static_cast<int64_t>(timesteps.size()), kFeatures});
  float* out = features.data<float>();
  for (float t : timesteps) {
    const float sigma = t / 1000.f;
    for (int64_t i = 0; i < kHalf; ++i) {
      const float exponent = -std::log(10000.f) * static_cast<float>(i) / static_cast<float>(kHalf);
      const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
      const double angle = 1000.f * (sigma * frequency);
      out[i] = static_cast<float>(std::cos(angle));
      out[kHalf + i] = static_cast<float>(std::sin(angle));
    }
    out += kFeatures;
  }
  return features;
}

Tensor DitModulation::time_embedding(Ops& ops, std::span<const float> timesteps) {
  // features [T, 256] -> [T, D]
  Tensor x = ops.linear_act(ops.upload(timestep_features(timesteps)), linear_1_, Activation::silu);
  x = ops.linear(x, linear_2_);
  if (!config_.additional_t_cond) return x;
  Tensor first = host_tensor(Shape{static_cast<int64_t>(timesteps.size())}, DType::i32);  // row 0: not an RGB target
  for (int32_t& id : first.span<int32_t>()) id = 0;
  return ops.add(x, ops.embedding(first, addition_));
}

std::vector<StepModulation> DitModulation::forward(Ops& ops, std::span<const float> timesteps,
                                                   const TensorMove& place) {
  std::vector<std::vector<float>> steps;
  for (float t : timesteps) steps.push_back({t});
  return forward(ops, steps, place);
}

std::vector<StepModulation> DitModulation::forward(Ops& ops, std::span<const std::vector<float>> steps,
                                                   const TensorMove& place) {
  // Rows of every matrix product: the timesteps of all steps, then t = 0 if it is needed.
  std::vector<float> rows;
  std::vector<StepModulation> table(steps.size());
  std::vector<std::vector<int64_t>> pick(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].empty()) throw RuntimeError("modulation: step {} has no timestep", s);
    table[s].timesteps = static_cast<int64_t>(steps[s].size());
    table[s].zero_row = config_.zero_cond_t;
    for (float t : steps[s]) {
      pick[s].push_back(static_cast<int64_t>(rows.size()));
      rows.push_back(t);
    }
  }
  const auto zero = static_cast<int64_t>(rows.size());
  if (config_.zero_cond_t) rows.push_back(0.f);

  const auto placed = [&](const Tensor& chunks) { return place ? place(chunks) : chunks; };
  const Tensor embedding = time_embedding(ops, rows);  // [T, D]
  ops.trace("transformer.temb", embedding);
  if (config_.zero_cond_t) ops.trace("transformer.temb_zero", embedding.slice_rows(zero, zero + 1));
  const Tensor t = ops.activate(embedding, Activation::silu);
  for (const auto& block : blocks_) {
    ops.check_stop();
    const Resident resident(*block);
    const Tensor image = ops.linear(t, block->image), text = ops.linear(t, block->text);  // [T, 6 D]
    for (size_t s = 0; s < steps.size(); ++s) {
      table[s].text.push_back(placed(gather_chunks(ops, text, 6, pick[s])));
      std::vector<int64_t> with_zero = pick[s];
      if (config_.zero_cond_t) with_zero.push_back(zero);
      table[s].image.push_back(placed(gather_chunks(ops, image, 6, with_zero)));
    }
  }
  const Tensor out = ops.linear(t, norm_out_);  // [T, 2 D]
  for (size_t s = 0; s < steps.size(); ++s) table[s].norm_out = placed(gather_chunks(ops, out, 2, pick[s]));
  return table;
}

}  // namespace inkling
