// Which function answers which path. One table per API; the tests walk over it (every route asks for the key, ...).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/error_answer.h"
#include "server/http/http.h"

namespace inkling::server {

// What a route's function gets.
struct Call {
  HttpRequest request;
  std::map<std::string, std::string, std::less<>> path;  // values of {names}
  std::string owner;                                     // of what it makes: hash of the API key, or empty
  std::shared_ptr<Responder> responder;

  void answer(int status, const nlohmann::json& body) const;
  void answer(const ErrorAnswer& error) const { responder->send(error.response()); }
};

struct Route {
  std::string method, pattern;  // "/v1/jobs/{id}/cancel"
  std::string summary;          // for the OpenAPI document; empty: not in it
  std::function<void(Call)> call;
  uint64_t body_limit = 64 << 10;
  bool open = false;      // answered without a key
  bool any_type = false;  // takes bodies that are not application/json
  bool limited = false;   // counts against the rate limit
};

class Router {
 public:
  void add(Route route) { routes_.push_back(std::move(route)); }
  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;
    std::map<std::string, std::string, std::less<>> path;
    std::string allow;  // methods of the path, when only the method is wrong
  };
  // HEAD is answered by GET's route.
  Match match(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace inkling::server
