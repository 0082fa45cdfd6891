#include "models/qwen_image/vision.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/rope.h"

namespace inkling {

namespace {

constexpr float kEps = 1e-6f;

// Calls f(y, x) for every patch of a grid, merge unit by merge unit.
template <typename F>
void for_each_patch(int64_t height, int64_t width, int64_t merge, F f) {
  for (int64_t by = 0; by < height; by += merge)
    for (int64_t bx = 0; bx < width; bx += merge)
      for (int64_t y = by; y < by + merge; ++y)
        for (int64_t x = bx; x < bx + merge; ++x) f(y, x);
}

// The merge units in window order and the windows' borders in patches.
struct Windows {
  std::vector<int64_t> units;
  Segments segments;
};

Windows make_windows(int64_t height, int64_t width, const VisionConfig& c) {
  const int64_t side = c.window / (c.patch * c.merge), unit = c.merge * c.merge;
  const int64_t rows = height / c.merge, columns = width / c.merge;
  Windows w;
  // The reference pads a divisible grid by a whole window; such empty windows leave no trace here.
  for (int64_t wy = 0; wy < rows; wy += side)
    for (int64_t wx = 0; wx < columns; wx += side) {
      const size_t before = w.units.size();
      for (int64_t y = wy; y < std::min(wy + side, rows); ++y)
        for (int64_t x = wx; x < std::min(wx + side, columns); ++x) w.units.push_back(y * columns + x);
      w.segments.add(static_cast<int64_t>(w.units.size() - before) * unit);
    }
  return w;
}

Tensor index_tensor(const std::vector<int64_t>& index) {
  Tensor t = host_tensor(Shape{static_cast<int64_t>(index.size())}, DType::i32);
  std::ranges::transform(index, t.data<int32_t>(), [](int64_t i) { return static_cast<int32_t>(i); });
  return t;
}

}  // namespace

VisionInput make_patches(const Image& image, const VisionConfig& c, const ProcessorConfig& p) {
  const int64_t cell = c.patch * c.merge;
  if (image.channels != 3 || image.width % cell != 0 || image.height % cell != 0 || image.width == 0 ||
      image.height == 0)
    throw RuntimeError("make_patches: picture of {} x {} with {} channels, expected RGB and sides in multiples of {}",
                       image.width, image.height, image.channels, cell);
  VisionInput in{{}, image.height / c.patch, image.width / c.patch};
  in.patches = host_tensor(Shape{in.height * in.width, c.patch_values()});
  float* out = in.patches.data<float>();
  // A row is channels x time x patch x patch; a still picture repeats over time.
  for_each_patch(in.height, in.width, c.merge, [&](int64_t py, int64_t px) {
    for (int64_t channel = 0; channel < 3; ++channel)
      for (int64_t t = 0; t < c.temporal_patch; ++t)
        for (int64_t y = 0; y < c.patch; ++y)
          for (int64_t x = 0; x < c.patch; ++x) {
            const uint8_t byte =
                image.at(static_cast<int>(px * c.patch + x), static_cast<int>(py * c.patch + y))[channel];
            *out++ = (static_cast<float>(byte) * (1.f / 255.f) - p.mean[channel]) / p.std[channel];
          }
  });
  return in;
}

class VisionTower::Block : public Module {
 public:
  explicit Block(const VisionConfig& config) : config_(config) {
    const int64_t dim = config.dim;
    add_vector("norm1.weight", norm1_, dim);
    add_vector("norm2.weight", norm2_, dim);
    add_linear("attn.qkv", qkv_, 3 * dim, dim);
    add_linear("attn.proj", proj_, dim, dim);
    add_linear("mlp.gate_proj", gate_, config.mlp_dim, dim);
    add_linear("mlp.up_proj", up_, config.mlp_dim, dim);
    add_linear("mlp.down_proj", down_, dim, config.mlp_dim);
  }

  // x [patches, D] -> [patches, D]
  Tensor forward(Ops& ops, Tensor x, const Segments& segments, const Rope& rope) const {
    ops.check_stop();
    const Resident resident(*this);
    x = ops.linear_add(attend(ops, ops.rms_norm(x, norm1_, kEps), segments, rope), proj_, x);
    const Tensor h = ops.swiglu(ops.rms_norm(x, norm2_, kEps), gate_, up_);  // [patches, mlp_dim]
    return ops.linear_add(h, down_, x);
  }

