// How much of a picture an edit left as it was: PSNR and SSIM (Wang, Bovik, Sheikh, Simoncelli, 2004).
#pragma once

#include <optional>

#include "formats/image.h"

namespace inkling {

struct Similarity {
  double psnr = 0;   // dB over R, G, B; 100 for equal pictures
  double ssim = 0;   // of luma (BT.601), Gaussian window of 11x11 with sigma 1.5, mirrored border
  double share = 1;  // of the picture that was compared
};

// `before` (RGB, any size) is brought to the size of `after`. With a mask (one channel, any size, 255: may have
// changed) only what lies outside is compared; for SSIM the mask is grown by the window's radius. nullopt: less than
// one part in a hundred is left to compare.
std::optional<Similarity> similarity(const Image& before, const Image& after, const Image* mask = nullptr);

}  // namespace inkling
