#include "models/qwen_image/dit.h"

#include <cmath>
#include <tuple>

#include "base/error.h"

namespace inkling {

namespace {

constexpr float kEps = 1e-6f;

// Where the two streams of a block keep their weights in the checkpoint.
struct StreamNames {
  const char *q, *k, *v, *out, *norm_q, *norm_k, *mlp;
};
constexpr StreamNames kImageNames{"attn.to_q",   "attn.to_k",   "attn.to_v", "attn.to_out.0",
                                  "attn.norm_q", "attn.norm_k", "img_mlp"};
constexpr StreamNames kTextNames{"attn.add_q_proj",   "attn.add_k_proj",   "attn.add_v_proj", "attn.to_add_out",
                                 "attn.norm_added_q", "attn.norm_added_k", "txt_mlp"};

// Rows [offsets[i], offsets[i] + length) of every segment.
Tensor heads_of_segments(Ops& ops, const Tensor& x, const Segments& segments, int64_t length) {
  if (segments.count() == 1) return length == x.dim(0) ? x : x.slice_rows(0, length);
  if (segments.length(0) == length) return x;
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < segments.count(); ++i)
    parts.push_back(x.slice_rows(segments.offsets[i], segments.offsets[i] + length));
  return ops.concat_rows(parts);
}

}  // namespace

// Which modulation row serves which rows of the two streams.
struct Dit::Groups {
  RowGroups image, text, output;
};

// One stream (image or text) of a block: its projections and its MLP.
class Dit::Stream : public Module {
 public:
  // keys_only: nothing reads this stream after the block; only its keys and values are needed.
  Stream(const DitConfig& config, const StreamNames& names, bool keys_only) : keys_only_(keys_only) {
    const int64_t dim = config.dim();
    add_linear(names.k, k_, dim, dim);
    add_linear(names.v, v_, dim, dim);
    add_vector(std::string(names.norm_k) + ".weight", norm_k_, config.head_dim);
    if (keys_only) return;
    add_linear(names.q, q_, dim, dim);
    add_vector(std::string(names.norm_q) + ".weight", norm_q_, config.head_dim);
    add_linear(names.out, out_, dim, dim);
    add_linear(std::string(names.mlp) + ".net.0.proj", mlp_in_, config.mlp_dim, dim);
    add_linear(std::string(names.mlp) + ".net.2", mlp_out_, dim, config.mlp_dim);
  }

  // x [M, D]
  StreamProjection projection(const Tensor& x, const StreamModulation& m, const RowGroups& groups,
                              const Rope& rope) const {
    return {x, m.scale1, m.shift1, &groups, keys_only_ ? nullptr : &q_, &k_, &v_, norm_q_, norm_k_, rope};
  }

  // x [M, D], attention output a [M, D]
  StreamFinish finish(Tensor x, Tensor a, const StreamModulation& m, const RowGroups& groups) const {
    return {std::move(x), std::move(a),         m.gate1, m.scale2, m.shift2, m.gate2, &groups, &out_, &mlp_in_,
            &mlp_out_,    Activation::gelu_tanh};
  }

 private:
  const bool keys_only_;
  Weight q_, k_, v_, out_;   // [D, D]
  Tensor norm_q_, norm_k_;   // [head_dim]
  Weight mlp_in_, mlp_out_;  // [4 D, D], [D, 4 D]
};

class Dit::Block : public Module {
 public:
  Block(const DitConfig& config, bool last)
      : config_(config), last_(last), image_(config, kImageNames, false), text_(config, kTextNames, last) {
    add_child("", image_);
    add_child("", text_);
  }

