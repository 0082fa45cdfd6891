#include "safety/evasions.h"

#include <algorithm>
#include <opencc/SimpleConverter.hpp>

#include "base/error.h"
#include "safety/data_text.h"
#include "safety/normalize.h"
#include "safety/word_lists.h"
#include "text/unicode.h"

namespace inkling {

namespace {

bool is_latin(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool in_word(char32_t c) { return is_latin(c) || (c >= '0' && c <= '9'); }

// `mark` between neighbours that are both Han or both of a Latin word.
std::u32string insert_between(const std::u32string& text, const std::u32string& mark) {
  std::u32string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && ((is_han(text[i - 1]) && is_han(text[i])) || (in_word(text[i - 1]) && in_word(text[i]))))
      result += mark;
    result.push_back(text[i]);
  }
  return result;
}

// The letters of every word apart, the words by three spaces.
std::u32string space_out(const std::u32string& text) {
  std::u32string wide;
  for (const char32_t c : text) wide += c == ' ' ? std::u32string(U"   ") : std::u32string(1, c);
  return insert_between(wide, U" ");
}

std::u32string replace_letters(const std::u32string& text, std::u32string_view from, std::u32string_view to) {
  std::u32string result = text;
  for (char32_t& c : result)
    if (const size_t at = from.find(c); at != std::u32string_view::npos) c = to[at];
  return result;
}

// Every Han character three times, the first vowel of a Latin word four times.
std::u32string repeat_letters(const std::u32string& text) {
  std::u32string result;
  bool open = true;
  for (const char32_t c : text) {
    const bool vowel = c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
    result.append(is_han(c) ? 3 : (vowel && open ? 4 : 1), c);
    if (vowel) open = false;
    if (!is_latin(c)) open = true;
  }
  return result;
}

std::u32string full_width(const std::u32string& text) {
  std::u32string result = text;
  for (char32_t& c : result)
    if (c > ' ' && c < 0x7F) c += 0xFEE0;
  return result;
}

std::u32string spell_pinyin(const std::u32string& text) {
  std::u32string result;
  for (const char32_t c : text) {
    const auto syllable = is_han(c) ? pinyin_of(std::u32string(1, c)) : std::vector<std::u32string>{};
    if (syllable.empty())
      result.push_back(c);
    else
      result += U" " + syllable[0];
  }
  return result;
}

}  // namespace

const std::vector<std::string>& Evasions::kinds() {
  static const std::vector<std::string> kinds = {"zero-width",     "homoglyph", "leet",         "full-width",
                                                 "traditional",    "pinyin",    "spacing",      "split characters",
                                                 "mixed language", "repeated",  "emoji between"};
  return kinds;
}

Evasions::Evasions(std::string_view mixed, std::string_view splits) {
  for (const DataLine& line : data_lines(mixed, "mixed.tsv")) {
    const auto words = split_fields(line.text, '\t');
    if (words.size() != 2) throw ArgumentError("mixed.tsv:{}: got '{}', expected two words", line.number, line.text);
    mixed_.emplace_back(words[0], words[1]);
  }
  for (const DataLine& line : data_lines(splits, "split.txt")) {
    const auto [from, to] = split_pair(line, "split.txt");
    parts_.emplace(to[0], from);
  }
  traditional_ = std::make_unique<opencc::SimpleConverter>("s2t.json");
}

Evasions::~Evasions() = default;

std::optional<std::string> Evasions::disguise(const std::string& text, std::string_view kind) const {
  const std::u32string letters = to_utf32(text);
  std::string result;
  if (kind == "zero-width") result = to_utf8(insert_between(letters, U"\u200b"));
  if (kind == "homoglyph") result = to_utf8(replace_letters(letters, U"aeocpxiy", U"аеосрхіу"));
  if (kind == "leet") result = to_utf8(replace_letters(letters, U"aeios", U"43105"));
  if (kind == "full-width") result = to_utf8(full_width(letters));
  if (kind == "traditional") result = traditional_->Convert(text);
  if (kind == "pinyin" && std::ranges::any_of(letters, is_han)) result = to_utf8(spell_pinyin(letters));
  if (kind == "spacing") result = to_utf8(space_out(letters));
  if (kind == "split characters") {
    std::u32string parts;
    for (const char32_t c : letters) {
      const auto found = parts_.find(c);
      parts += found == parts_.end() ? std::u32string(1, c) : found->second;
    }
    result = to_utf8(parts);
  }
  if (kind == "mixed language") {
    const bool chinese = std::ranges::any_of(letters, is_han);
    result = text;
    for (const auto& [zh, en] : mixed_) {
      const std::string& from = chinese ? zh : en;
      const size_t at = result.find(from);
      const auto outside = [&](size_t i) {
        return i >= result.size() || !is_latin(static_cast<unsigned char>(result[i]));
      };
      if (at == std::string::npos || (!chinese && (!outside(at - 1) || !outside(at + from.size())))) continue;
      result.replace(at, from.size(), chinese ? " " + en + " " : zh);
      break;
    }
  }
  if (kind == "repeated") result = to_utf8(repeat_letters(letters));
  if (kind == "emoji between") result = to_utf8(insert_between(letters, U"🍓"));
  if (result.empty() || result == text) return std::nullopt;
  return result;
}

}  // namespace inkling
