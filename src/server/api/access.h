// Who may ask: the API key, the names under which the server may be addressed, the pages that may call it.
// Against DNS rebinding the Host header must be one of ours; against forms of other sites an Origin must match the
// Host.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/error_answer.h"
#include "server/http/http.h"

namespace inkling::server {

struct AccessOptions {
  std::vector<std::string> keys = {};           // empty: none is asked for
  std::string address = "127.0.0.1";            // where the server listens
  std::vector<std::string> allowed_hosts = {};  // further names for the Host header, without port
};

class Access {
 public:
  // Throws ArgumentError: an address beyond loopback without a key, a key of fewer than 16 characters.
  explicit Access(AccessOptions options);

  // Host, Origin; of every request.
  std::optional<ErrorAnswer> check_site(const HttpRequest& request) const;
  // Bearer, or Basic with the key as password. `owner` receives the hash of the key.
  std::optional<ErrorAnswer> check_key(const HttpRequest& request, std::string& owner) const;
  bool asks_for_key() const { return !options_.keys.empty(); }

 private:
  bool is_ours(std::string_view host) const;
  const AccessOptions options_;
};

bool is_loopback(const std::string& address);
// Headers that every answer carries.
void add_security_headers(HttpResponse& response);

}  // namespace inkling::server
