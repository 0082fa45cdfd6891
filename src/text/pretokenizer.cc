#include "text/pretokenizer.h"

#include "text/unicode.h"

namespace inkling {
namespace {

// One code point: its class and where it ends. At the end of the text `end` is the start and `exists` false.
struct Char {
  CharClass kind = CharClass::other;
  size_t end = 0;
  bool exists = false;
};

Char read(std::string_view text, size_t position) {
  if (position >= text.size()) return {CharClass::other, position, false};
  const int32_t c = next_code_point(text, position);
  return {char_class(c), position, true};
}

bool is_space(const Char& c) { return c.exists && (c.kind == CharClass::space || c.kind == CharClass::newline); }
bool is_a(const Char& c, CharClass kind) { return c.exists && c.kind == kind; }

size_t skip(std::string_view text, size_t position, CharClass kind) {
  for (Char c = read(text, position); is_a(c, kind); c = read(text, position)) position = c.end;
  return position;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d) behind the apostrophe; 0 when there is none. Without case, the long s
// (U+017F) is an s.
size_t contraction_length(std::string_view rest) {
  if (rest.empty()) return 0;
  if (rest.starts_with("\xC5\xBF")) return 2;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  const char first = lower(rest[0]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  if (rest.size() < 2) return 0;
  const char second = lower(rest[1]);
  const bool two = (second == 'e' && (first == 'r' || first == 'v')) || (second == 'l' && first == 'l');
  return two ? 2 : 0;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at a whitespace character. \s* gives back as little as it must, so the first
// alternative ends behind the last newline of the run; the second leaves one character before a word.
size_t space_end(std::string_view text, size_t begin) {
  size_t last_start = begin, end = begin, newline_end = begin;
  Char c = read(text, begin);
  for (; is_space(c); c = read(text, end)) {
    last_start = end;
    end = c.end;
    if (c.kind == CharClass::newline) newline_end = end;
  }
  if (newline_end > begin) return newline_end;
  const bool word_follows = c.exists;
  return word_follows && last_start > begin ? last_start : end;
}

}  // namespace

size_t piece_end(std::string_view text, size_t begin) {
  const Char first = read(text, begin);
  if (text[begin] == '\'') {
    if (const size_t length = contraction_length(text.substr(begin + 1))) return begin + 1 + length;
  }
  if (first.kind == CharClass::letter) return skip(text, first.end, CharClass::letter);
  if (first.kind == CharClass::number) return first.end;
  const Char second = read(text, first.end);
  if (first.kind != CharClass::newline && is_a(second, CharClass::letter)) {
    return skip(text, second.end, CharClass::letter);
  }
  const bool spaced_symbol = text[begin] == ' ' && is_a(second, CharClass::other);
  if (first.kind == CharClass::other || spaced_symbol) {
    return skip(text, skip(text, first.end, CharClass::other), CharClass::newline);
  }
  return space_end(text, begin);
}

}  // namespace inkling
