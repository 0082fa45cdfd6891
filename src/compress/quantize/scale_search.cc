#include "compress/quantize/scale_search.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/int_quant.h"
#include "formats/nf4.h"

namespace inkling {

namespace {

constexpr float kShorter[] = {0.96f, 0.92f, 0.88f, 0.84f};  // of a block's largest magnitude

}  // namespace

void search_nf4(std::span<const float> values, uint8_t* codes, float* absmax) {
  std::vector<float> clipped(kNf4Block), back(kNf4Block);
  std::vector<uint8_t> tried(kNf4Block / 2);
  for (size_t begin = 0; begin < values.size(); begin += kNf4Block, ++absmax, codes += kNf4Block / 2) {
    const auto from = values.subspan(begin, std::min<size_t>(kNf4Block, values.size() - begin));
    quantize_nf4(from, codes, absmax);
    const float largest = *absmax;
    if (!(largest > kZeroRow)) continue;
    const auto error = [&](const uint8_t* q, float scale) {
      dequantize_nf4(q, &scale, 0, static_cast<int64_t>(from.size()), back.data());
      double sum = 0;
      for (size_t i = 0; i < from.size(); ++i) sum += std::pow(double{from[i]} - back[i], 2);
      return sum;
    };
    double least = error(codes, largest);
    for (const float part : kShorter) {
      const float limit = part * largest;
      for (size_t i = 0; i < from.size(); ++i) clipped[i] = std::clamp(from[i], -limit, limit);
      float scale = 0;
      quantize_nf4({clipped.data(), from.size()}, tried.data(), &scale);
      const double e = error(tried.data(), scale);
      if (e >= least) continue;
      least = e;
      *absmax = scale;
      std::copy_n(tried.begin(), (from.size() + 1) / 2, codes);
    }
  }
}

}  // namespace inkling
