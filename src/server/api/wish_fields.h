// Every field of a wish as clients send it, declared once: the parser, the OpenAPI document and the tests read this
// table.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "server/draw_request.h"

namespace inkling::server {

struct WishLimits {
  size_t prompt_characters = 4096;
  size_t image_bytes = 6 << 20;
  int max_images = 3, max_n = 4, min_side = 256, max_side = 2048;
  int64_t max_pixels = 2'400'000;
};

struct WishField {
  enum class Kind : uint8_t { text, integer, number, flag, choice, picture, pictures, object };
  std::string_view name;
  Kind kind;
  double min = 0, max = 0;
  std::string_view choices;  // separated by '|'
  std::string_view help;
  bool session = true;  // may stand in an edit of a session
};

std::span<const WishField> wish_fields();

// Closed schema: an unknown field, a wrong type or a value out of range is an ArgumentError that begins with the
// field's name. `in_session`: the pictures come from the session.
DrawRequest parse_wish(const nlohmann::json& body, const WishLimits& limits, bool in_session = false);
// What does not depend on the API: sizes, prompt, mask. Throws ArgumentError.
void check_wish(const DrawRequest& wish, const WishLimits& limits);

nlohmann::json wish_schema(const WishLimits& limits);  // JSON Schema of the object

}  // namespace inkling::server
