// The rules of HTTP/1.1 on the wire, without sockets: what a request head, a target and a chunked body may look like.
// Stricter than the RFC allows where leniency lets two programs read one request differently (request smuggling).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/http.h"

namespace inkling::server {

// Why a request is refused; texts are fixed, so that nothing of the request or of the program gets into an answer.
struct WireError {
  int status = 400;
  const char* code = "bad_request";
  const char* message = "";
};

HttpResponse error_response(int status, std::string_view code, std::string_view message);
HttpResponse error_response(const WireError& error);

const char* reason_phrase(int status);

// Finds the end of a request head while it arrives. Refuses bare CR and LF, NUL and other control characters, folded
// lines, and too much of anything, as soon as the bytes are there.
class HeadScanner {
 public:
  explicit HeadScanner(const HttpLimits& limits) : limits_(limits) {}
  enum class State { more, complete, refused };
  // `text`: all bytes of this request so far, which only grow at the end between calls.
  State scan(std::string_view text);
  size_t begin() const { return begin_; }  // one empty line before the request line is forgiven
  size_t end() const { return at_; }       // behind the empty line; after `complete`
  const WireError& error() const { return error_; }

 private:
  State refuse(WireError error);
  State end_of_line();

  const HttpLimits& limits_;
  size_t at_ = 0, begin_ = 0, line_ = 0, lines_ = 0;
  char previous_ = 0;
  WireError error_;
};

// Fills path and query of the request from a target in origin form.
std::optional<WireError> decode_target(std::string_view target, HttpRequest& request);

// Decodes a chunked body piece by piece.
class ChunkDecoder {
 public:
  ChunkDecoder(uint64_t body_limit, size_t max_chunks) : body_limit_(body_limit), max_chunks_(max_chunks) {}
  enum class State { more, complete, refused };
  // Takes what it can from the front of `input` and appends data to `body`.
  State feed(std::string_view& input, std::string& body);
  const WireError& error() const { return error_; }

 private:
  enum class Part { line, data, data_end, trailer };
  State refuse(WireError error);
  State end_of_size();

  uint64_t body_limit_;
  size_t max_chunks_;
  Part part_ = Part::line;
  std::string line_;  // at most kLineBytes
  uint64_t left_ = 0, total_ = 0;
  size_t chunks_ = 0, trailer_bytes_ = 0;
  WireError error_;
};

bool valid_utf8(std::string_view text);
bool same_text(std::string_view a, std::string_view b);  // ASCII letters in either case

}  // namespace inkling::server
