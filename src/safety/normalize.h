// Foldings that make the disguises of a word equal to the word. A text gets several readings, because some foldings
// destroy innocent words ("3 birds" is not "e birds").
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace opencc {
class SimpleConverter;
}

namespace inkling {

std::u32string to_utf32(std::string_view utf8);  // well-formed or not: bad bytes are dropped
std::string to_utf8(std::u32string_view text);

// What stands before a letter.
enum class Gap : uint8_t {
  none,
  joiner,  // "-", "*", an emoji: no space, no end of a clause
  space,
  wide,  // two and more spaces
  stop,  // end of a clause or line
};

// Letters, digits and Han characters of a text. Equal neighbours are one letter with a count.
struct Letter {
  char32_t c = 0;
  uint8_t run = 1;  // at most 255
  Gap before = Gap::none;
};
using Reading = std::vector<Letter>;
Reading read_letters(std::u32string_view folded);

class Normalizer {
 public:
  // The texts of homoglyphs.txt and split.txt. Throws ModelError when they do not parse or OpenCC has no t2s.
  Normalizer(std::string_view homoglyphs, std::string_view splits);
  ~Normalizer();
  Normalizer(const Normalizer&) = delete;

  // NFKC, case folded, invisible and combining marks removed, look-alikes Latin, Han simplified. Any bytes.
  std::u32string fold(std::string_view utf8) const;
  // The readings of a folded text, the plain one first; the others only where the text gives cause.
  std::vector<std::u32string> variants(const std::u32string& folded) const;

 private:
  std::u32string join_parts(const std::u32string& folded) const;

  std::unordered_map<char32_t, char32_t> homoglyphs_;
  std::unordered_map<uint64_t, char32_t> splits_;  // two parts -> character
  std::unique_ptr<opencc::SimpleConverter> simplify_;
};

// What the classifier reads: letters with one space at gaps, none between Han characters; letters that were spelled
// out one by one joined again; three and more of a letter as one.
std::u32string plain_text(const Reading& reading);

}  // namespace inkling
