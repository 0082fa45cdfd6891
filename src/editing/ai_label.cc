// The visible label, drawn from bitmaps of our own.
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "editing/packaging.h"

namespace inkling {

namespace {

constexpr int kGlyphRows = 15;
using Glyph = std::array<std::string_view, kGlyphRows>;

constexpr Glyph kA = {"....###....", "....###....", "...##.##...", "...##.##...", "...##.##...",
                      "..##...##..", "..##...##..", "..##...##..", ".##.....##.", ".#########.",
                      ".#########.", ".##.....##.", "##.......##", "##.......##", "##.......##"};
constexpr Glyph kI = {"#####", "#####", ".###.", ".###.", ".###.", ".###.", ".###.", ".###.",
                      ".###.", ".###.", ".###.", ".###.", ".###.", "#####", "#####"};
constexpr Glyph kSheng = {".......##......", "..##...##......", "..##...##......", "..############.",
                          ".#############.", ".##....##......", "##.....##......", ".......##......",
                          "..###########..", "..###########..", ".......##......", ".......##......",
                          ".......##......", "###############", "###############"};
constexpr Glyph kCheng = {"........##.##...", "........##..##..", "..#############.", "..#############.",
                          "..##....##......", "..##....##..##..", "..#####.##..##..", "..#####..##.##..",
                          "..##.##..####...", "..##.##..###....", "..##.##..##...#.", ".##.###.####..##",
                          ".##.##.##.##..##", "##.......#.####.", "#...........###."};

// Coverage 0..1 of a bitmap at a place in its own units, softened over `soft` units.
float coverage(const Glyph& glyph, float x, float y, float soft) {
  const auto at = [&](int column, int row) {
    if (row < 0 || row >= kGlyphRows || column < 0 || column >= static_cast<int>(glyph[0].size())) return 0.0F;
    return glyph[static_cast<size_t>(row)][static_cast<size_t>(column)] == '#' ? 1.0F : 0.0F;
  };
  const float u = x - 0.5F, v = y - 0.5F;
  const int column = static_cast<int>(std::floor(u)), row = static_cast<int>(std::floor(v));
  const float fx = u - static_cast<float>(column), fy = v - static_cast<float>(row);
  const float value = (at(column, row) * (1 - fx) + at(column + 1, row) * fx) * (1 - fy) +
                      (at(column, row + 1) * (1 - fx) + at(column + 1, row + 1) * fx) * fy;
  return std::clamp((value - 0.42F) / std::max(0.7F * soft, 0.05F) + 0.5F, 0.0F, 1.0F);
}

}  // namespace

void draw_ai_label(Image& image, bool chinese) {
  constexpr int kSmallest = 32;    // of the short side; below it no letter can be read
  constexpr float kShare = 0.06F;  // of the short side, the letters' height; the standard asks for 0.05
  constexpr int kLowest = 12;      // pixels
  constexpr float kPlate = 0.82F;  // darkness of the plate: white letters stand at 7 : 1 or more on it
  const int side = std::min(image.width, image.height);
  if (side < kSmallest) return;
  static constexpr const Glyph* kChinese[] = {&kA, &kI, &kSheng, &kCheng};
  const size_t letters = chinese ? 4 : 2;
  const auto width_for = [&](int height) {
    float width = 0;
    for (size_t i = 0; i < letters; ++i) width += static_cast<float>(kChinese[i]->at(0).size() + (i > 0 ? 2 : 0));
    return static_cast<int>(std::ceil(width * static_cast<float>(height) / kGlyphRows));
  };
  const int height = std::max(kLowest, static_cast<int>(std::ceil(static_cast<float>(side) * kShare)));
  const int width = width_for(height), pad = std::max(2, height / 3), margin = std::max(1, side / 50);
  const int plate_w = std::min(image.width, width + 2 * pad), plate_h = std::min(image.height, height + 2 * pad);
  const int left = std::max(0, image.width - margin - plate_w), top = std::max(0, image.height - margin - plate_h);
  const float unit = static_cast<float>(kGlyphRows) / static_cast<float>(height);  // bitmap units a pixel
  const auto radius = static_cast<float>(pad);
  const int colors = image.channels == 1 ? 1 : 3;
  for (int y = 0; y < plate_h; ++y) {
    for (int x = 0; x < plate_w; ++x) {
      // Rounded corners.
      const float cx = std::max({radius - (static_cast<float>(x) + 0.5F),
                                 static_cast<float>(x) + 0.5F - (static_cast<float>(plate_w) - radius), 0.0F});
      const float cy = std::max({radius - (static_cast<float>(y) + 0.5F),
                                 static_cast<float>(y) + 0.5F - (static_cast<float>(plate_h) - radius), 0.0F});
      const float inside = std::clamp(radius - std::hypot(cx, cy) + 0.5F, 0.0F, 1.0F);
      float ink = 0, begin = 0;
      const float gx = (static_cast<float>(x - pad) + 0.5F) * unit, gy = (static_cast<float>(y - pad) + 0.5F) * unit;
      for (size_t i = 0; i < letters; ++i) {
        ink = std::max(ink, coverage(*kChinese[i], gx - begin, gy, unit));
        begin += static_cast<float>(kChinese[i]->at(0).size()) + 2;
      }
      uint8_t* p = image.at(left + x, top + y);
      for (int c = 0; c < colors; ++c) {
        const float dark = static_cast<float>(p[c]) * (1 - kPlate * inside);
        p[c] = static_cast<uint8_t>(std::lround(dark + (255 - dark) * ink));
      }
      if (image.channels == 4)
        p[3] = static_cast<uint8_t>(std::max<long>(p[3], std::lround(255 * std::max(inside * kPlate, ink))));
    }
  }
}

}  // namespace inkling
