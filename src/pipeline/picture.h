// Pictures between the user's geometry and the model's: padding, cropping, masks, bytes <-> [-1, 1].
#pragma once

#include "formats/image.h"
#include "tensor/tensor.h"

namespace inkling {

// Grows to multiples of `multiple` on the right and bottom by repeating the border pixels; no pixel moves.
Image pad_to_multiple(const Image& image, int multiple);
Image crop(const Image& image, int width, int height);  // keeps the top left corner

// mask 255: `edited`, 0: `original` byte for byte, between: blended.
Image composite(const Image& original, const Image& edited, const Image& mask);

// RGB bytes -> f32 host tensor [H, W, 3], 2 * (byte / 255) - 1.
Tensor to_tensor(const Image& image);
// f32 [H, W, 3] in [-1, 1] -> bytes, round(255 * clamp(x / 2 + 1/2, 0, 1)), halves to even. Throws NumericError when
// a value is not finite: a black picture is never returned as success.
Image to_image(const Tensor& pixels);

}  // namespace inkling
