// Pictures as planes of floats, and the filters that finishing and masks share.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/image.h"

namespace inkling::planes {

struct Plane {
  int width = 0, height = 0;
  std::vector<float> values;

  Plane() = default;
  Plane(int w, int h, float value = 0)
      : width(w), height(h), values(static_cast<size_t>(w) * static_cast<size_t>(h), value) {}
  float& at(int x, int y) {
    return values[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)];
  }
  float at(int x, int y) const {
    return values[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)];
  }
};

// Mean over a square of 2r + 1 pixels, cut at the border; separable running sums, O(1) a pixel for any r.
Plane box_mean(const Plane& p, int r);
// He, Sun, Tang: Guided Image Filtering (2010), grey guide; eps in the square of the guide's unit.
Plane guided_filter(const Plane& guide, const Plane& input, int r, float eps);
// Three box means, close to a Gaussian of this sigma.
Plane blur(const Plane& p, float sigma);

float to_linear(float srgb);  // 0..1
float to_srgb(float linear);

struct Lab {
  float l, a, b;
};
Lab to_lab(const uint8_t* rgb);  // D65
void from_lab(const Lab& lab, uint8_t* rgb);

// A channel of the picture as 0..1.
Plane channel(const Image& image, int c);
uint8_t to_byte(float value);  // of 0..1, rounded, clamped

}  // namespace inkling::planes
