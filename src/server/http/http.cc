#include "server/http/http.h"

namespace inkling::server {

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_case_name) return value;
  return {};
}

std::string_view HttpRequest::parameter(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return {};
}

std::string_view HttpRequest::trace_id() const {
  // version "-" trace id "-" parent id "-" flags; a later version may append more
  const std::string_view text = header("traceparent");
  constexpr size_t kWhole = 2 + 1 + 32 + 1 + 16 + 1 + 2;
  if (text.size() < kWhole || text.starts_with("ff") || (text.starts_with("00") && text.size() != kWhole)) return {};
  for (size_t i = 0; i < kWhole; ++i) {
    const bool dash = i == 2 || i == 35 || i == 52;
    if (dash ? text[i] != '-' : std::string_view("0123456789abcdef").find(text[i]) == std::string_view::npos) return {};
  }
  const std::string_view id = text.substr(3, 32);
  return id.find_first_not_of('0') == std::string_view::npos ? std::string_view() : id;
}

HttpResponse text_response(int status, std::string body, std::string content_type) {
  return {status, std::move(content_type), {}, std::make_shared<const std::string>(std::move(body))};
}

}  // namespace inkling::server
