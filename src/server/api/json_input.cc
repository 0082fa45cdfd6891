#include "server/api/json_input.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "formats/utf8.h"
#include "server/api/base64.h"
#include "text/unicode.h"

namespace inkling::server {

namespace {
constexpr int kMaxDepth = 64;
}

nlohmann::json parse_json(std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kMaxDepth) throw ArgumentError("the JSON body is nested more than {} levels deep", kMaxDepth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second)
      throw ArgumentError("{}: is given twice", value.get<std::string>());
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& e) {
    // The library's text repeats input bytes; the position is what helps.
    const auto* parse = dynamic_cast<const nlohmann::json::parse_error*>(&e);
    throw ArgumentError("the body is not valid JSON{}",
                        parse == nullptr ? "" : fmt::format(" (at byte {})", parse->byte));
  }
}

void check_prompt(const std::string& field, const std::string& text, size_t max_characters) {
  if (!is_utf8(text)) throw ArgumentError("{}: is not valid UTF-8", field);
  size_t characters = 0;
  bool blank = true;
  for (size_t at = 0; at < text.size(); ++characters) {
    const int32_t c = next_code_point(text, at);
    if (c == 0) throw ArgumentError("{}: holds a NUL character", field);
    const CharClass kind = char_class(c);
    blank = blank && (kind == CharClass::space || kind == CharClass::newline);
  }
  if (blank) throw ArgumentError("{}: is empty; say what you wish for", field);
  if (characters > max_characters)
    throw ArgumentError("{}: has {} characters, at most {} are accepted", field, characters, max_characters);
}

Blob decode_picture_text(const std::string& field, std::string_view text, size_t max_bytes) {
  if (text.starts_with("http://") || text.starts_with("https://") || text.starts_with("file:"))
    throw ArgumentError("{}: this server fetches no pictures; send the bytes as a data: URL or as multipart", field);
  if (text.starts_with("data:")) {
    const size_t comma = text.find(',');
    if (comma == std::string_view::npos || comma > 128 || !text.substr(0, comma).ends_with(";base64"))
      throw ArgumentError("{}: is not a base64 data: URL", field);
    text.remove_prefix(comma + 1);
  }
  if (text.size() / 4 * 3 > max_bytes + 3) throw ArgumentError("{}: is larger than {} MiB", field, max_bytes >> 20);
  // Some clients break lines.
  std::string clean;
  clean.reserve(text.size());
  std::ranges::copy_if(text, std::back_inserter(clean), [](char c) { return c != '\n' && c != '\r' && c != ' '; });
  auto plain = base64_decode(clean);
  if (!plain) throw ArgumentError("{}: is not valid base64", field);
  const auto bytes = std::make_shared<const std::string>(std::move(*plain));
  check_picture_bytes(field, *bytes, max_bytes);
  return bytes;
}

void check_picture_bytes(const std::string& field, std::string_view bytes, size_t max_bytes) {
  if (bytes.size() > max_bytes) throw ArgumentError("{}: is larger than {} MiB", field, max_bytes >> 20);
  const bool png = bytes.starts_with("\x89PNG\r\n\x1a\n"), jpeg = bytes.starts_with("\xff\xd8\xff");
  const bool webp = bytes.starts_with("RIFF") && bytes.size() > 12 && bytes.substr(8, 4) == "WEBP";
  if (!png && !jpeg && !webp) throw ArgumentError("{}: is not a PNG, JPEG or WebP picture", field);
  if (png && bytes.size() >= 24) {
    const auto number = [&](size_t at) {
      uint64_t value = 0;
      for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
      return value;
    };
    // The decoder in the worker judges again; this spares it the trip.
    if (const uint64_t w = number(16), h = number(20); w * h > 24'000'000)
      throw ArgumentError("{}: has too many pixels ({}x{}); at most 24 million are accepted", field, w, h);
  }
}

}  // namespace inkling::server
