// Guided filter (He, Sun, Tang, 2010) on float planes, by separable running sums: its time does not depend on
// the radius.
#pragma once

#include <cstddef>
#include <vector>

namespace inkling {

struct Plane {
  int width = 0, height = 0;
  std::vector<float> values;

  Plane() = default;
  Plane(int w, int h) : width(w), height(h), values(static_cast<size_t>(w) * static_cast<size_t>(h)) {}
  float* row(int y) { return values.data() + static_cast<size_t>(y) * static_cast<size_t>(width); }
  const float* row(int y) const { return values.data() + static_cast<size_t>(y) * static_cast<size_t>(width); }
};

// Mean over the (2 radius + 1)² window, cut at the border. In place is allowed (in == out).
void box_mean(const Plane& in, int radius, Plane& out);
// Values about 0..1. guide and input of one size; may be the same object.
Plane guided_filter(const Plane& guide, const Plane& input, int radius, float epsilon);

}  // namespace inkling
