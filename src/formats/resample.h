// Integer-exact separable resampling (reference/qwen-image.md section 4): 22-bit taps reproduce PIL bit for bit.
#pragma once

#include "formats/image.h"

namespace inkling {

enum class ResampleFilter { bicubic, lanczos };  // a = -1/2; 3 lobes

// tap_bits: 22 reproduces PIL; 0 chooses the largest that fits int16 taps per axis (torchvision on CPU).
// Channels are independent: an alpha channel is not multiplied in.
Image resample(const Image& image, int width, int height, ResampleFilter filter, int tap_bits = 22);

}  // namespace inkling
