#include "pipeline/style.h"

#include "base/error.h"
#include "text/unicode.h"

namespace inkling {

namespace {
// The words the shipped model was trained with.
constexpr std::string_view kKidsChinese = ", 卡通, 色彩鲜艳, 可爱友好, 儿童插画";
constexpr std::string_view kKidsEnglish = ", cartoon, colorful, friendly, children's illustration";
}  // namespace

std::string apply_style(std::string_view prompt, std::string_view style) {
  if (style.empty() || style == "none") return std::string(prompt);
  if (style != "kids_cute_v2") throw ArgumentError("style: got '{}', expected none or kids_cute_v2", style);
  const std::string_view words = has_han(prompt) ? kKidsChinese : kKidsEnglish;
  std::string result(prompt);
  if (!result.ends_with(words)) result += words;
  return result;
}

}  // namespace inkling
