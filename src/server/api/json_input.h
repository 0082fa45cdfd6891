// JSON and text from outside: bounded, strict, and with errors that name the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "server/worker/frame.h"

namespace inkling::server {

// UTF-8 JSON of at most 64 levels, no key twice in one object. Throws ArgumentError.
nlohmann::json parse_json(std::string_view text);

// Valid UTF-8, 1..max_characters code points, not only spaces, no NUL. Throws ArgumentError naming the field.
void check_prompt(const std::string& field, const std::string& text, size_t max_characters);

// A data: URL of a picture, or plain base64. Throws ArgumentError naming the field; a remote URL is refused with the
// reason (the server fetches nothing).
Blob decode_picture_text(const std::string& field, std::string_view text, size_t max_bytes);
// Refused by the first bytes unless PNG, JPEG or WebP, or when the header claims too many pixels. Throws ArgumentError.
void check_picture_bytes(const std::string& field, std::string_view bytes, size_t max_bytes);

}  // namespace inkling::server
