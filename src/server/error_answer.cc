#include "server/error_answer.h"

#include <cmath>

namespace inkling::server {

nlohmann::json ErrorAnswer::json() const {
  const auto or_null = [](const std::string& s) { return s.empty() ? nlohmann::json() : nlohmann::json(s); };
  nlohmann::json error{{"message", message}, {"type", type}, {"param", or_null(param)}, {"code", or_null(code)}};
  if (!refusal.is_null()) error["refusal"] = refusal;
  return {{"error", std::move(error)}};
}

HttpResponse ErrorAnswer::response() const {
  HttpResponse r = text_response(status, json().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (retry_after > 0) r.headers.emplace_back("Retry-After", std::to_string(static_cast<int>(std::ceil(retry_after))));
  r.headers.emplace_back("x-should-retry", worth_a_retry ? "true" : "false");
  return r;
}

ErrorAnswer bad_request(std::string message, std::string param, std::string code) {
  return {.status = 400,
          .message = std::move(message),
          .type = "invalid_request_error",
          .param = std::move(param),
          .code = std::move(code)};
}

ErrorAnswer not_found(std::string what) {
  return {.status = 404,
          .message = "there is no such " + std::move(what),
          .type = "invalid_request_error",
          .code = "not_found"};
}

ErrorAnswer too_busy(std::string message, double retry_after, int status) {
  return {.status = status,
          .message = std::move(message),
          .type = status == 429 ? "rate_limit_error" : "server_error",
          .code = status == 429 ? "too_many_requests" : "unavailable",
          .retry_after = std::max(1.0, retry_after),
          .worth_a_retry = true};
}

}  // namespace inkling::server
