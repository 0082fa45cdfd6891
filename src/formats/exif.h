// The one field of EXIF that changes a picture.
#pragma once

#include <cstddef>
#include <span>

namespace inkling {

// Orientation 1..8 of an EXIF block (a TIFF header, perhaps after "Exif\0\0"); 1, upright, when absent or malformed.
int exif_orientation(std::span<const std::byte> exif);

}  // namespace inkling
