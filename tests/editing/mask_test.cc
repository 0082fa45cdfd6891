#include "editing/mask.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

namespace inkling {
namespace {

constexpr int kTile = 128, kColumns = 8, kTiles = 56;

std::string data(const std::string& name) { return std::string(INKLING_SOURCE_DIR) + "/tests/editing/data/" + name; }

Image tile(const Image& sheet, int index) {
  Image part = Image::blank(kTile, kTile, sheet.channels);
  for (int y = 0; y < kTile; ++y)
    std::copy_n(sheet.at(index % kColumns * kTile, index / kColumns * kTile + y), part.row_bytes(), part.at(0, y));
  return part;
}

double overlap(const Image& mask, const Image& truth) {
  int64_t both = 0, either = 0;
  for (size_t i = 0; i < mask.pixels.size(); ++i) {
    const bool a = mask.pixels[i] >= 128, b = truth.pixels[i] >= 128;
    both += a && b;
    either += a || b;
  }
  return either == 0 ? 1 : static_cast<double>(both) / static_cast<double>(either);
}

// Set INKLING_SHOW_MASKS to a folder to look at them.
void show(const std::string& name, const Image& image) {
  if (const char* folder = std::getenv("INKLING_SHOW_MASKS")) write_image(std::string(folder) + "/" + name, image);
}

Image box_picture(int side, uint8_t back, int x0, int y0, int x1, int y1, std::array<uint8_t, 3> color) {
  Image image = Image::blank(side, side, 3, back);
  for (int y = y0; y < y1; ++y)
    for (int x = x0; x < x1; ++x) std::ranges::copy(color, image.at(x, y));
  return image;
}

TEST(Mask, BackgroundOfDrawnPictures) {
  const Image sheet = read_image(data("pictures.webp")), truth = read_mask(data("backgrounds.png"));
  Image shown = Image::blank(sheet.width, sheet.height, 3);
  double scenes = 0, products = 0, plain = 0;
  int found = 0, found_plain = 0;
  for (int i = 0; i < kTiles; ++i) {
    const Image picture = tile(sheet, i);
    const auto mask = background_mask(picture);
    const double iou = mask ? overlap(*mask, tile(truth, i)) : 0;
    (i < kTiles / 2 ? scenes : products) += iou / (kTiles / 2.0);
    found += mask.has_value();
    if (mask) plain += iou, ++found_plain;
    for (int y = 0; y < kTile && mask; ++y)
      for (int x = 0; x < kTile; ++x)
        for (int c = 0; c < 3; ++c)
          shown.at(i % kColumns * kTile + x, i / kColumns * kTile + y)[c] = static_cast<uint8_t>(
              picture.at(x, y)[c] * (255 - *mask->at(x, y)) / 255 + (c == 1 ? *mask->at(x, y) : 0));
  }
  show("backgrounds.png", shown);
  fmt::print("background IoU: scenes {:.3f}, products {:.3f}; found in {} of {}, {:.3f} where found\n", scenes,
             products, found, kTiles, plain / std::max(1, found_plain));
  EXPECT_GE(products, 0.85);
  EXPECT_GE(scenes, 0.6);
}

// A mask that misses a part of the label leaves it in the picture; one that is too wide lets the product change.
TEST(Mask, LabelsOfDrawnPictures) {
  const Image sheet = read_image(data("pictures.webp")), truth = read_mask(data("labels.png"));
  std::ifstream file(data("labels.tsv"));
  double covered = 0, width = 0, rectangle = 0;
  int count = 0;
  Image shown = Image::blank(sheet.width, sheet.height, 3);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    const int index = std::stoi(line);
    const std::string corner = line.substr(line.find('\t') + 1);
    const Image picture = tile(sheet, index), label = tile(truth, index);
    const auto mask = make_mask(parse_instruction("remove the label in the " + corner + " corner"), picture);
    ASSERT_TRUE(mask);
    int64_t inside = 0, area = 0, marked = 0;
    for (size_t i = 0; i < mask->pixels.size(); ++i) {
      area += label.pixels[i] >= 128;
      marked += mask->pixels[i] >= 128;
      inside += label.pixels[i] >= 128 && mask->pixels[i] >= 128;
      for (size_t c = 0; c < 3; ++c)
        shown.at(index % kColumns * kTile, index / kColumns * kTile + static_cast<int>(i) / kTile)[i % kTile * 3 + c] =
            static_cast<uint8_t>(picture.pixels[i * 3 + c] * (c == 1 ? 255 - mask->pixels[i] : 255) / 255);
    }
    ++count;
    covered += static_cast<double>(inside) / static_cast<double>(area);
    width += static_cast<double>(marked) / static_cast<double>(area);
    rectangle += 0.45 * 0.45 * kTile * kTile / static_cast<double>(area);
  }
  show("labels_found.png", shown);
  fmt::print("labels: {} pictures, {:.3f} of each covered by a mask {:.2f} times its size (the corner: {:.2f} times)\n",
             count, covered / count, width / count, rectangle / count);
  EXPECT_GE(count, 12);
  EXPECT_GE(covered / count, 0.9);
  EXPECT_LE(width / count, rectangle / count);
}

TEST(Mask, BackgroundOfAPlainPictureIsExact) {
  const Image image = box_picture(96, 240, 30, 20, 70, 80, {200, 30, 30});
  const auto mask = background_mask(image);
  ASSERT_TRUE(mask);
  for (int y = 0; y < 96; ++y)
    for (int x = 0; x < 96; ++x) {
      const bool subject = x >= 30 && x < 70 && y >= 20 && y < 80;
      const int edge = std::min({std::abs(x - 30), std::abs(x - 70), std::abs(y - 20), std::abs(y - 80)});
      if (edge <= 4) continue;
      EXPECT_EQ(*mask->at(x, y), subject ? 0 : 255) << x << "," << y;
    }
}

TEST(Mask, NoneWithoutABackground) {
  EXPECT_FALSE(background_mask(Image::blank(64, 64, 3, 128)));  // all of it
  Image noise = Image::blank(64, 64, 3);
  uint32_t state = 1;
  for (uint8_t& v : noise.pixels) v = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  EXPECT_FALSE(background_mask(noise));
}

TEST(Mask, CornerIsItsRectangleWithASoftBorder) {
  const Image image = Image::blank(200, 100, 3, 200);  // nothing stands out
  const auto mask = make_mask(parse_instruction("去除右上角的标签"), image);
  ASSERT_TRUE(mask);
  EXPECT_EQ(*mask->at(190, 10), 255);
  EXPECT_EQ(*mask->at(20, 10), 0);
  EXPECT_EQ(*mask->at(190, 90), 0);
  int soft = 0;
  for (const uint8_t v : mask->pixels) soft += v > 0 && v < 255;
  EXPECT_GT(soft, 50);
}

TEST(Mask, LabelIsFoundWithinItsCorner) {
  Image image = Image::blank(128, 128, 3, 235);
  for (const int left : {88, 8})  // two labels with stripes for letters; one is meant
    for (int y = 10; y < 30; ++y)
      for (int x = left; x < left + 32; ++x) {
        const bool ink = x % 4 < 2 && y > 13 && y < 27;
        image.at(x, y)[0] = 200, image.at(x, y)[1] = image.at(x, y)[2] = ink ? 255 : 20;
      }
  const auto mask = make_mask(parse_instruction("remove the label in the top right corner"), image);
  ASSERT_TRUE(mask);
  EXPECT_EQ(*mask->at(104, 20), 255);
  EXPECT_EQ(*mask->at(24, 20), 0);
  EXPECT_EQ(*mask->at(64, 100), 0);
  EXPECT_EQ(*mask->at(104, 60), 0);  // less than the corner's rectangle
}

TEST(Mask, WhatMustStayIsLeftOut) {
  const Image image = box_picture(96, 240, 30, 20, 70, 80, {200, 30, 30});
  const auto mask = make_mask(parse_instruction("不要改变背景只把鸭子变成绿色"), image);
  ASSERT_TRUE(mask);
  EXPECT_EQ(*mask->at(50, 50), 255);
  EXPECT_EQ(*mask->at(5, 5), 0);
  const auto background = make_mask(parse_instruction("把背景换成白色"), image);
  ASSERT_TRUE(background);
  EXPECT_EQ(*background->at(50, 50), 0);
  EXPECT_EQ(*background->at(5, 5), 255);
}

TEST(Mask, WholePictureWhenThePartIsNotKnown) {
  const Image image = box_picture(96, 240, 30, 20, 70, 80, {200, 30, 30});
  for (const auto* text :
       {"变成水彩画风格", "crop to a square", "make it brighter", "make the cat dance", "put a scarf on the cat", ""})
    EXPECT_FALSE(make_mask(parse_instruction(text), image)) << text;
  // One part known, one not.
  EXPECT_FALSE(make_mask(parse_instruction("make the background white and put a scarf on the cat"), image));
}

TEST(Mask, SmallAndOddPictures) {
  for (const auto& [w, h] : {std::pair{1, 1}, std::pair{1, 300}, std::pair{17, 16}, std::pair{700, 9}})
    for (const auto* text : {"把背景换成白色", "删除文字", "remove the label in the top right corner"})
      EXPECT_NO_THROW(make_mask(parse_instruction(text), Image::blank(w, h, 3, 77)));
}

}  // namespace
}  // namespace inkling
