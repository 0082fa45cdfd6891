#include "models/qwen_image/vae.h"

#include <cmath>

#include "base/error.h"

namespace inkling {

namespace {

constexpr auto kLastSlice = Parameter::Fold::last_temporal_slice;

// A 1 x 1 convolution is a linear map of every pixel.
Tensor pointwise(Ops& ops, const Tensor& x, const Weight& w) {
  const int64_t height = x.dim(0), width = x.dim(1);
  return ops.linear(x.reshape({height * width, x.dim(2)}), w).reshape({height, width, w.out_features()});
}

// One row per channel constant, for ops.modulate: x * (1 + scale) + shift.
Tensor affine(Ops& ops, const Tensor& x, const VaeConfig& c,
              const std::function<std::pair<float, float>(float, float)>& factors) {
  Tensor scale = host_tensor(Shape{1, c.latent_channels}), shift = host_tensor(Shape{1, c.latent_channels});
  for (int64_t i = 0; i < c.latent_channels; ++i) {
    const auto [a, b] = factors(c.latents_mean[i], c.latents_std[i]);
    scale.data<float>()[i] = a - 1.f;
    shift.data<float>()[i] = b;
  }
  const Tensor flat = x.reshape({x.dim(0) * x.dim(1), x.dim(2)});
  return ops.modulate(flat, ops.upload(scale), ops.upload(shift), RowGroups::single(flat.dim(0))).reshape(x.shape());
}

// conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
class ResBlock : public Module {
 public:
  ResBlock(int64_t in, int64_t out) : has_shortcut_(in != out) {
    add_vector("norm1.gamma", norm1_, in);
    add_conv("conv1", conv1_, out, in, 3, true, kLastSlice);
    add_vector("norm2.gamma", norm2_, out);
    add_conv("conv2", conv2_, out, out, 3, true, kLastSlice);
    if (has_shortcut_) add_linear("conv_shortcut", shortcut_, out, in, true, Parameter::Fold::flatten);
  }

  // x [H, W, in] -> [H, W, out]
  Tensor forward(Ops& ops, const Tensor& x) const {
    ops.check_stop();
    Tensor h = ops.conv2d(ops.channel_norm_silu(x, norm1_), conv1_, ConvSpec::same3x3());
    h = ops.channel_norm_silu(h, norm2_);
    return ops.conv2d_add(h, conv2_, ConvSpec::same3x3(), has_shortcut_ ? pointwise(ops, x, shortcut_) : x);
  }

 private:
  const bool has_shortcut_;
  Tensor norm1_, norm2_;  // [in], [out]
  Weight conv1_, conv2_;  // [out, in, 3, 3], [out, out, 3, 3]
  Weight shortcut_;       // [out, in], only where they differ
};

// Single-head attention over all pixels.
class PixelAttention : public Module {
 public:
  explicit PixelAttention(int64_t dim) {
    add_vector("norm.gamma", norm_, dim);
    add_linear("to_qkv", to_qkv_, 3 * dim, dim, true, Parameter::Fold::flatten);
    add_linear("proj", proj_, dim, dim, true, Parameter::Fold::flatten);
  }

  // x [H, W, C] -> [H, W, C]
  Tensor forward(Ops& ops, const Tensor& x) const {
    const int64_t pixels = x.dim(0) * x.dim(1), dim = x.dim(2);
    const Tensor rows = x.reshape({pixels, dim});
    const Tensor qkv = ops.linear(ops.channel_norm(x, norm_).reshape({pixels, dim}), to_qkv_);  // [pixels, 3 C]
    const AttentionSpec spec{1, 1, 1.f / std::sqrt(static_cast<float>(dim)), false, Segments::single(pixels)};
    const Tensor a = ops.attention(ops.slice_channels(qkv, 0, dim), ops.slice_channels(qkv, dim, 2 * dim),
                                   ops.slice_channels(qkv, 2 * dim, 3 * dim), spec);
    return ops.linear_add(a, proj_, rows).reshape(x.shape());
  }

 private:
  Tensor norm_;           // [C]
  Weight to_qkv_, proj_;  // [3 C, C], [C, C]
};

class MidBlock : public Module {
 public:
  explicit MidBlock(int64_t dim) : first_(dim, dim), attention_(dim), second_(dim, dim) {
    add_child("resnets.0", first_);
    add_child("attentions.0", attention_);
    add_child("resnets.1", second_);
  }
  Tensor forward(Ops& ops, const Tensor& x) const {
    return second_.forward(ops, attention_.forward(ops, first_.forward(ops, x)));
  }

 private:
  ResBlock first_;
  PixelAttention attention_;
  ResBlock second_;
};

// Down: a stride-2 convolution padded at the right and bottom. Up: nearest, then a convolution that halves the
// channels.
class Resample : public Module {
 public:
  Resample(int64_t in, int64_t out, bool up) : up_(up) {
    add_conv("resample.1", conv_, out, in, 3);
    conv_.doubled_input = up;
  }
  Tensor forward(Ops& ops, const Tensor& x) const {
    if (up_) return ops.upsample_conv2d(x, conv_, ConvSpec::same3x3());
    return ops.conv2d(x, conv_, {.stride = 2, .pad_bottom = 1, .pad_right = 1});
  }

