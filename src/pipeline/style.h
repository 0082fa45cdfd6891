// Text preprocessor: named styles that complete a short wish.
#pragma once

#include <string>
#include <string_view>

namespace inkling {

// `style`: "none" or "kids_cute_v2", which adds cartoon, colorful, friendly and the like in the prompt's own
// language. A prompt that already ends with the style's words is left alone.
std::string apply_style(std::string_view prompt, std::string_view style);

}  // namespace inkling
