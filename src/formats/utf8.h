// The two encodings of text in files.
#pragma once

#include <string>
#include <string_view>

namespace inkling {

bool is_utf8(std::string_view text);
// Latin-1, the character set of PNG keywords and tEXt, to UTF-8 and back. The latter throws ArgumentError.
std::string latin1_to_utf8(std::string_view text);
std::string utf8_to_latin1(std::string_view text);

}  // namespace inkling