 private:
  const bool up_;
  Weight conv_;  // [out, in, 3, 3]
};

}  // namespace

class VaeEncoder::Body : public Module {
 public:
  explicit Body(const VaeConfig& c) : mid_(c.base_dim * c.dim_mult.back()) {
    const int64_t top = c.base_dim * c.dim_mult.back();
    add_conv("conv_in", conv_in_, c.base_dim, c.image_channels, 3, true, kLastSlice);
    int64_t in = c.base_dim;
    for (int64_t level = 0; level < c.levels(); ++level) {
      const int64_t out = c.base_dim * c.dim_mult[level];
      for (int64_t r = 0; r < c.res_blocks; ++r, in = out) add_block(std::make_unique<ResBlock>(in, out));
      if (level + 1 < c.levels()) add_block(std::make_unique<Resample>(out, out, /*up=*/false));
    }
    add_child("mid_block", mid_);
    add_vector("norm_out.gamma", norm_out_, top);
    add_conv("conv_out", conv_out_, 2 * c.latent_channels, top, 3, true, kLastSlice);
  }

  // x [H, W, 3] -> [H / 8, W / 8, 32]
  Tensor forward(Ops& ops, Tensor x, int64_t picture) const {
    const auto trace = [&](const std::string& name) {
      if (ops.tracing()) ops.trace(fmt::format("vae.encoder.{}.{}", name, picture), x);
    };
    const Resident resident(*this);
    x = ops.conv2d(x, conv_in_, ConvSpec::same3x3());
    trace("conv_in");
    for (size_t i = 0; i < down_blocks_.size(); ++i) {
      x = run_[i](ops, x);
      trace(fmt::format("down_blocks.{}", i));
    }
    x = mid_.forward(ops, x);
    trace("mid_block");
    x = ops.conv2d(ops.channel_norm_silu(x, norm_out_), conv_out_, ConvSpec::same3x3());
    trace("conv_out");
    return x;
  }

 private:
  template <typename Block>
  void add_block(std::unique_ptr<Block> block) {
    add_child(fmt::format("down_blocks.{}", down_blocks_.size()), *block);
    run_.push_back([b = block.get()](Ops& ops, const Tensor& x) { return b->forward(ops, x); });
    down_blocks_.push_back(std::move(block));
  }

  Weight conv_in_;                                    // [96, 3, 3, 3]
  std::vector<std::unique_ptr<Module>> down_blocks_;  // residual and down-sampling blocks, in order
  std::vector<std::function<Tensor(Ops&, const Tensor&)>> run_;
  MidBlock mid_;
  Tensor norm_out_;  // [384]
  Weight conv_out_;  // [32, 384, 3, 3]
};

VaeEncoder::VaeEncoder(const VaeConfig& config) : config_(config), body_(std::make_unique<Body>(config)) {
  add_child("encoder", *body_);
  add_linear("quant_conv", quant_conv_, 2 * config.latent_channels, 2 * config.latent_channels, true,
             Parameter::Fold::flatten);
  finish_names();
}

VaeEncoder::~VaeEncoder() = default;

Tensor VaeEncoder::run(Ops& ops, const Tensor& image, int64_t picture) {
  return pointwise(ops, body_->forward(ops, image, picture), quant_conv_);
}

Tensor VaeEncoder::moments(Ops& ops, const Tensor& image, const std::optional<Tiling>& tiling, int64_t picture) {
  // image [H, W, 3] -> [H / 8, W / 8, 32]
  const int64_t s = config_.scale();
  if (image.shape().rank() != 3 || image.dim(2) != config_.image_channels || image.dim(0) % s != 0 ||
      image.dim(1) % s != 0)
    throw RuntimeError("vae: image {}, expected [H, W, {}] with sides in multiples of {}", image.shape().str(),
                       config_.image_channels, s);
  if (ops.tracing()) ops.trace(fmt::format("vae.encoder.input.{}", picture), image);
  if (!tiling || (image.dim(0) <= tiling->tile && image.dim(1) <= tiling->tile)) return run(ops, image, picture);
  return run_tiled(ops, image, *tiling, {tiling->tile / s, tiling->stride / s},
                   [&](const Tensor& t) { return run(ops, t, picture); });
}

Tensor VaeEncoder::normalize(Ops& ops, const Tensor& z) const {
  return affine(ops, z, config_, [](float mean, float std) { return std::pair(1.f / std, -mean / std); });
}

Tensor VaeEncoder::encode(Ops& ops, const Tensor& image, const std::optional<Tiling>& tiling, int64_t picture) {
  const Tensor m = moments(ops, image, tiling, picture);
  const Tensor mean = ops.slice_channels(m.reshape({m.dim(0) * m.dim(1), m.dim(2)}), 0, config_.latent_channels);
  return normalize(ops, mean.reshape({m.dim(0), m.dim(1), config_.latent_channels}));
}

class VaeDecoder::Body : public Module {
 public:
  explicit Body(const VaeConfig& c) : mid_(c.base_dim * c.dim_mult.back()) {
    const int64_t top = c.base_dim * c.dim_mult.back();
    add_conv("conv_in", conv_in_, top, c.latent_channels, 3, true, kLastSlice);
    add_child("mid_block", mid_);
    int64_t in = top;
    for (int64_t level = c.levels() - 1; level >= 0; --level) {
      const int64_t out = c.base_dim * c.dim_mult[level];
      up_blocks_.push_back(std::make_unique<UpBlock>(in, out, c.res_blocks + 1, level > 0));
      add_child(fmt::format("up_blocks.{}", up_blocks_.size() - 1), *up_blocks_.back());
      in = out / 2;
    }
    add_vector("norm_out.gamma", norm_out_, c.base_dim * c.dim_mult[0]);
    add_conv("conv_out", conv_out_, c.image_channels, c.base_dim * c.dim_mult[0], 3, true, kLastSlice);
  }

