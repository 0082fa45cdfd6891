#include "safety/normalize.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <opencc/SimpleConverter.hpp>

#include "base/error.h"
#include "safety/data_text.h"
#include "text/unicode.h"

namespace inkling {

std::u32string to_utf32(std::string_view utf8) {
  const std::string valid = replace_invalid_utf8(utf8);
  std::u32string text;
  text.reserve(valid.size());
  for (size_t i = 0; i < valid.size();) {
    const auto c = static_cast<char32_t>(next_code_point(valid, i));
    if (c != 0xFFFD) text.push_back(c);
  }
  return text;
}

std::string to_utf8(std::u32string_view text) {
  std::string utf8;
  utf8.reserve(text.size() * 3);
  icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()), static_cast<int32_t>(text.size()))
      .toUTF8String(utf8);
  return utf8;
}

namespace {

bool is_latin(char32_t c) { return c >= 'a' && c <= 'z'; }

// Two emoji are words of the lists; the others only stand between letters.
bool is_letter(char32_t c) {
  return is_latin(c) || is_han(c) || u_isalnum(static_cast<UChar32>(c)) || c == U'🔞' || c == U'🖕';
}

bool is_stop(char32_t c) {
  static constexpr std::u32string_view kStops = U",;:!?()[]{}\"\n\r。、…「」『』《》【】“”\u2028\u2029";
  return kStops.find(c) != std::u32string_view::npos;
}

const icu::Normalizer2& instance(const icu::Normalizer2* (*get)(UErrorCode&)) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* n = get(status);
  if (U_FAILURE(status)) throw RuntimeError("safety: ICU has no normalization data ({})", u_errorName(status));
  return *n;
}

icu::UnicodeString normalized(const icu::Normalizer2& by, const icu::UnicodeString& text) {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeString result = by.normalize(text, status);
  if (U_FAILURE(status)) throw RuntimeError("safety: normalization failed ({})", u_errorName(status));
  return result;
}

// Combining marks go; so do format and private characters, which show nothing.
bool is_invisible(char32_t c) {
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_NON_SPACING_MARK:
    case U_ENCLOSING_MARK:
    case U_COMBINING_SPACING_MARK:
    case U_FORMAT_CHAR:
    case U_PRIVATE_USE_CHAR:
    case U_UNASSIGNED:
    case U_SURROGATE: return true;
    case U_CONTROL_CHAR: return !u_isWhitespace(static_cast<UChar32>(c)) && c != '\n' && c != '\r';
    default: return false;
  }
}

char32_t leet(char32_t c, char32_t one) {
  switch (c) {
    case '0': return 'o';
    case '1':
    case '|':
    case '!': return one;
    case '2': return 'z';
    case '3': return 'e';
    case '4':
    case '@': return 'a';
    case '5':
    case '$': return 's';
    case '6':
    case '9': return 'g';
    case '7':
    case '+': return 't';
    case '8': return 'b';
    case U'€': return 'e';
    default: return 0;
  }
}

bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }

// Digits and signs as the letters they stand for, inside words that hold a letter. A sign at a word's end is
// punctuation ("sun!"). Empty when nothing changes.
std::u32string read_leet(const std::u32string& text, char32_t one) {
  std::u32string result = text;
  bool changed = false;
  const auto in_word = [&](size_t i) { return i < text.size() && !is_space(text[i]) && !is_han(text[i]); };
  const auto lone = [&](size_t i) { return (i == 0 || !in_word(i - 1)) && !in_word(i + 1); };
  for (size_t begin = 0; begin < text.size();) {
    if (!in_word(begin)) {
      ++begin;
      continue;
    }
    size_t end = begin;
    bool letter = false;
    for (; in_word(end); ++end) letter |= is_latin(text[end]);
    // A digit that stands between single letters: "s 3 x".
    if (!letter && end == begin + 1 && begin >= 2 && end + 1 < text.size() && is_latin(text[begin - 2]) &&
        is_latin(text[end + 1]) && lone(begin - 2) && lone(end + 1))
      letter = true;
    for (size_t i = begin; letter && i < end; ++i) {
      const char32_t to = leet(text[i], one);
      const bool sign = to != 0 && !u_isdigit(static_cast<UChar32>(text[i]));
      if (to == 0 || (sign && (i + 1 == end || !is_letter(text[i + 1])))) continue;
      result[i] = to;
      changed = true;
    }
    begin = end;
  }
  return changed ? result : std::u32string();
}

// "f*ck" read with a vowel for the star. Empty when there is none.
std::u32string read_star(const std::u32string& text, char32_t vowel) {
  std::u32string result = text;
  bool changed = false;
  for (size_t i = 1; i + 1 < text.size(); ++i)
    if ((text[i] == '*' || text[i] == '#' || text[i] == '@') && is_latin(text[i - 1]) && is_latin(text[i + 1])) {
      result[i] = vowel;
      changed = true;
    }
  return changed ? result : std::u32string();
}

// Pinyin with tone digits: "se4 qing2".
std::u32string drop_tones(const std::u32string& text) {
  std::u32string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool tone = text[i] >= '1' && text[i] <= '5' && i > 0 && is_latin(text[i - 1]);
    if (!tone)
      result.push_back(text[i]);
    else if (i + 1 < text.size() && is_latin(text[i + 1]))
      result.push_back('-');
  }
  return result.size() < text.size() ? result : std::u32string();
}

}  // namespace

