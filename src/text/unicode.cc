#include "text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <vector>

#include "base/error.h"

namespace inkling {
namespace {

struct Range {
  int32_t first, last;
};

// Letters of Unicode 15.1 and 16, which the reference tokenizer knows and older ICU releases do not.
constexpr Range kRecentLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
constexpr Range kRecentNumbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};

template <size_t N>
bool contains(const Range (&ranges)[N], int32_t c) {
  const Range* after = std::upper_bound(ranges, ranges + N, c, [](int32_t v, const Range& r) { return v < r.first; });
  return after != ranges && c <= std::prev(after)->last;
}

CharClass lookup(int32_t c) {
  if (c == '\r' || c == '\n') return CharClass::newline;
  const uint32_t mask = U_GET_GC_MASK(c);
  if (mask & U_GC_L_MASK) return CharClass::letter;
  if (mask & U_GC_N_MASK) return CharClass::number;
  if (u_isUWhiteSpace(c)) return CharClass::space;
  if (mask & U_GC_CN_MASK) {
    if (contains(kRecentLetters, c)) return CharClass::letter;
    if (contains(kRecentNumbers, c)) return CharClass::number;
  }
  return CharClass::other;
}

const icu::Normalizer2& normalizer(const icu::Normalizer2* (*instance)(UErrorCode&)) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* result = instance(status);
  if (U_FAILURE(status)) throw RuntimeError("tokenizer: ICU normalization data: {}", u_errorName(status));
  return *result;
}

// ICU sorts combining marks by insertion, which is quadratic in the length of a run of them.
bool has_long_mark_run(std::string_view text, const icu::Normalizer2& nfd) {
  constexpr int kLong = 64;
  int run = 0;
  for (size_t i = 0; i < text.size();) {
    const int32_t c = next_code_point(text, i);
    // U+0F73 and its like have class 0 but decompose into marks; all decompositions may count.
    const bool mark = c >= 0x300 && (nfd.getCombiningClass(c) != 0 || c == 0xF73 || c == 0xF75 || c == 0xF81);
    run = mark ? run + 1 : 0;
    if (run >= kLong) return true;
  }
  return false;
}

// Canonical decomposition with marks in canonical order. Normalization form C of the result is that of `text`.
std::string decompose(std::string_view text, const icu::Normalizer2& nfd) {
  std::vector<std::pair<uint8_t, int32_t>> marks;  // (class, code point)
  std::string result;
  const auto append = [&](int32_t c) {
    char buffer[U8_MAX_LENGTH];
    int32_t length = 0;
    U8_APPEND_UNSAFE(buffer, length, c);
    result.append(buffer, static_cast<size_t>(length));
  };
  const auto flush = [&] {
    std::stable_sort(marks.begin(), marks.end(), [](auto& a, auto& b) { return a.first < b.first; });
    for (const auto& mark : marks) append(mark.second);
    marks.clear();
  };
  icu::UnicodeString parts;
  for (size_t i = 0; i < text.size();) {
    const int32_t c = next_code_point(text, i);
    if (!nfd.getDecomposition(c, parts)) parts.setTo(static_cast<UChar32>(c));
    for (int32_t p = 0; p < parts.length(); p = parts.moveIndex32(p, 1)) {
      const int32_t part = parts.char32At(p);
      const uint8_t combining = nfd.getCombiningClass(part);
      if (combining == 0) {
        flush();
        append(part);
      } else {
        marks.emplace_back(combining, part);
      }
    }
  }
  flush();
  return result;
}

}  // namespace

CharClass char_class(int32_t c) {
  static const auto ascii = [] {
    std::array<CharClass, 128> table{};
    for (int32_t i = 0; i < 128; ++i) table[static_cast<size_t>(i)] = lookup(i);
    return table;
  }();
  return c < 128 ? ascii[static_cast<size_t>(c)] : lookup(c);
}

int32_t next_code_point(std::string_view text, size_t& position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c = 0;
  U8_NEXT_UNSAFE(bytes, position, c);
  return c;
}

bool is_han(char32_t c) {
  return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x3FFFF);
}

bool has_han(std::string_view utf8) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(utf8.data());
  const auto size = static_cast<int64_t>(utf8.size());
  for (int64_t i = 0; i < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, i, size, c);
    if (c >= 0 && is_han(static_cast<char32_t>(c))) return true;
  }
  return false;
}

void require_utf8(std::string_view text) {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max() / 4)) {
    throw ArgumentError("tokenizer: a text of {} bytes is too long", text.size());
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    if (bytes[i] < 128) {
      ++i;
      continue;
    }
    const size_t start = i;
    UChar32 c = 0;
    U8_NEXT(bytes, i, text.size(), c);
    if (c < 0) throw ArgumentError("tokenizer: byte {} of the text is not valid UTF-8", start);
  }
}

std::string replace_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    UChar32 c = 0;
    U8_NEXT(bytes, i, text.size(), c);
    result += c < 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(start, i - start);
  }
  return result;
}

std::string to_nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 128; })) {
    return std::string(text);
  }
  const icu::Normalizer2& nfc = normalizer(&icu::Normalizer2::getNFCInstance);
  const icu::Normalizer2& nfd = normalizer(&icu::Normalizer2::getNFDInstance);
  const std::string ordered = has_long_mark_run(text, nfd) ? decompose(text, nfd) : std::string(text);
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(ordered.size()));
  UErrorCode status = U_ZERO_ERROR;
  nfc.normalizeUTF8(0, icu::StringPiece(ordered.data(), static_cast<int32_t>(ordered.size())), sink, nullptr, status);
  if (U_FAILURE(status)) throw RuntimeError("tokenizer: normalization failed: {}", u_errorName(status));
  return result;
}

}  // namespace inkling