  // image [sum S_i, D], text [sum L_i, D]; both are replaced by the block's output (text not in the last block)
  void forward(Ops& ops, Tensor& image, Tensor& text, const DitContext& c, const Groups& groups,
               const StreamModulation& image_mod, const StreamModulation& text_mod) const {
    ops.check_stop();
    const Resident resident(*this);
    std::pair<Tensor, Tensor> attention;  // text, image
    {
      const auto [t, i] =
          ops.joint_qkv(text_.projection(text, text_mod, groups.text, c.text_rope),
                        image_.projection(image, image_mod, groups.image, c.image_rope), kEps, config_.heads);
      const float scale = 1.f / std::sqrt(static_cast<float>(config_.head_dim));
      attention = ops.joint_attention(t, c.text_segments, i, c.image_segments, config_.heads, scale);
    }
    StreamFinish text_finish,
        image_finish = image_.finish(std::move(image), std::move(attention.second), image_mod, groups.image);
    if (!last_) text_finish = text_.finish(std::move(text), std::move(attention.first), text_mod, groups.text);
    attention = {};
    std::tie(text, image) = ops.joint_finish(std::move(text_finish), std::move(image_finish), kEps);
  }

 private:
  const DitConfig& config_;
  const bool last_;
  Stream image_, text_;
};

Dit::Dit(const DitConfig& config, BlockRange blocks)
    : config_(config), range_{blocks.begin, blocks.end < 0 ? config.layers : blocks.end} {
  if (range_.begin < 0 || range_.begin >= range_.end || range_.end > config_.layers)
    throw RuntimeError("dit: blocks {} to {} of {}", range_.begin, range_.end, config_.layers);
  const int64_t dim = config_.dim();
  if (begins()) {
    add_linear("img_in", img_in_, dim, config_.in_channels);
    add_vector("txt_norm.weight", txt_norm_, config_.text_dim);
    add_linear("txt_in", txt_in_, dim, config_.text_dim);
  }
  for (int64_t i = range_.begin; i < range_.end; ++i) {
    blocks_.push_back(std::make_unique<Block>(config_, i + 1 == config_.layers));
    add_block(fmt::format("transformer_blocks.{}", i), *blocks_.back());
  }
  if (ends()) add_linear("proj_out", proj_out_, config_.token_out(), dim);
  for (Weight* w : {&img_in_, &txt_in_, &proj_out_}) w->sensitive = true;
  finish_names();
}

Dit::~Dit() = default;

std::vector<UnusedLinear> unused_linears(const DitConfig& config) {
  const std::string block = fmt::format("transformer_blocks.{}.", config.layers - 1);
  const int64_t dim = config.dim();
  return {{block + kTextNames.q, Shape{dim, dim}},
          {block + kTextNames.out, Shape{dim, dim}},
          {block + kTextNames.mlp + ".net.0.proj", Shape{config.mlp_dim, dim}},
          {block + kTextNames.mlp + ".net.2", Shape{dim, config.mlp_dim}}};
}

DitContext Dit::prepare(Ops& ops, const DitInputs& in) {
  // text [sum L_i, text_dim] -> [sum L_i, D]; references [R, 64] -> [R, D] or [B R, 64] -> [B R, D]
  DitContext c;
  int64_t sample_tokens = 0;
  for (size_t j = 0; j < in.pictures.size(); ++j) {
    sample_tokens += in.pictures[j].tokens();
    if (static_cast<int64_t>(j) < in.denoised_pictures) c.denoised_tokens += in.pictures[j].tokens();
  }
  c.reference_tokens = sample_tokens - c.denoised_tokens;
  const int64_t given = in.references.defined() ? in.references.rows() : 0;
  if (given != c.reference_tokens && given != c.reference_tokens * in.text_segments.count())
    throw RuntimeError("dit: {} reference tokens, their shapes say {}", given, c.reference_tokens);

  const DitRopeSpec spec{config_.rope_axes, config_.layer3d_rope};
  const RopeTable image_rope = dit_image_rope(in.pictures, spec);
  std::vector<RopeTable> image_parts, text_parts;
  c.text_segments = in.text_segments;
  for (int64_t i = 0; i < in.text_segments.count(); ++i) {
    c.image_segments.add(sample_tokens);
    image_parts.push_back(image_rope);
    text_parts.push_back(dit_text_rope(in.pictures, in.text_segments.length(i), spec));
  }
  c.image_rope = upload_rope(ops, concat(image_parts), Rope::Style::interleaved);
  c.text_rope = upload_rope(ops, concat(text_parts), Rope::Style::interleaved);
  if (!begins()) return c;
  c.text = ops.linear(ops.rms_norm(in.text, txt_norm_, kEps), txt_in_);
  ops.trace("transformer.txt_in", c.text);
  if (given > 0) c.references = ops.linear(in.references, img_in_);
  return c;
}

