#include "server/api/access.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "base/error.h"
#include "server/api/base64.h"
#include "server/cache/sha256.h"

namespace inkling::server {

namespace {

constexpr size_t kMinKey = 16;  // characters; 128 bits when they are hex digits of a good source would be 32

// "name:8080" -> "name", "[::1]:80" -> "[::1]"; lower case
std::string host_name(std::string_view host) {
  if (!host.starts_with('['))
    host = host.substr(0, host.find(':'));
  else
    host = host.substr(0, std::min(host.find(']') + 1, host.size()));
  std::string name(host);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

bool same_in_constant_time(const std::string& a, const std::string& b) {
  // Of hashes, so that neither length nor a common start shows.
  const std::string x = sha256_hex(a), y = sha256_hex(b);
  return CRYPTO_memcmp(x.data(), y.data(), x.size()) == 0;
}

std::string password_of_basic(std::string_view encoded) {
  if (encoded.size() > 4096) return {};
  const std::string plain = base64_decode(encoded).value_or("");
  const size_t colon = plain.find(':');
  return colon == std::string::npos ? std::string() : plain.substr(colon + 1);
}

ErrorAnswer forbidden(std::string message) {
  return {.status = 403, .message = std::move(message), .type = "invalid_request_error", .code = "forbidden"};
}

}  // namespace

bool is_loopback(const std::string& address) {
  // "127.evil.example" is a name, not an address.
  const bool digits = address.find_first_not_of("0123456789.") == std::string::npos;
  return address == "localhost" || address == "::1" || address == "[::1]" || (digits && address.starts_with("127."));
}

Access::Access(AccessOptions options) : options_(std::move(options)) {
  for (const std::string& key : options_.keys)
    if (key.size() < kMinKey)
      throw ArgumentError("api-key: has {} characters, at least {} are asked for (try: openssl rand -hex 32)",
                          key.size(), kMinKey);
  if (options_.keys.empty() && !is_loopback(options_.address))
    throw ArgumentError(
        "listen: {} can be reached from other machines, so an API key is needed: --api-key KEY or INKLING_API_KEY "
        "(make one with: openssl rand -hex 32)",
        options_.address);
}

bool Access::is_ours(std::string_view host) const {
  const std::string name = host_name(host);
  if (is_loopback(name)) return true;
  if (name == options_.address || std::ranges::find(options_.allowed_hosts, name) != options_.allowed_hosts.end())
    return true;
  // A plain address cannot be rebound by DNS.
  const bool address = !name.empty() && name.find_first_not_of("0123456789.") == std::string::npos;
  return address && !is_loopback(options_.address);
}

std::optional<ErrorAnswer> Access::check_site(const HttpRequest& request) const {
  const std::string_view host = request.header("host");
  if (!is_ours(host)) return forbidden("the Host header names no host of this server; see --allow-host");
  const std::string_view origin = request.header("origin");
  const bool changes = request.method != "GET" && request.method != "HEAD";
  const bool upgrade = !request.header("upgrade").empty();
  if (!origin.empty() && (changes || upgrade)) {
    const size_t scheme = origin.find("://");
    const std::string_view from = scheme == std::string_view::npos ? std::string_view() : origin.substr(scheme + 3);
    if (from != host) return forbidden("requests from pages of another site are refused");
  }
  return std::nullopt;
}

std::optional<ErrorAnswer> Access::check_key(const HttpRequest& request, std::string& owner) const {
  owner.clear();
  if (options_.keys.empty()) return std::nullopt;
  const std::string_view header = request.header("authorization");
  std::string given;
  if (header.starts_with("Bearer ")) given = header.substr(7);
  if (header.starts_with("Basic ")) given = password_of_basic(header.substr(6));
  bool known = false;
  for (const std::string& key : options_.keys) known = same_in_constant_time(key, given) || known;
  if (!known)
    return ErrorAnswer{.status = 401,
                       .message = "an API key is needed: Authorization: Bearer KEY",
                       .type = "invalid_request_error",
                       .code = "invalid_api_key"};
  owner = sha256_hex(given).substr(0, 16);
  return std::nullopt;
}

void add_security_headers(HttpResponse& response) {
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("Referrer-Policy", "no-referrer");
  response.headers.emplace_back("Cross-Origin-Resource-Policy", "same-origin");
  response.headers.emplace_back(
      "Content-Security-Policy",
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
}

}  // namespace inkling::server
