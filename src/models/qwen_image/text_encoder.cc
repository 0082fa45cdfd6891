#include "models/qwen_image/text_encoder.h"

#include <cmath>

#include "base/error.h"

namespace inkling {

class TextEncoder::Layer : public Module {
 public:
  explicit Layer(const TextConfig& config) : config_(config) {
    const int64_t dim = config.dim, kv = config.kv_heads * config.head_dim();
    add_vector("input_layernorm.weight", input_norm_, dim);
    add_linear("self_attn.q_proj", q_, dim, dim);
    add_linear("self_attn.k_proj", k_, kv, dim);
    add_linear("self_attn.v_proj", v_, kv, dim);
    add_linear("self_attn.o_proj", o_, dim, dim, /*bias=*/false);
    add_vector("post_attention_layernorm.weight", post_norm_, dim);
    add_linear("mlp.gate_proj", gate_, config.mlp_dim, dim, /*bias=*/false);
    add_linear("mlp.up_proj", up_, config.mlp_dim, dim, /*bias=*/false);
    add_linear("mlp.down_proj", down_, dim, config.mlp_dim, /*bias=*/false);
  }

  // x [T, D] -> [T, D]
  Tensor forward(Ops& ops, Tensor x, const Segments& prompts, const Rope& rope) const {
    ops.check_stop();
    const Resident resident(*this);
    x = ops.linear_add(attend(ops, ops.rms_norm(x, input_norm_, config_.eps), prompts, rope), o_, x);
    const Tensor h = ops.swiglu(ops.rms_norm(x, post_norm_, config_.eps), gate_, up_);  // [T, mlp_dim]
    return ops.linear_add(h, down_, x);
  }

 private:
  Tensor attend(Ops& ops, const Tensor& x, const Segments& prompts, const Rope& rope) const {
    const QKV p = ops.qkv(x, q_, k_, v_, Tensor(), Tensor(), config_.eps, rope, config_.heads, config_.kv_heads);
    const float scale = 1.f / std::sqrt(static_cast<float>(config_.head_dim()));
    return ops.attention(p.q, p.k, p.v, {config_.heads, config_.kv_heads, scale, /*causal=*/true, prompts});
  }

  const TextConfig& config_;
  Tensor input_norm_, post_norm_;  // [D]
  Weight q_, k_, v_, o_;           // [D, D], [kv_heads * head_dim, D] twice, [D, D]
  Weight gate_, up_, down_;        // [mlp_dim, D] twice, [D, mlp_dim]
};

TextEncoder::TextEncoder(const TextConfig& config) : config_(config) {
  add_embedding("embed_tokens", embed_tokens_, config.vocab, config.dim);
  for (int64_t i = 0; i < config.layers; ++i) {
    layers_.push_back(std::make_unique<Layer>(config_));
    add_block(fmt::format("layers.{}", i), *layers_.back());
  }
  add_vector("norm.weight", norm_, config.dim);
  finish_names();
}

TextEncoder::~TextEncoder() = default;

namespace {
// The embeddings [T, D] with every picture's rows replaced by its features.
Tensor insert_features(Ops& ops, const Tensor& x, const std::vector<PictureFeatures>& pictures) {
  if (pictures.empty()) return x;
  std::vector<Tensor> parts;
  int64_t row = 0;
  for (const PictureFeatures& p : pictures) {
    const int64_t end = p.row + p.features.rows();
    if (p.row < row || end > x.rows())
      throw RuntimeError("text encoder: picture rows [{}, {}) do not fit {} tokens after {}", p.row, end, x.rows(),
                         row);
    if (p.row > row) parts.push_back(x.slice_rows(row, p.row));
    parts.push_back(p.features);
    row = end;
  }
  if (row < x.rows()) parts.push_back(x.slice_rows(row, x.rows()));
  return ops.concat_rows(parts);
}
}  // namespace

Tensor TextEncoder::forward(Ops& ops, const TextInputs& in) {
  // ids [T] -> x [T, D]
  const int64_t tokens = in.ids.elements();
  if (in.prompts.rows() != tokens || static_cast<int64_t>(in.positions[0].size()) != tokens)
    throw RuntimeError("text encoder: {} ids, {} rows in prompts, {} positions", tokens, in.prompts.rows(),
                       in.positions[0].size());
  const Rope rope =
      upload_rope(ops, mrope(in.positions, config_.head_dim(), config_.rope_theta, config_.mrope_sections),
                  Rope::Style::rotate_half);
  Tensor x = insert_features(ops, ops.embedding(in.ids, embed_tokens_), in.pictures);
  ops.trace("text_encoder.embed_tokens", x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i]->forward(ops, std::move(x), in.prompts, rope);
    if (ops.tracing()) ops.trace(fmt::format("text_encoder.layers.{}", i), x);
  }
  x = ops.rms_norm(x, norm_, config_.eps);
  ops.trace("text_encoder.norm", x);
  return x;
}

}  // namespace inkling
