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

HttpResponse text_response(int status, std::string body, std::string content_type) {
  return {status, std::move(content_type), {}, std::make_shared<const std::string>(std::move(body))};
}

}  // namespace inkling::server