  // x [h, w, 16] -> [8 h, 8 w, 3]
  Tensor forward(Ops& ops, Tensor x) const {
    const Resident resident(*this);
    x = ops.conv2d(x, conv_in_, ConvSpec::same3x3());
    ops.trace("vae.decoder.conv_in", x);
    x = mid_.forward(ops, x);
    ops.trace("vae.decoder.mid_block", x);
    for (size_t i = 0; i < up_blocks_.size(); ++i) {
      x = up_blocks_[i]->forward(ops, std::move(x));
      if (ops.tracing()) ops.trace(fmt::format("vae.decoder.up_blocks.{}", i), x);
    }
    x = ops.conv2d(ops.channel_norm_silu(x, norm_out_), conv_out_, ConvSpec::same3x3());
    ops.trace("vae.decoder.conv_out", x);
    return x;
  }

 private:
  class UpBlock : public Module {
   public:
    UpBlock(int64_t in, int64_t out, int64_t resnets, bool up) {
      for (int64_t r = 0; r < resnets; ++r) {
        resnets_.push_back(std::make_unique<ResBlock>(r == 0 ? in : out, out));
        add_child(fmt::format("resnets.{}", r), *resnets_.back());
      }
      if (!up) return;
      upsampler_ = std::make_unique<Resample>(out, out / 2, /*up=*/true);
      add_child("upsamplers.0", *upsampler_);
    }
    // x [h, w, in] -> [2 h, 2 w, out / 2], or [h, w, out] without up-sampling
    Tensor forward(Ops& ops, Tensor x) const {
      for (const auto& r : resnets_) x = r->forward(ops, x);
      return upsampler_ ? upsampler_->forward(ops, x) : x;
    }

   private:
    std::vector<std::unique_ptr<ResBlock>> resnets_;
    std::unique_ptr<Resample> upsampler_;
  };

  Weight conv_in_;  // [384, 16, 3, 3]
  MidBlock mid_;
  std::vector<std::unique_ptr<UpBlock>> up_blocks_;
  Tensor norm_out_;  // [96]
  Weight conv_out_;  // [3, 96, 3, 3]
};

VaeDecoder::VaeDecoder(const VaeConfig& config) : config_(config), body_(std::make_unique<Body>(config)) {
  add_linear("post_quant_conv", post_quant_conv_, config.latent_channels, config.latent_channels, true,
             Parameter::Fold::flatten);
  add_child("decoder", *body_);
  finish_names();
}

VaeDecoder::~VaeDecoder() = default;

Tensor VaeDecoder::run(Ops& ops, const Tensor& z) { return body_->forward(ops, pointwise(ops, z, post_quant_conv_)); }

Tensor VaeDecoder::decode(Ops& ops, const Tensor& latents, const std::optional<Tiling>& tiling) {
  // latents [h, w, 16] -> [8 h, 8 w, 3]
  if (latents.shape().rank() != 3 || latents.dim(2) != config_.latent_channels)
    throw RuntimeError("vae: latents {}, expected [h, w, {}]", latents.shape().str(), config_.latent_channels);
  const Tensor z = affine(ops, latents, config_, [](float mean, float std) { return std::pair(std, mean); });
  ops.trace("vae.decoder.input", z);
  const int64_t s = config_.scale();
  Tensor image;
  if (!tiling || (z.dim(0) <= tiling->tile / s && z.dim(1) <= tiling->tile / s))
    image = run(ops, z);
  else
    image = run_tiled(ops, z, {tiling->tile / s, tiling->stride / s}, *tiling,
                      [&](const Tensor& t) { return run(ops, t); });
  ops.trace("vae.decoder.output", image);
  return image;
}

}  // namespace inkling
