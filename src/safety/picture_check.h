// What two cores can see in a picture: colours, edges, large areas of skin tone, blood red in the dark. No model that
// recognises things; docs/safety.md says what that means. Trained by tools/safety/train_picture.py.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "formats/image.h"

namespace inkling {

constexpr int kPictureFeatures = 84;
// Of the picture averaged to 64x64 cells; the order is documented in the .cc and repeated in train_picture.py.
std::array<float, kPictureFeatures> picture_features(const Image& picture);

struct PictureFinding {
  std::string category;  // empty: nothing
  double probability = 0;
};

class PictureCheck {
 public:
  // The bytes of picture.bin. Throws ModelError when they are damaged.
  explicit PictureCheck(std::string_view bytes);
  // Throws ArgumentError when the picture's size and pixels disagree.
  PictureFinding check(const Image& picture) const;

 private:
  struct Head {
    float bias;
    std::vector<float> weights;
  };
  std::vector<float> mean_, scale_;
  Head skin_, blood_;
};

}  // namespace inkling
