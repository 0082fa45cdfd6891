#include "pipeline/style.h"

#include "base/error.h"

namespace inkling {

namespace {
// The words the shipped model was trained with.
constexpr std::string_view kKidsChinese = ", 卡通, 色彩鲜艳, 可爱友好, 儿童插画";
constexpr std::string_view kKidsEnglish = ", cartoon, colorful, friendly, children's illustration";
}  // namespace

bool is_chinese(std::string_view utf8) {
  // U+4E00..U+9FFF are the three-byte sequences E4 B8 80 .. E9 BF BF.
  for (size_t i = 0; i + 2 < utf8.size(); ++i) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const auto second = static_cast<unsigned char>(utf8[i + 1]);
    if ((lead == 0xE4 && second >= 0xB8 && second <= 0xBF) || (lead >= 0xE5 && lead <= 0xE9 && (second & 0xC0) == 0x80))
      return true;
  }
  return false;
}

std::string apply_style(std::string_view prompt, std::string_view style) {
  if (style.empty() || style == "none") return std::string(prompt);
  if (style != "kids_cute_v2") throw ArgumentError("style: got '{}', expected none or kids_cute_v2", style);
  const std::string_view words = is_chinese(prompt) ? kKidsChinese : kKidsEnglish;
  std::string result(prompt);
  if (!result.ends_with(words)) result += words;
  return result;
}

}  // namespace inkling
