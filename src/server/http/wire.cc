#include "server/http/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace inkling::server {

namespace {

constexpr size_t kChunkLineBytes = 256;  // a size and an extension that nobody uses
constexpr size_t kTrailerBytes = 4096;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  if (!valid_utf8(out)) return std::nullopt;
  return out;
}

// False for what must never reach a router or a file system.
bool harmless_path(std::string_view path) {
  if (path.empty() || path[0] != '/') return false;
  if (std::any_of(path.begin(), path.end(), [](char c) { return is_control(c) || c == '\\'; })) return false;
  if (path.find("//") != std::string_view::npos) return false;
  for (size_t begin = 1; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment == ".." || segment == ".") return false;
    begin = end + 1;
  }
  return true;
}

std::string json_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (is_control(c)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

HttpResponse error_response(int status, std::string_view code, std::string_view message) {
  const char* type = status >= 500 ? "server_error" : "invalid_request_error";
  if (status == 429) type = "rate_limit_error";
  const std::string text = valid_utf8(message) ? json_escape(message) : "bad text";
  HttpResponse response = text_response(
      status, fmt::format(R"({{"error":{{"message":"{}","type":"{}","param":null,"code":"{}"}}}})", text, type, code));
  if (status == 429 || status == 503) response.headers.emplace_back("retry-after", "1");
  return response;
}

HttpResponse error_response(const WireError& error) { return error_response(error.status, error.code, error.message); }

const char* reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
  }
}

HeadScanner::State HeadScanner::refuse(WireError error) {
  error_ = error;
  return State::refused;
}

HeadScanner::State HeadScanner::end_of_line() {
  const size_t length = at_ - line_ - 1;  // without CR; at_ is at LF
  line_ = at_ + 1;
  if (length > 0) {
    if (++lines_ > limits_.header_fields + 1)
      return refuse({431, "too_many_headers", "The request has too many header fields."});
    return State::more;
  }
  if (lines_ > 0) return State::complete;
  if (begin_ > 0) return refuse({400, "bad_request", "The request begins with empty lines."});
  begin_ = line_;
  return State::more;
}

HeadScanner::State HeadScanner::scan(std::string_view text) {
  for (; at_ < text.size(); ++at_) {
    const char c = text[at_];
    if (previous_ == '\r' && c != '\n') return refuse({400, "bad_request", "A line ends with CR alone."});
    if (c == '\n') {
      if (previous_ != '\r') return refuse({400, "bad_request", "A line ends with LF alone."});
      const State state = end_of_line();
      if (state == State::complete) ++at_;
      if (state != State::more) return state;
    } else if (is_control(c) && c != '\t' && c != '\r') {
      return refuse({400, "bad_request", "The request head holds a control character."});
    } else if ((c == ' ' || c == '\t') && at_ == line_) {
      return refuse({400, "bad_request", "Folded header lines are not accepted."});
    }
    previous_ = c;
    if (lines_ == 0 && at_ - line_ > limits_.target_bytes + 64 && at_ > line_)
      return refuse({414, "uri_too_long", "The request target is too long."});
    if (at_ >= limits_.header_bytes) return refuse({431, "headers_too_large", "The request head is too large."});
  }
  return State::more;
}

std::optional<WireError> decode_target(std::string_view target, HttpRequest& request) {
  const WireError bad{400, "bad_target", "The request target is not a valid path."};
  if (target.empty() || target[0] != '/' || target.find('#') != std::string_view::npos) return bad;
  const size_t mark = std::min(target.find('?'), target.size());
  std::optional<std::string> path = percent_decode(target.substr(0, mark), false);
  if (!path) return bad;
  if (!harmless_path(*path)) return WireError{404, "not_found", "There is nothing at this path."};
  request.path = std::move(*path);
  if (mark == target.size()) return std::nullopt;
  const std::string_view query = target.substr(mark + 1);
  for (size_t begin = 0; begin < query.size();) {
    const size_t end = std::min(query.find('&', begin), query.size());
    const std::string_view pair = query.substr(begin, end - begin);
    begin = end + 1;
    if (pair.empty()) continue;
    const size_t equal = std::min(pair.find('='), pair.size());
    auto name = percent_decode(pair.substr(0, equal), true);
    auto value = percent_decode(equal < pair.size() ? pair.substr(equal + 1) : std::string_view(), true);
    if (!name || !value || name->find('\0') != std::string::npos || value->find('\0') != std::string::npos) return bad;
    request.query.emplace_back(std::move(*name), std::move(*value));
  }
  return std::nullopt;
}

ChunkDecoder::State ChunkDecoder::refuse(WireError error) {
  error_ = error;
  return State::refused;
}

// The line of a chunk's size is complete, without its CRLF.
ChunkDecoder::State ChunkDecoder::end_of_size() {
  const WireError bad{400, "bad_chunk", "The chunked body is malformed."};
  const std::string_view line = line_;
  const size_t digits = std::min(line.find(';'), line.size());
  if (digits == 0 || digits > 16) return refuse(bad);
  uint64_t size = 0;
  for (const char c : line.substr(0, digits)) {
    const int digit = hex_digit(c);
    if (digit < 0) return refuse(bad);
    size = size * 16 + static_cast<uint64_t>(digit);
  }
  line_.clear();
  if (size == 0) {
    part_ = Part::trailer;
    return State::more;
  }
  if (++chunks_ > max_chunks_) return refuse({400, "too_many_chunks", "The body comes in too many chunks."});
  if (size > body_limit_ - total_) return refuse({413, "body_too_large", "The request body is too large."});
  left_ = size;
  total_ += size;
  part_ = Part::data;
  return State::more;
}

ChunkDecoder::State ChunkDecoder::feed(std::string_view& input, std::string& body) {
  const WireError bad{400, "bad_chunk", "The chunked body is malformed."};
  while (!input.empty()) {
    if (part_ == Part::data) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, input.size()));
      body.append(input.substr(0, take));
      input.remove_prefix(take);
      left_ -= take;
      if (left_ == 0) part_ = Part::data_end;
      continue;
    }
    const char c = input.front();
    input.remove_prefix(1);
    const bool after_return = !line_.empty() && line_.back() == '\r';
    if (after_return != (c == '\n')) return refuse(bad);
    if (is_control(c) && c != '\n' && c != '\r' && c != '\t') return refuse(bad);
    if (c != '\n') {
      line_ += c;
      if (line_.size() > kChunkLineBytes && part_ != Part::trailer) return refuse(bad);
      if (part_ == Part::data_end && c != '\r') return refuse(bad);
      if (part_ == Part::trailer && ++trailer_bytes_ > kTrailerBytes) return refuse(bad);
      continue;
    }
    line_.pop_back();
    if (part_ == Part::data_end) {
      line_.clear();
      part_ = Part::line;
    } else if (part_ == Part::line) {
      if (end_of_size() == State::refused) return State::refused;
    } else {  // trailers are read and dropped
      if (line_.empty()) return State::complete;
      line_.clear();
    }
  }
  return State::more;
}

bool valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || i + more >= text.size()) return false;
    uint32_t code = lead & (0x3fu >> more);
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
      code = code << 6 | (byte(i + k) & 0x3fu);
    }
    constexpr std::array<uint32_t, 4> kLeast{0, 0x80, 0x800, 0x10000};
    if (code < kLeast[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
    i += more + 1;
  }
  return true;
}

bool same_text(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace inkling::server
