// An instruction made ready for matching: quotes set aside, widths and spaces unified.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inkling {

// raw and lower have the same length. A quoted text is one private-use character, quote_mark(i).
struct NormalText {
  std::string raw;    // NFKC, simplified characters, single spaces, none beside Chinese
  std::string lower;  // raw with ASCII letters in lower case and hyphens between letters as spaces
  std::vector<std::string> quotes;
};
NormalText normalize_instruction(std::string_view valid_utf8);

std::string quote_mark(size_t index);
// Index of the quote whose mark begins at `position`, or -1.
int quote_at(std::string_view text, size_t position);
constexpr size_t kQuoteMarkBytes = 3;
constexpr size_t kMaxQuotes = 64;  // more stay in the text

// `text` with quote marks replaced by the texts, in double quotes unless it is one mark alone.
std::string with_quotes(std::string_view text, const std::vector<std::string>& quotes);

}  // namespace inkling
