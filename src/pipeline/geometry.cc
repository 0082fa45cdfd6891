#include "pipeline/geometry.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace inkling {
namespace {

constexpr double kReferenceMultiple = 32;
constexpr int64_t kTokenSide = 16;

void check_ratio(double ratio) {
  if (!(ratio > 0) || ratio > kMaxAspectRatio || 1 / ratio > kMaxAspectRatio) {
    throw ArgumentError("aspect ratio {:.3g} is out of range, expected 1:{} to {}:1", ratio, kMaxAspectRatio,
                        kMaxAspectRatio);
  }
}

void check_size(PictureSize size) {
  constexpr int64_t kMaxSide = int64_t{1} << 30;  // products of two sides stay exact
  if (size.width < 1 || size.height < 1 || size.width > kMaxSide || size.height > kMaxSide) {
    throw ArgumentError("picture size {}x{} is out of range", size.width, size.height);
  }
  check_ratio(size.ratio());
}

int64_t round_to(double value, double multiple) {  // halves to even
  return static_cast<int64_t>(std::nearbyint(value / multiple) * multiple);
}

}  // namespace

PictureSize size_of_area(int64_t area, double ratio) {
  check_ratio(ratio);
  if (area < 1) throw ArgumentError("picture area {} is out of range", area);
  const double width = std::sqrt(static_cast<double>(area) * ratio), height = width / ratio;
  const auto least = static_cast<int64_t>(kReferenceMultiple);
  return {std::max(least, round_to(width, kReferenceMultiple)), std::max(least, round_to(height, kReferenceMultiple))};
}

PictureSize smart_resize(PictureSize size, const VisionLimits& limits) {
  check_size(size);
  const auto width = static_cast<double>(size.width), height = static_cast<double>(size.height);
  const auto factor = static_cast<double>(limits.factor);
  const PictureSize rounded = {round_to(width, factor), round_to(height, factor)};
  if (rounded.pixels() > limits.max_pixels) {
    const double beta = std::sqrt(width * height / static_cast<double>(limits.max_pixels));
    const auto shrink = [&](double side) {
      return std::max(limits.factor, static_cast<int64_t>(std::floor(side / beta / factor)) * limits.factor);
    };
    return {shrink(width), shrink(height)};
  }
  if (rounded.pixels() < limits.min_pixels) {
    const double beta = std::sqrt(static_cast<double>(limits.min_pixels) / (width * height));
    const auto grow = [&](double side) {
      return static_cast<int64_t>(std::ceil(side * beta / factor)) * limits.factor;
    };
    return {grow(width), grow(height)};
  }
  return rounded;
}

PictureSize floor_to_tokens(PictureSize size) {
  if (size.width < kTokenSide || size.height < kTokenSide) {
    throw ArgumentError("picture size {}x{} is below {}x{}", size.width, size.height, kTokenSide, kTokenSide);
  }
  return {size.width / kTokenSide * kTokenSide, size.height / kTokenSide * kTokenSide};
}

PictureSize default_edit_size(PictureSize last_picture) {
  check_size(last_picture);
  return size_of_area(kVaeArea, last_picture.ratio());
}

ReferenceSizes reference_sizes(PictureSize picture, EditRules rules, int64_t vae_area, const VisionLimits& limits) {
  check_size(picture);
  const PictureSize vae = size_of_area(vae_area, picture.ratio());
  const PictureSize resized = rules == EditRules::first ? vae : size_of_area(kVisionArea, picture.ratio());
  return {resized, smart_resize(resized, limits), vae};
}

}  // namespace inkling
