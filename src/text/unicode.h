// What the tokenizer needs to know about Unicode, by ICU.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace inkling {

// The classes that the Qwen2 pre-tokenizer pattern distinguishes.
enum class CharClass : uint8_t {
  letter,   // \p{L}
  number,   // \p{N}
  newline,  // \r or \n
  space,    // the rest of \s, which is the property White_Space
  other,
};
CharClass char_class(int32_t code_point);

// Code point at `position`, which is moved behind it. `text` must be valid UTF-8.
int32_t next_code_point(std::string_view text, size_t& position);

// Ideographs of Chinese, with the rare ones of later planes.
bool is_han(char32_t c);
// Whether text holds one: decides the language of what is answered or added. Any bytes; ill-formed ones count as none.
bool has_han(std::string_view utf8);

// Throws ArgumentError that names the first bad byte.
void require_utf8(std::string_view text);
// Ill-formed sequences become U+FFFD, one for each maximal subpart.
std::string replace_invalid_utf8(std::string_view bytes);
// Normalization form C of valid UTF-8, in linear time.
std::string to_nfc(std::string_view text);

}  // namespace inkling
