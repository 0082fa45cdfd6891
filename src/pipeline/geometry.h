// Sizes of pictures on their way through the pipelines (reference/qwen-image.md sections 4 and 8). Pure
// functions; the rounding is Python's (halves to even).
#pragma once

#include <cstdint>

namespace inkling {

struct PictureSize {
  int64_t width = 0, height = 0;

  double ratio() const { return static_cast<double>(width) / static_cast<double>(height); }
  int64_t pixels() const { return width * height; }
  bool operator==(const PictureSize&) const = default;
};

inline constexpr int64_t kVaeArea = 1024 * 1024;   // of references, and of outputs by default
inline constexpr int64_t kVisionArea = 384 * 384;  // of what the vision tower sees (2509, 2511)
inline constexpr double kMaxAspectRatio = 200;

// About `area` pixels of the given width / height, both sides multiples of 32 (at least 32). Throws
// ArgumentError beyond kMaxAspectRatio.
PictureSize size_of_area(int64_t area, double ratio);

// The vision tower's own rounding: both sides to multiples of `factor`, then into the range of pixels.
// Throws ArgumentError beyond kMaxAspectRatio.
struct VisionLimits {
  int64_t factor = 28, min_pixels = 56 * 56, max_pixels = 12'845'056;
};
PictureSize smart_resize(PictureSize size, const VisionLimits& limits = {});

// Output: user values are floored to multiples of 16; without any, an edit keeps the last picture's shape.
PictureSize floor_to_tokens(PictureSize size);
PictureSize default_edit_size(PictureSize last_picture);

enum class EditRules {
  first,  // the August Edit model: one resized picture serves both
  plus,   // 2509, 2511
};
struct ReferenceSizes {
  PictureSize resized;  // for the vision tower, first step (Lanczos)
  PictureSize vision;   // second step (bicubic), smart_resize of the above
  PictureSize vae;      // Lanczos from the original (plus), or the same picture as `resized` (first)

  int64_t vision_tokens() const { return vision.pixels() / (28 * 28); }
  int64_t image_tokens() const { return vae.pixels() / (16 * 16); }
};
// `vae_area`: less than the default makes editing cheaper, at some loss of fidelity.
ReferenceSizes reference_sizes(PictureSize picture, EditRules rules, int64_t vae_area = kVaeArea,
                               const VisionLimits& limits = {});

}  // namespace inkling
