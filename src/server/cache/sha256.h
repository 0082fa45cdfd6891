// SHA-256 (OpenSSL) as lower-case hex.
#pragma once

#include <string>
#include <string_view>

namespace inkling::server {

std::string sha256_hex(std::string_view bytes);

}  // namespace inkling::server
