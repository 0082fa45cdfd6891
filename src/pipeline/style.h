// Text preprocessor: named styles that complete a short wish.
#pragma once

#include <string>
#include <string_view>

namespace inkling {

// `style`: "none" or "kids_cute_v2", which adds cartoon, colorful, friendly and the like in the prompt's own
// language. A prompt that already ends with the style's words is left alone.
std::string apply_style(std::string_view prompt, std::string_view style);

// Whether text (valid UTF-8) holds a CJK ideograph: decides the language of what is added.
bool is_chinese(std::string_view utf8);

}  // namespace inkling
