#include "formats/nf4.h"

#include <algorithm>
#include <cmath>

namespace inkling {

namespace {

constexpr std::array<float, 15> kBorders = [] {
  std::array<float, 15> borders{};
  for (size_t i = 0; i < borders.size(); ++i) borders[i] = (kNf4[i] + kNf4[i + 1]) / 2.f;
  return borders;
}();

// The number of borders below the value: on a border the lower level wins.
uint8_t nearest_level(float value) {
  uint8_t code = 0;
  for (const float border : kBorders) code = static_cast<uint8_t>(code + (value > border ? 1 : 0));
  return code;
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::fabs(v));
  return largest;
}

}  // namespace

void quantize_nf4(std::span<const float> values, uint8_t* codes, float* absmax) {
  for (size_t begin = 0; begin < values.size(); begin += kNf4Block) {
    const auto block = values.subspan(begin, std::min<size_t>(kNf4Block, values.size() - begin));
    const float largest = largest_magnitude(block);
    *absmax++ = largest;
    const float inverse = 1.f / std::max(largest, 1e-38f);
    const bool whole = block.size() == static_cast<size_t>(kNf4Block);
    const auto code = [&](size_t i) {
      if (i >= block.size()) return nearest_level(0.f);
      return nearest_level(whole ? block[i] * inverse : block[i] / std::max(largest, 1e-38f));
    };
    for (size_t i = 0; i < block.size(); i += 2) *codes++ = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
  }
}

// Each decade's range 0.1 .. 1 is cut as torch.linspace does in float32: from the nearer end, the product not rounded.
const std::array<float, 256>& nf4_nested_map() {
  static const std::array<float, 256> map = [] {
    std::array<float, 256> values{0.f, 1.f};
    size_t count = 2;
    for (int decade = 0; decade < 7; ++decade) {
      const int steps = 1 << decade;
      const float step = (1.f - 0.1f) / static_cast<float>(steps),
                  power = static_cast<float>(std::pow(10., decade - 6));
      const auto edge = [&](int i) {
        if (i < (steps + 1) / 2) return static_cast<float>(static_cast<double>(0.1f) + static_cast<double>(step) * i);
        return static_cast<float>(1. - static_cast<double>(step) * (steps - i));
      };
      for (int i = 0; i < steps; ++i) {
        const float middle = power * ((edge(i) + edge(i + 1)) / 2.f);
        values[count++] = middle;
        values[count++] = -middle;
      }
    }
    std::ranges::sort(values);
    return values;
  }();
  return map;
}

Nf4Nested nest_nf4(std::span<const float> absmax) {
  Nf4Nested nested;
  double sum = 0;
  for (const float v : absmax) sum += v;
  if (!absmax.empty()) nested.offset = static_cast<float>(sum / static_cast<double>(absmax.size()));
  const auto& map = nf4_nested_map();
  nested.codes.reserve(absmax.size());
  for (size_t begin = 0; begin < absmax.size(); begin += kNf4NestedBlock) {
    const auto block = absmax.subspan(begin, std::min<size_t>(kNf4NestedBlock, absmax.size() - begin));
    float largest = 0;
    for (const float v : block) largest = std::max(largest, std::fabs(v - nested.offset));
    nested.scale.push_back(largest);
    for (const float v : block) {
      const float value = largest == 0.f ? 0.f : (v - nested.offset) / largest;
      const auto above = std::ranges::lower_bound(map, value);
      auto at = above == map.end() ? map.end() - 1 : above;
      if (at != map.begin() && value - *(at - 1) <= *at - value) --at;
      nested.codes.push_back(static_cast<uint8_t>(at - map.begin()));
    }
  }
  return nested;
}

}  // namespace inkling
