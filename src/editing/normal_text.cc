#include "editing/normal_text.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <array>

#include "editing/lexicon.h"
#include "text/unicode.h"

namespace inkling {

namespace {

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool is_space(std::string_view character) {
  size_t i = 0;
  const CharClass kind = char_class(next_code_point(character, i));
  return kind == CharClass::space || kind == CharClass::newline;
}

struct QuotePair {
  std::string_view open, close;
};
constexpr QuotePair kQuotes[] = {{"“", "”"},   {"「", "」"}, {"『", "』"}, {"‘", "’"},
                                 {"\"", "\""}, {"＂", "＂"}, {"《", "》"}, {"'", "'"}};

std::string nfkc(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFKCInstance(status);
  std::string result;
  if (U_FAILURE(status)) return std::string(text);
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  return U_FAILURE(status) ? std::string(text) : result;
}

bool is_private(std::string_view character) {
  return character.size() == 3 &&
         (static_cast<uint8_t>(character[0]) == 0xEE ||
          (static_cast<uint8_t>(character[0]) == 0xEF && static_cast<uint8_t>(character[1]) < 0xA4));
}

// Quoted texts become marks; private-use characters of the input are dropped.
std::string set_quotes_aside(std::string_view text, std::vector<std::string>& quotes) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    bool quoted = false;
    for (const QuotePair& pair : kQuotes) {
      if (!rest.starts_with(pair.open) || quotes.size() >= kMaxQuotes) continue;
      const bool apostrophe = pair.open == "'" || pair.open == "‘";
      if (apostrophe && i > 0 && is_alnum(text[i - 1])) continue;  // the cat's
      size_t close = rest.find(pair.close, pair.open.size());
      // An apostrophe within the quote: 'it's new'
      while (apostrophe && close != std::string_view::npos && close + pair.close.size() < rest.size() &&
             is_alnum(rest[close + pair.close.size()]))
        close = rest.find(pair.close, close + pair.close.size());
      if (close == std::string_view::npos || close == pair.open.size()) continue;
      result += quote_mark(quotes.size());
      quotes.emplace_back(rest.substr(pair.open.size(), close - pair.open.size()));
      i += close + pair.close.size();
      quoted = true;
      break;
    }
    if (quoted) continue;
    const size_t start = i;
    next_code_point(text, i);
    const auto character = text.substr(start, i - start);
    if (character == "’" || character == "‘") {
      result += '\'';
    } else if (!is_private(character)) {
      result += character;
    }
  }
  return result;
}

}  // namespace

std::string quote_mark(size_t index) {
  return {static_cast<char>(0xEE), static_cast<char>(0x80), static_cast<char>(0x80 + index)};
}

int quote_at(std::string_view text, size_t position) {
  if (position + kQuoteMarkBytes > text.size() || static_cast<uint8_t>(text[position]) != 0xEE ||
      static_cast<uint8_t>(text[position + 1]) != 0x80)
    return -1;
  return static_cast<uint8_t>(text[position + 2]) - 0x80;
}

std::string with_quotes(std::string_view text, const std::vector<std::string>& quotes) {
  std::string result;
  const bool alone = text.size() == kQuoteMarkBytes;
  for (size_t i = 0; i < text.size();) {
    const int quote = quote_at(text, i);
    if (quote < 0 || static_cast<size_t>(quote) >= quotes.size()) {
      result += text[i++];
      continue;
    }
    result += alone ? quotes[static_cast<size_t>(quote)] : '"' + quotes[static_cast<size_t>(quote)] + '"';
    i += kQuoteMarkBytes;
  }
  return result;
}

NormalText normalize_instruction(std::string_view valid_utf8) {
  NormalText result;
  const std::string text = simplify(nfkc(set_quotes_aside(valid_utf8, result.quotes)));
  // Full stops of Chinese, and line ends, separate clauses as semicolons do.
  const auto mapped = [](std::string_view c) -> std::string_view {
    if (c == "。" || c == "!" || c == "\n" || c == "?" || c == "…" || c == "\r") return ";";
    return is_space(c) ? " " : c;
  };
  bool wide = true;  // whether the last character is Chinese, or none is
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    next_code_point(text, i);
    const std::string_view c = mapped(std::string_view(text).substr(start, i - start));
    const bool is_wide = c.size() >= 3 && !is_private(c);
    if (c == " ") {
      if (!wide && !result.raw.ends_with(' ')) result.raw += ' ';
      continue;
    }
    if (is_wide && result.raw.ends_with(' ')) result.raw.pop_back();
    result.raw += c;
    wide = is_wide;
  }
  while (result.raw.ends_with(' ')) result.raw.pop_back();
  result.lower = result.raw;
  for (size_t i = 0; i < result.lower.size(); ++i) {
    char& c = result.lower[i];
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    if (c == '-' && i > 0 && i + 1 < result.lower.size() && result.lower[i - 1] >= 'a' && result.lower[i - 1] <= 'z' &&
        is_alnum(result.lower[i + 1]))
      c = ' ';
  }
  return result;
}

}  // namespace inkling
