// Base64 by OpenSSL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inkling::server {

std::string base64_encode(std::string_view bytes);
// Padding may be missing; anything but the alphabet is nullopt, and so is nothing at all.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace inkling::server
