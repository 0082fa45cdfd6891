// What a sentence asks to be done to a picture, in Chinese or English, by tables and patterns.
// docs/editing.md says what is understood; everything else comes out as one operation of kind `other`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

enum class EditKind : uint8_t { add, remove, replace, replace_text, recolor, background, style, crop, adjust, other };
std::string_view edit_kind_name(EditKind kind);

// A part of the picture. Corners and sides are rectangles in shares of the sides, 0..1; "background", "text" and
// "whole" have to be found in the pixels and cover 0..1.
struct Region {
  std::string name;  // top_left, top_right, bottom_left, bottom_right, left, right, top, bottom, left_half, ...
  float x0 = 0, y0 = 0, x1 = 1, y1 = 1;
};

// Names are canonical (English, of the lexicon) where known, else the user's own words.
//   add           target: what it is put on, may be empty; value: the thing, "red scarf"
//   remove        target: the thing
//   replace       target: the old thing, value: the new one
//   replace_text  target: the old text, or "text", "label", ... when it is not said; value: the new text
//   recolor       target: the thing, value: a colour
//   background    target: "background"; value: a colour, a place, "none" (cut out) or "picture_2" (a second picture)
//   style         target: "whole"; value: cartoon, watercolor, ...
//   crop          target: "whole"; value: "1:1", "16:9", "800x800", or empty with a region
//   adjust        target: what is changed, "whole" or a thing; value: "brightness up", "background blur", ...
//   other         target: known thing or empty; value: the clause itself
struct Operation {
  EditKind kind = EditKind::other;
  std::string target, value;
  std::optional<Region> region;
  std::string owner = {};  // whose: "cat" in "the cat's hat"
};

struct Instruction {
  std::string text;  // as given, ill-formed UTF-8 replaced
  std::vector<Operation> operations;
  // Same meaning, same key, across paraphrases and the two languages; "text:" and the normalised text where
  // anything is not certain. Different wishes have different keys.
  std::string key;
  std::vector<std::string> warnings;
  std::vector<std::string> kept = {};  // what must stay as it is, as it was said: "background", ...
};

constexpr size_t kMaxInstructionBytes = 16384;  // 4,096 characters of any script
// Never throws on any text (but std::bad_alloc). Empty or too long: no operations and a warning.
Instruction parse_instruction(std::string_view utf8);

}  // namespace inkling
