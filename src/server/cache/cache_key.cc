#include "server/cache/cache_key.h"

#include <array>

#include "server/cache/sha256.h"

namespace inkling::server {

std::string cache_key(const nlohmann::json& canonical) {
  // Bad UTF-8 cannot stand in JSON; it is escaped by replacement, which may only ever meet another bad text.
  return sha256_hex(canonical.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string canonical_prompt(std::string_view text) {
  constexpr std::string_view kWideSpace = "\u3000";
  constexpr std::array<std::string_view, 6> kClosing = {".", "!", "~", "\u3002", "\uff01", "\uff0e"};
  std::string out;
  bool space = false;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == ' ' || (c >= '\t' && c <= '\r')) {
      space = true;
      ++i;
      continue;
    }
    if (text.substr(i, kWideSpace.size()) == kWideSpace) {
      space = true;
      i += kWideSpace.size();
      continue;
    }
    if (space && !out.empty()) out += ' ';
    space = false;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    ++i;
  }
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view mark : kClosing)
      if (out.ends_with(mark)) {
        out.resize(out.size() - mark.size());
        again = true;
      }
    if (out.ends_with(' ')) {
      out.pop_back();
      again = true;
    }
  }
  return out;
}

}  // namespace inkling::server
