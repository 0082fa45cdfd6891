// The words that edit instructions are made of, with their Chinese and English names. All tables are in lexicon.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "editing/instruction.h"

namespace inkling {

enum class NounClass : uint8_t {
  thing,       // anything that may stand in a picture
  subject,     // what pictures are of: animals, products, people
  lettering,   // text itself
  carrier,     // what text stands on: labels, stickers, signs
  overlay,     // put on top of the picture: watermark, logo
  background,  // the background
  whole,       // the picture itself
};

struct Noun {
  std::string name;  // canonical
  int sense = 0;     // names of one noun that are near, but not the same (mug, cup), have different senses
  NounClass kind = NounClass::thing;
  bool plural = false;
};

// Each takes lower-case text without articles and surrounding spaces, and answers only for the whole of it.
std::optional<Noun> find_noun(std::string_view name);
std::optional<std::string> find_color(std::string_view name);         // "light blue" for 浅蓝色
std::optional<std::string> find_place(std::string_view name);         // of a background: "meadow" for 草地上
std::optional<std::string> find_style(std::string_view name);         // with or without "style", 风格
std::optional<std::string> find_adjustment(std::string_view phrase);  // "brightness up" for 提亮, brighter
std::optional<std::string> find_attribute(std::string_view name);     // "brightness" for 亮度
std::optional<std::string> find_shape(std::string_view name);         // of a crop: "1:1" for square, 正方形, 1:1
std::optional<Region> find_region(std::string_view name);             // top right corner, 右上角

// Traditional characters of the lexicon's words to simplified ones; others stay.
std::string simplify(std::string_view utf8);

}  // namespace inkling
