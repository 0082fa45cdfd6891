// Colours of a file to sRGB: embedded ICC profiles through lcms2, and plain CMYK.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/image_codecs.h"

namespace inkling {

// Converts to grey, RGB or either with alpha, in sRGB. A profile that is broken or does not fit the channels is
// ignored, as viewers do; one that changes no colour by more than 2 levels leaves the pixels alone, so that
// pictures tagged sRGB come out as they are stored.
void convert_to_srgb(Raster& raster);

// An ICC profile for PNG's gAMA and cHRM chunks. exponent: of the file, such as 0.45455; primaries: x and y of
// white, red, green, blue, or null for those of sRGB. Empty when that is sRGB, near enough, or makes no sense.
std::vector<std::byte> gamma_profile(double exponent, const double* primaries, bool grey);

}  // namespace inkling