 private:
  Tensor attend(Ops& ops, const Tensor& x, const Segments& segments, const Rope& rope) const {
    const int64_t dim = config_.dim, heads = config_.heads;
    const Tensor all = ops.linear(x, qkv_);  // [patches, 3 D]
    const Tensor q = ops.head_norm_rope(ops.slice_channels(all, 0, dim), Tensor(), kEps, rope, heads);
    const Tensor k = ops.head_norm_rope(ops.slice_channels(all, dim, 2 * dim), Tensor(), kEps, rope, heads);
    const Tensor v = ops.slice_channels(all, 2 * dim, 3 * dim);
    const float scale = 1.f / std::sqrt(static_cast<float>(config_.head_dim()));
    return ops.attention(q, k, v, {heads, heads, scale, /*causal=*/false, segments});
  }

  const VisionConfig& config_;
  Tensor norm1_, norm2_;     // [D]
  Weight qkv_, proj_;        // [3 D, D], [D, D]
  Weight gate_, up_, down_;  // [mlp_dim, D] twice, [D, mlp_dim]
};

VisionTower::VisionTower(const VisionConfig& config) : config_(config) {
  const int64_t merged = config.dim * config.merge * config.merge;
  add_linear("patch_embed.proj", patch_embed_, config.dim, config.patch_values(), /*bias=*/false,
             Parameter::Fold::flatten);
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<Block>(config_));
    add_block(fmt::format("blocks.{}", i), *blocks_.back());
  }
  add_vector("merger.ln_q.weight", ln_q_, config.dim);
  add_linear("merger.mlp.0", mlp_0_, merged, merged);
  add_linear("merger.mlp.2", mlp_2_, config.out_dim, merged);
  finish_names();
}

VisionTower::~VisionTower() = default;

Tensor VisionTower::forward(Ops& ops, const VisionInput& in, int64_t picture) {
  // patches [P, 1176] -> x [P, D] -> [P / merge^2, out_dim]
  const int64_t unit = config_.merge * config_.merge, patches = in.height * in.width;
  const Windows windows = make_windows(in.height, in.width, config_);
  const Segments whole = Segments::single(patches);

  // Units are put into window order once; rows of a unit stay together.
  std::vector<int64_t> order, inverse(windows.units.size());
  std::vector<int32_t> y_of, x_of, y, x;
  for_each_patch(in.height, in.width, config_.merge, [&](int64_t py, int64_t px) {
    y_of.push_back(static_cast<int32_t>(py));
    x_of.push_back(static_cast<int32_t>(px));
  });
  for (size_t i = 0; i < windows.units.size(); ++i) {
    inverse[windows.units[i]] = static_cast<int64_t>(i);
    for (int64_t k = 0; k < unit; ++k) {
      order.push_back(windows.units[i] * unit + k);
      y.push_back(y_of[order.back()]);
      x.push_back(x_of[order.back()]);
    }
  }
  const Rope rope = upload_rope(ops, vision_rope(y, x, config_.head_dim()), Rope::Style::rotate_half);
  const auto trace = [&](const std::string& name, const Tensor& t) {
    if (ops.tracing()) ops.trace(fmt::format("visual.{}.{}", name, picture), t);
  };

  Tensor h = ops.linear(ops.upload(in.patches), patch_embed_);
  trace("patch_embed", h);
  h = ops.gather_rows(h, index_tensor(order));
  for (int64_t i = 0; i < config_.layers; ++i) {
    const bool full = std::ranges::count(config_.full_attention, i) > 0;
    h = blocks_[i]->forward(ops, std::move(h), full ? whole : windows.segments, rope);
    trace(fmt::format("blocks.{}", i), h);
  }
  h = ops.rms_norm(h, ln_q_, kEps).reshape({patches / unit, unit * config_.dim});
  h = ops.linear(ops.linear_act(h, mlp_0_, Activation::gelu_erf), mlp_2_);
  h = ops.gather_rows(h, index_tensor(inverse));
  trace("merger", h);
  return h;
}

}  // namespace inkling
