#include "server/api/router.h"

namespace inkling::server {

namespace {

std::string_view segment(std::string_view path, size_t& at) {
  const size_t end = std::min(path.find('/', at), path.size());
  const std::string_view part = path.substr(at, end - at);
  at = end + 1;
  return part;
}

bool fits(std::string_view pattern, std::string_view path, std::map<std::string, std::string, std::less<>>& values) {
  size_t p = 1, q = 1;
  while (p <= pattern.size() && q <= path.size()) {
    const std::string_view want = segment(pattern, p);
    if (want.starts_with("{*")) {  // the rest of the path
      values[std::string(want.substr(2, want.size() - 3))] = path.substr(q);
      return true;
    }
    const std::string_view got = segment(path, q);
    if (want.starts_with('{') && !got.empty())
      values[std::string(want.substr(1, want.size() - 2))] = got;
    else if (want != got)
      return false;
  }
  return p > pattern.size() && q > path.size();
}

}  // namespace

void Call::answer(int status, const nlohmann::json& body) const {
  responder->send(text_response(status, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  Match result;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    std::map<std::string, std::string, std::less<>> values;
    if (!fits(route.pattern, path, values)) continue;
    if (route.method == wanted) return {&route, std::move(values), {}};
    if (result.allow.find(route.method) == std::string::npos)
      result.allow += (result.allow.empty() ? "" : ", ") + route.method;
  }
  return result;
}

}  // namespace inkling::server
