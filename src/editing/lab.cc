#include "editing/lab.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace inkling {

namespace {

constexpr int kRootSteps = 4096, kLinearSteps = 16384;
constexpr double kWhite[3] = {0.95047, 1.0, 1.08883};  // D65

struct Tables {
  std::array<float, 256> linear;
  std::vector<float> root;      // the f of Lab over 0..1
  std::vector<uint8_t> srgb;    // over 0..1
  std::array<float, 256> edge;  // linear values at which the nearest byte changes
  Tables() : root(kRootSteps + 2), srgb(kLinearSteps + 1) {
    const auto to_linear = [](double v) { return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4); };
    for (size_t i = 0; i < 256; ++i) linear[i] = static_cast<float>(to_linear(static_cast<double>(i) / 255));
    edge[255] = 2;  // never reached
    for (size_t i = 0; i < 255; ++i) edge[i] = static_cast<float>(to_linear((static_cast<double>(i) + 0.5) / 255));
    for (size_t i = 0; i < root.size(); ++i) {
      const double t = static_cast<double>(i) / kRootSteps;
      root[i] = static_cast<float>(t > 216.0 / 24389 ? std::cbrt(t) : (24389.0 / 27 * t + 16) / 116);
    }
    for (size_t i = 0; i < srgb.size(); ++i) {
      const auto at = std::upper_bound(edge.begin(), edge.end() - 1, static_cast<float>(i) / kLinearSteps);
      srgb[i] = static_cast<uint8_t>(at - edge.begin());
    }
  }
};
const Tables& tables() {
  static const Tables kTables;
  return kTables;
}

float root_of(const Tables& t, float v) {
  const float scaled = std::clamp(v, 0.0F, 1.0F) * kRootSteps;
  const auto i = static_cast<size_t>(scaled);
  return t.root[i] + (scaled - static_cast<float>(i)) * (t.root[i + 1] - t.root[i]);
}

float cube_of(float f) { return f > 6.0F / 29 ? f * f * f : (116 * f - 16) * 27.0F / 24389; }

}  // namespace

float linear_of(uint8_t srgb) { return tables().linear[srgb]; }

uint8_t srgb_of(float linear) {
  const Tables& t = tables();
  const float v = std::clamp(linear, 0.0F, 1.0F);
  // An entry spans at most one edge: 0.2 levels near black, less above.
  const size_t byte = t.srgb[static_cast<size_t>(v * kLinearSteps)];
  return static_cast<uint8_t>(byte + (v >= t.edge[byte] ? 1 : 0));
}

Lab lab_of(const uint8_t* rgb) {
  const Tables& t = tables();
  const float r = t.linear[rgb[0]], g = t.linear[rgb[1]], b = t.linear[rgb[2]];
  const float x = root_of(t, (0.4124564F * r + 0.3575761F * g + 0.1804375F * b) / static_cast<float>(kWhite[0]));
  const float y = root_of(t, 0.2126729F * r + 0.7151522F * g + 0.0721750F * b);
  const float z = root_of(t, (0.0193339F * r + 0.1191920F * g + 0.9503041F * b) / static_cast<float>(kWhite[2]));
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

void rgb_of(const Lab& lab, uint8_t* rgb) {
  const float fy = (lab.l + 16) / 116;
  const float x = cube_of(fy + lab.a / 500) * static_cast<float>(kWhite[0]), y = cube_of(fy);
  const float z = cube_of(fy - lab.b / 200) * static_cast<float>(kWhite[2]);
  rgb[0] = srgb_of(3.2404542F * x - 1.5371385F * y - 0.4985314F * z);
  rgb[1] = srgb_of(-0.9692660F * x + 1.8760108F * y + 0.0415560F * z);
  rgb[2] = srgb_of(0.0556434F * x - 0.2040259F * y + 1.0572252F * z);
}

float distance(const Lab& x, const Lab& y) {
  const float l = x.l - y.l, a = x.a - y.a, b = x.b - y.b;
  return std::sqrt(l * l + a * a + b * b);
}

}  // namespace inkling
