// Errors as every API of the service says them: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/http.h"

namespace inkling::server {

struct ErrorAnswer {
  int status = 500;
  std::string message;
  std::string type = "server_error";
  std::string param = {};       // empty: null
  std::string code = {};        // empty: null
  double retry_after = 0;       // seconds; 0: none
  bool worth_a_retry = false;   // else x-should-retry: false, as the same request would end the same way
  nlohmann::json refusal = {};  // of the safety filter: {"category", "suggestions"}; null: none

  nlohmann::json json() const;  // {"error": ...}
  HttpResponse response() const;
};

// The field that a message of ours names: "width: got 7, ..." -> "width".
ErrorAnswer bad_request(std::string message, std::string param = {}, std::string code = "invalid_value");
ErrorAnswer not_found(std::string what);
ErrorAnswer too_busy(std::string message, double retry_after, int status = 429);

}  // namespace inkling::server
