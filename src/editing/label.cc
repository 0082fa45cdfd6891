// The visible mark of pictures made by AI: four glyphs of our own on a dark plate.
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "editing/packaging.h"

namespace inkling {

namespace {

constexpr int kRows = 16;
using Glyph = std::array<std::string_view, kRows>;

constexpr Glyph kA = {"....##....", "....##....", "...####...", "...####...", "...#..#...", "..##..##..",
                      "..##..##..", "..#....#..", ".##....##.", ".########.", ".########.", "##......##",
                      "##......##", "##......##", "##......##", ".........."};
constexpr Glyph kI = {"######", "######", "..##..", "..##..", "..##..", "..##..", "..##..", "..##..",
                      "..##..", "..##..", "..##..", "..##..", "..##..", "######", "######", "......"};
constexpr Glyph kSheng = {".......##.......", "...##..##.......", "...##..##.......", "..##...##.......",
                          "..############..", ".##....##.......", ".##....##.......", "##.....##.......",
                          ".......##.......", "..############..", ".......##.......", ".......##.......",
                          ".......##.......", ".......##.......", "################", "................"};
constexpr Glyph kCheng = {".........##.##..", ".........##..##.", ".........##.....", "..##############",
                          "..##.....##.....", "..##.....##.##..", "..######.##.##..", "..##..##.##.##..",
                          "..##..##.##.#...", "..##..##..###...", "..##..##..##....", "..##.###.###..#.",
                          ".##..##.##.##.##", ".##.....#...####", "##...........##.", "................"};

constexpr int kMinSide = 32;
constexpr double kShare = 0.055;  // of the short side; the rule asks for 5 %
constexpr double kPlate = 0.62;   // how much of the plate's dark covers the picture

struct Placed {
  const Glyph* glyph;
  int x;  // in glyph pixels
};

}  // namespace

void draw_ai_label(Image& image, bool chinese) {
  const int side = std::min(image.width, image.height);
  if (side < kMinSide) return;
  std::vector<Placed> text;
  int columns = 0;
  const auto place = [&](const Glyph& g) {
    text.push_back({&g, columns});
    columns += static_cast<int>(g[0].size()) + 2;
  };
  place(kA);
  place(kI);
  if (chinese) {
    columns += 1;
    place(kSheng);
    place(kCheng);
  }
  columns -= 2;
  const double scale = std::max(9.0, std::ceil(side * kShare)) / (kRows - 1);  // glyphs fill 15 rows
  const int width = static_cast<int>(std::ceil(columns * scale)),
            height = static_cast<int>(std::ceil((kRows - 1) * scale));
  const int pad = std::max(2, height / 3), gap = std::max(2, height / 4);
  const int right = image.width - gap, bottom = image.height - gap;
  const int left = right - width - 2 * pad, top = bottom - height - 2 * pad;
  if (left < 0 || top < 0) return;

  // How much ink a pixel has: 4 x 4 samples of the glyphs.
  const auto ink = [&](int x, int y) {
    int hits = 0;
    for (int sy = 0; sy < 4; ++sy)
      for (int sx = 0; sx < 4; ++sx) {
        const int row = static_cast<int>((y + (sy + 0.5) / 4) / scale),
                  column = static_cast<int>((x + (sx + 0.5) / 4) / scale);
        for (const Placed& p : text) {
          const int c = column - p.x;
          if (row >= 0 && row < kRows && c >= 0 && c < static_cast<int>((*p.glyph)[0].size()))
            hits += (*p.glyph)[static_cast<size_t>(row)][static_cast<size_t>(c)] == '#';
        }
      }
    return hits / 16.0;
  };
  const int channels = std::min(image.channels, 3);
  const double radius = pad;
  for (int y = top; y < bottom; ++y)
    for (int x = left; x < right; ++x) {
      // Rounded corners.
      const double dx = std::max({left + radius - x - 0.5, x + 0.5 - (right - radius), 0.0});
      const double dy = std::max({top + radius - y - 0.5, y + 0.5 - (bottom - radius), 0.0});
      const double cover = std::clamp(radius - std::sqrt(dx * dx + dy * dy) + 0.5, 0.0, 1.0);
      const double plate = kPlate * cover, letters = ink(x - left - pad, y - top - pad);
      uint8_t* p = image.at(x, y);
      for (int c = 0; c < channels; ++c)
        p[c] = static_cast<uint8_t>(std::lround((p[c] * (1 - plate) + 24 * plate) * (1 - letters) + 255 * letters));
      if (image.channels == 4) p[3] = static_cast<uint8_t>(std::max<double>(p[3], 255 * std::max(plate, letters)));
    }
}

}  // namespace inkling
