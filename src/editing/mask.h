// Where an edit may change the picture, from its instruction and the pixels alone (no network).
#pragma once

#include <optional>

#include "editing/instruction.h"
#include "formats/image.h"

namespace inkling {

// One channel, as large as `rgb`: 255 may change, 0 must stay, soft border. Null: the whole picture, also when
// the part cannot be told with confidence.
std::optional<Image> make_mask(const Instruction& instruction, const Image& rgb);

// 255 where the background is: flood from the border in Lab, then a guided filter. Null when the border has no
// few colours that flow into a region of 3..98 % of the picture.
std::optional<Image> background_mask(const Image& rgb);
// 255 on lettering, stickers and their like within a rectangle (shares of the sides): compact areas that stand out
// from what surrounds them. Null when nothing, or more than half of the rectangle, stands out.
std::optional<Image> text_mask(const Image& rgb, const Region& within);

}  // namespace inkling
