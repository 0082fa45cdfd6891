#include "diffusion/embedding.h"

#include <cmath>

#include "base/error.h"

namespace inkling {
namespace {

constexpr double kMaxPeriod = 10000;

float rounded(float value, TimestepPrecision precision) {
  return precision == TimestepPrecision::bf16 ? to_float(to_bf16(value)) : value;
}

}  // namespace

Tensor timestep_embedding(std::span<const float> timesteps, int64_t channels, TimestepPrecision precision) {
  if (channels < 2 || channels % 2 != 0) throw ArgumentError("timestep_embedding: {} channels", channels);
  const int64_t half = channels / 2;
  Tensor result = host_tensor({static_cast<int64_t>(timesteps.size()), channels});
  float* row = result.data<float>();
  for (const float timestep : timesteps) {
    const float sigma = rounded(rounded(timestep, precision) / 1000.f, precision);
    for (int64_t i = 0; i < half; ++i) {
      const float exponent =
          static_cast<float>(-std::log(kMaxPeriod)) * static_cast<float>(i) / static_cast<float>(half);
      const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
      const double angle = 1000.f * (sigma * frequency);
      row[i] = static_cast<float>(std::cos(angle));
      row[half + i] = static_cast<float>(std::sin(angle));
    }
    row += channels;
  }
  return result;
}

}  // namespace inkling