Tensor Dit::forward(Ops& ops, const DitContext& c, const Tensor& latents, const StepModulation& step,
                    std::span<const int64_t> timestep_row) {
  // latents [B N, 64] -> [B N, 64]; inside: image [B (N + R), D], text [sum L_i, D]
  DitState state = enter(ops, c, latents);
  run_blocks(ops, c, state, step, timestep_row);
  return leave(ops, c, std::move(state), step, timestep_row);
}

Dit::Groups Dit::groups(const DitContext& c, const StepModulation& step, std::span<const int64_t> timestep_row) const {
  const int64_t batch = c.image_segments.count();
  if (!timestep_row.empty() && static_cast<int64_t>(timestep_row.size()) != batch)
    throw RuntimeError("dit: {} timestep rows for {} samples", timestep_row.size(), batch);
  if (static_cast<int64_t>(step.image.size()) != config_.layers)
    throw RuntimeError("dit: modulation of {} blocks, expected {}", step.image.size(), config_.layers);
  Groups result;
  const auto add = [](RowGroups& g, int64_t length, int64_t table_row) {
    g.segments.add(length);
    g.table_row.push_back(table_row);
  };
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t row = timestep_row.empty() ? 0 : timestep_row[i];
    add(result.output, c.denoised_tokens, row);
    add(result.text, c.text_segments.length(i), row);
    add(result.image, c.denoised_tokens, row);
    if (c.reference_tokens > 0) add(result.image, c.reference_tokens, step.zero_row ? step.timesteps : row);
  }
  return result;
}

DitState Dit::enter(Ops& ops, const DitContext& c, const Tensor& latents) {
  const int64_t batch = c.image_segments.count(), denoised = c.denoised_tokens;
  if (latents.rows() != batch * denoised)
    throw RuntimeError("dit: latents {}, expected {} rows", latents.shape().str(), batch * denoised);
  Tensor image = ops.linear(latents, img_in_);
  if (c.references.defined()) {
    std::vector<Tensor> parts;
    for (int64_t i = 0; i < batch; ++i) {
      parts.push_back(image.slice_rows(i * denoised, (i + 1) * denoised));
      const int64_t first = c.references.rows() > c.reference_tokens ? i * c.reference_tokens : 0;
      parts.push_back(c.references.slice_rows(first, first + c.reference_tokens));
    }
    image = ops.concat_rows(parts);
  }
  ops.trace("transformer.img_in", image);
  return {std::move(image), c.text};
}

void Dit::run_blocks(Ops& ops, const DitContext& c, DitState& state, const StepModulation& step,
                     std::span<const int64_t> timestep_row) {
  const Groups groups = this->groups(c, step, timestep_row);
  for (int64_t i = range_.begin; i < range_.end; ++i) {
    blocks_[i - range_.begin]->forward(ops, state.image, state.text, c, groups, step.image_block(i),
                                       step.text_block(i));
    if (!ops.tracing()) continue;
    ops.trace(fmt::format("transformer.transformer_blocks.{}.img", i), state.image);
    if (i + 1 < config_.layers) ops.trace(fmt::format("transformer.transformer_blocks.{}.txt", i), state.text);
  }
}

Tensor Dit::leave(Ops& ops, const DitContext& c, DitState state, const StepModulation& step,
                  std::span<const int64_t> timestep_row) {
  const Groups groups = this->groups(c, step, timestep_row);
  state.text = Tensor();
  Tensor image = heads_of_segments(ops, state.image, c.image_segments, c.denoised_tokens);
  state.image = Tensor();
  const Shape row{step.timesteps, config_.dim()};
  const Tensor scale = step.norm_out.slice_rows(0, 1).reshape(row), shift = step.norm_out.slice_rows(1, 2).reshape(row);
  image = ops.modulated_norm(image, scale, shift, groups.output, kEps);
  ops.trace("transformer.norm_out", image);
  const Tensor velocity = ops.linear(image, proj_out_);
  ops.trace("transformer.proj_out", velocity);
  return velocity;
}

}  // namespace inkling
