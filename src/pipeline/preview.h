// Cheap previews: a picture at 1/8 of each side from latents, by a linear map of their channels to RGB. The map is the
// least-squares fit to what the VAE itself makes of a few smooth random latents; it is computed once per engine, when
// the first preview is asked for. Everything but that fit happens on the host.
#pragma once

#include <functional>
#include <vector>

#include "formats/image.h"
#include "tensor/tensor.h"

namespace inkling {

class PreviewMap {
 public:
  // host latents [h, w, C] -> host picture [8 h, 8 w, 3] in [-1, 1]
  using Decode = std::function<Tensor(const Tensor& latents)>;

  bool ready() const { return !weights_.empty(); }
  // Maps of at most height x width latent pixels are decoded: no more memory than decoding the picture of that size.
  void fit(const Decode& decode, int64_t height, int64_t width, int64_t channels);
  // latents: host [h, w, C] -> w x h RGB
  Image apply(const Tensor& latents) const;

 private:
  std::vector<float> weights_;  // [3, C + 1], the constant last
};

}  // namespace inkling