Normalizer::Normalizer(std::string_view homoglyphs, std::string_view splits) {
  for (const DataLine& line : data_lines(homoglyphs, "homoglyphs.txt")) {
    const auto [from, to] = split_pair(line, "homoglyphs.txt");
    if (to.size() != 1 || !is_latin(to[0]))
      throw ModelError("homoglyphs.txt:{}: expected LOOK-ALIKES=letter", line.number);
    for (const char32_t c : from) homoglyphs_[c] = to[0];
  }
  for (const DataLine& line : data_lines(splits, "split.txt")) {
    const auto [from, to] = split_pair(line, "split.txt");
    if (from.size() != 2 || to.size() != 1)
      throw ModelError("split.txt:{}: expected two parts=one character", line.number);
    splits_[static_cast<uint64_t>(from[0]) << 32 | from[1]] = to[0];
  }
  if (homoglyphs_.empty() || splits_.empty()) throw ModelError("safety: homoglyphs.txt or split.txt is empty");
  try {
    simplify_ = std::make_unique<opencc::SimpleConverter>("t2s.json");
  } catch (const std::exception& e) {
    throw ModelError("safety: OpenCC cannot read its t2s data (package libopencc-data): {}", e.what());
  }
}

Normalizer::~Normalizer() = default;

std::u32string Normalizer::fold(std::string_view utf8) const {
  const std::u32string raw = to_utf32(utf8);
  const auto* points = reinterpret_cast<const UChar32*>(raw.data());
  icu::UnicodeString text = icu::UnicodeString::fromUTF32(points, static_cast<int32_t>(raw.size()));
  // The folding removes what is ignorable by default: zero width, soft hyphens, variation selectors, tags.
  text = normalized(instance(icu::Normalizer2::getNFKCCasefoldInstance), text);
  text = normalized(instance(icu::Normalizer2::getNFDInstance), text);
  std::u32string folded;
  folded.reserve(raw.size());
  bool han = false;
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const auto c = static_cast<char32_t>(text.char32At(i));
    if (is_invisible(c)) continue;
    han |= is_han(c);
    const auto found = homoglyphs_.find(c);
    folded.push_back(found == homoglyphs_.end() ? c : found->second);
  }
  if (!han) return folded;
  return to_utf32(simplify_->Convert(to_utf8(folded)));
}

std::u32string Normalizer::join_parts(const std::u32string& folded) const {
  std::u32string result;
  for (size_t i = 0; i < folded.size(); ++i) {
    if (i + 1 < folded.size()) {
      const auto found = splits_.find(static_cast<uint64_t>(folded[i]) << 32 | folded[i + 1]);
      if (found != splits_.end()) {
        result.push_back(found->second);
        ++i;
        continue;
      }
    }
    result.push_back(folded[i]);
  }
  return result.size() < folded.size() ? result : std::u32string();
}

std::vector<std::u32string> Normalizer::variants(const std::u32string& folded) const {
  std::vector<std::u32string> all = {folded};
  const auto add = [&](std::u32string text) {
    if (!text.empty() && std::ranges::find(all, text) == all.end()) all.push_back(std::move(text));
  };
  add(join_parts(folded));
  add(read_leet(folded, 'i'));
  add(read_leet(folded, 'l'));
  for (const char32_t vowel : {U'a', U'e', U'i', U'o', U'u'}) add(read_star(folded, vowel));
  add(drop_tones(folded));
  return all;
}

Reading read_letters(std::u32string_view folded) {
  Reading reading;
  reading.reserve(folded.size());
  Gap gap = Gap::none;
  for (size_t i = 0; i < folded.size(); ++i) {
    const char32_t c = folded[i];
    if (!is_letter(c)) {
      Gap kind = Gap::joiner;
      const bool ends = i + 1 == folded.size() || is_space(folded[i + 1]);
      if (is_stop(c) || (c == '.' && ends))
        kind = Gap::stop;
      else if (is_space(c))
        kind = gap == Gap::space ? Gap::wide : Gap::space;
      gap = std::max(gap, kind);
      continue;
    }
    Letter* last = reading.empty() ? nullptr : &reading.back();
    // "k i l l": the two l are one letter twice, as they are in "kill".
    const bool spelled = gap == Gap::space && last && (last->before != Gap::none || reading.size() == 1) &&
                         (i + 1 == folded.size() || !is_letter(folded[i + 1]));
    if (last && last->c == c && (gap <= Gap::joiner || spelled) && last->run < 255) {
      ++last->run;
    } else {
      reading.push_back({c, 1, gap});
    }
    gap = Gap::none;
  }
  return reading;
}

std::u32string plain_text(const Reading& reading) {
  std::u32string text;
  // Single letters in a row: at least three, with plain gaps, are one word.
  std::vector<bool> glue(reading.size(), false);
  const auto single = [&](size_t i) {
    return !is_han(reading[i].c) && (i == 0 || reading[i].before >= Gap::space || is_han(reading[i - 1].c)) &&
           (i + 1 == reading.size() || reading[i + 1].before >= Gap::space || is_han(reading[i + 1].c));
  };
  for (size_t i = 0; i < reading.size();) {
    size_t end = i;
    while (end < reading.size() && single(end) && (end == i || reading[end].before <= Gap::space)) ++end;
    for (size_t k = i + 1; end - i >= 3 && k < end; ++k) glue[k] = true;
    i = std::max(end, i + 1);
  }
  for (size_t i = 0; i < reading.size(); ++i) {
    const Letter& l = reading[i];
    const bool between_han = i > 0 && is_han(l.c) && is_han(reading[i - 1].c);
    const bool inside_word = l.before == Gap::joiner && i > 0 && !is_han(l.c);
    if (i > 0 && l.before != Gap::none && !between_han && !glue[i] && !inside_word) text.push_back(' ');
    text.append(l.run >= 3 ? 1 : l.run, l.c);
  }
  return text;
}

}  // namespace inkling
