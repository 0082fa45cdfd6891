// multipart/form-data (RFC 7578), strict: what browsers, curl and the OpenAI clients send, and nothing lenient beyond,
// as two readings of one body are how filters are passed by.
#include <cstring>
#include <optional>

#include "base/error.h"
#include "server/http/http.h"
#include "server/http/wire.h"

namespace inkling::server {

namespace {

constexpr size_t kPartHeaders = 16;
constexpr size_t kPartHeaderBytes = 8 * 1024;  // of all headers of one part
constexpr size_t kBoundaryBytes = 70;          // RFC 2046

bool is_token(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
}

std::string_view take_token(std::string_view& text) {
  size_t count = 0;
  while (count < text.size() && is_token(text[count])) ++count;
  const std::string_view token = text.substr(0, count);
  text.remove_prefix(count);
  return token;
}

// In a quoted string only \" and \\ are escapes: old browsers send the backslashes of Windows paths as they are.
std::optional<std::string> take_value(std::string_view& text) {
  if (text.empty() || text[0] != '"') {
    const std::string_view token = take_token(text);
    if (token.empty()) return std::nullopt;
    return std::string(token);
  }
  std::string value;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    value += text[i];
  }
  return std::nullopt;
}

using Parameters = std::vector<std::pair<std::string, std::string>>;

// The `; name=value` list behind a media type or disposition; nullopt when malformed or a name comes twice.
std::optional<Parameters> parse_parameters(std::string_view text) {
  Parameters parameters;
  while (true) {
    skip_spaces(text);
    if (text.empty()) return parameters;
    if (text[0] != ';') return std::nullopt;
    text.remove_prefix(1);
    skip_spaces(text);
    if (text.empty()) return parameters;  // a last semicolon
    const std::string_view name = take_token(text);
    if (name.empty() || text.empty() || text[0] != '=') return std::nullopt;
    text.remove_prefix(1);
    auto value = take_value(text);
    if (!value) return std::nullopt;
    for (const auto& [other, unused] : parameters)
      if (same_text(other, name)) return std::nullopt;
    parameters.emplace_back(std::string(name), std::move(*value));
  }
}

const std::string* find_parameter(const Parameters& parameters, std::string_view name) {
  for (const auto& [key, value] : parameters)
    if (same_text(key, name)) return &value;
  return nullptr;
}

std::string read_boundary(std::string_view content_type) {
  skip_spaces(content_type);
  const size_t end = std::min(content_type.find_first_of("; \t"), content_type.size());
  if (!same_text(content_type.substr(0, end), "multipart/form-data"))
    throw ArgumentError("the content type must be multipart/form-data");
  const auto parameters = parse_parameters(content_type.substr(end));
  const std::string* boundary = parameters ? find_parameter(*parameters, "boundary") : nullptr;
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryBytes)
    throw ArgumentError("multipart/form-data needs a boundary of 1 to {} characters", kBoundaryBytes);
  for (const char c : *boundary)
    if (!is_token(c) && !std::strchr("(),/:=? ", c))
      throw ArgumentError("the multipart boundary holds a character that is not allowed");
  if (boundary->back() == ' ') throw ArgumentError("the multipart boundary ends with a space");
  return *boundary;
}

// Takes one line without its CRLF.
std::string_view take_line(std::string_view& body, size_t limit) {
  const size_t end = body.substr(0, limit + 2).find("\r\n");
  if (end == std::string_view::npos)
    throw ArgumentError("a multipart header is longer than {} bytes or not complete", limit);
  const std::string_view line = body.substr(0, end);
  for (const char c : line)
    if (c == '\r' || c == '\n' || c == '\0') throw ArgumentError("a multipart header holds a control character");
  body.remove_prefix(end + 2);
  return line;
}

void read_disposition(std::string_view value, FormPart& part) {
  const std::string_view kind = take_token(value);
  const auto parameters = parse_parameters(value);
  const std::string* name = parameters ? find_parameter(*parameters, "name") : nullptr;
  if (!same_text(kind, "form-data") || !name)
    throw ArgumentError("a multipart part needs Content-Disposition: form-data with a name");
  part.name = *name;
  if (const std::string* filename = find_parameter(*parameters, "filename")) part.filename = *filename;
}

FormPart read_headers(std::string_view& body) {
  FormPart part;
  bool disposed = false;
  size_t left = kPartHeaderBytes;
  for (size_t count = 0;; ++count) {
    const std::string_view line = take_line(body, left);
    if (line.empty()) break;
    left -= line.size();
    if (count == kPartHeaders) throw ArgumentError("a multipart part has more than {} headers", kPartHeaders);
    std::string_view value = line;
    const std::string_view name = take_token(value);
    if (name.empty() || value.empty() || value[0] != ':') throw ArgumentError("a multipart header is malformed");
    value.remove_prefix(1);
    skip_spaces(value);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    if (same_text(name, "content-disposition")) {
      if (disposed) throw ArgumentError("a multipart part has two Content-Disposition headers");
      disposed = true;
      read_disposition(value, part);
    } else if (same_text(name, "content-type")) {
      part.content_type = value;
    } else if (same_text(name, "content-transfer-encoding")) {
      if (!same_text(value, "binary") && !same_text(value, "8bit") && !same_text(value, "7bit"))
        throw ArgumentError("encoded multipart parts are not accepted");
    }
  }
  if (!disposed) throw ArgumentError("a multipart part needs Content-Disposition: form-data with a name");
  return part;
}

// Behind a delimiter: true when the body ends here, false when a part follows, nullopt when it was no delimiter.
std::optional<bool> take_delimiter_end(std::string_view& body) {
  if (body.starts_with("--")) {
    body.remove_prefix(2);
    return true;
  }
  std::string_view rest = body;
  skip_spaces(rest);
  if (!rest.starts_with("\r\n")) return std::nullopt;
  body = rest.substr(2);
  return false;
}

}  // namespace

std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body, size_t max_parts) {
  const std::string delimiter = "\r\n--" + read_boundary(content_type);
  const std::string_view first = std::string_view(delimiter).substr(2);
  if (body.starts_with("\r\n")) body.remove_prefix(2);
  if (!body.starts_with(first)) throw ArgumentError("the multipart body does not begin with its boundary");
  body.remove_prefix(first.size());
  std::optional<bool> last = take_delimiter_end(body);
  if (!last) throw ArgumentError("the multipart body does not begin with its boundary");
  std::vector<FormPart> parts;
  while (!*last) {
    if (parts.size() == max_parts) throw ArgumentError("the form has more than {} parts", max_parts);
    FormPart part = read_headers(body);
    const char* const begin = body.data();
    last.reset();
    while (!last) {
      const void* found = memmem(body.data(), body.size(), delimiter.data(), delimiter.size());  // linear in time
      if (!found) throw ArgumentError("the multipart body ends before its last boundary");
      const char* const end = static_cast<const char*>(found);
      body.remove_prefix(static_cast<size_t>(end - body.data()) + delimiter.size());
      part.data = {begin, static_cast<size_t>(end - begin)};
      last = take_delimiter_end(body);
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace inkling::server
