// AutoencoderKLQwenImage, the picture codec: 8x down, 16 latent channels (reference/qwen-image.md section 6).
// A causal video model, folded to two dimensions: on a single frame only the last temporal slice of a kernel
// acts, and the temporal convolutions do not run, so neither is loaded.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/module.h"
#include "models/qwen_image/config.h"
#include "models/qwen_image/tiling.h"

namespace inkling {

class VaeEncoder : public Module {
 public:
  explicit VaeEncoder(const VaeConfig& config);
  ~VaeEncoder() override;

  // image [H, W, 3] in [-1, 1] -> [H / 8, W / 8, 32]: mean, then log variance. `picture` numbers the trace names.
  Tensor moments(Ops& ops, const Tensor& image, const std::optional<Tiling>& tiling = {}, int64_t picture = 0);
  // The normalised mean [H / 8, W / 8, 16]: what the DiT works on.
  Tensor encode(Ops& ops, const Tensor& image, const std::optional<Tiling>& tiling = {}, int64_t picture = 0);
  // (z - mean) / std per channel, for latents sampled from moments().
  Tensor normalize(Ops& ops, const Tensor& z) const;

 private:
  class Body;
  Tensor run(Ops& ops, const Tensor& image, int64_t picture);

  const VaeConfig config_;
  std::unique_ptr<Body> body_;
  Weight quant_conv_;  // [32, 32]
};

class VaeDecoder : public Module {
 public:
  explicit VaeDecoder(const VaeConfig& config);
  ~VaeDecoder() override;

  // Normalised latents [h, w, 16] -> [8 h, 8 w, 3], about [-1, 1], not clamped.
  Tensor decode(Ops& ops, const Tensor& latents, const std::optional<Tiling>& tiling = {});

 private:
  class Body;
  Tensor run(Ops& ops, const Tensor& z);

  const VaeConfig config_;
  std::unique_ptr<Body> body_;
  Weight post_quant_conv_;  // [16, 16]
};

}  // namespace inkling
