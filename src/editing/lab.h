// sRGB to CIE L*a*b* (D65) and back, by tables. Within 0.05 of the formulas; back and forth is exact on 8 bits.
#pragma once

#include <array>
#include <cstdint>

namespace inkling {

struct Lab {
  float l = 0, a = 0, b = 0;
};

float linear_of(uint8_t srgb);  // 0..1
uint8_t srgb_of(float linear);  // rounded to nearest, clamped
Lab lab_of(const uint8_t* rgb);
void rgb_of(const Lab& lab, uint8_t* rgb);
float distance(const Lab& x, const Lab& y);  // CIE 1976

}  // namespace inkling
