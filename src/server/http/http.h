// What the service sees of HTTP: complete requests in, answers or streams out. Behind it (listener.cc) is Boost.Beast
// on one thread, with the limits, deadlines and caps that keep slow or hostile clients from mattering to others.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace inkling::server {

struct HttpRequest {
  std::string method;  // upper case
  std::string path;    // percent-decoded; never holds NUL, backslash, "//" or a ".." segment
  std::vector<std::pair<std::string, std::string>> query;    // decoded, in order
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string peer;                                  // the client's address, without port
  std::string id;                                    // 16 hex digits, sent back as x-request-id
  std::chrono::steady_clock::time_point received{};  // when its head was complete

  std::string_view header(std::string_view lower_case_name) const;  // empty: absent
  std::string_view parameter(std::string_view name) const;          // of the query; empty: absent
  // The trace that the caller follows this request by (W3C Trace Context, header traceparent): 32 hex digits, or empty.
  std::string_view trace_id() const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::shared_ptr<const std::string> body;  // shared, so that a picture is never copied; null: empty
};

HttpResponse text_response(int status, std::string body, std::string content_type = "application/json");

// A stream to one client: server-sent events or a WebSocket. Writes are queued; a client that does not take them is
// cut.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  // false: not queued, as the stream is closed, or `droppable` while earlier writes still wait.
  virtual bool write(std::string text, bool droppable = false) = 0;
  virtual void close() = 0;  // after what was queued
  virtual bool open() const = 0;
  virtual void on_close(std::function<void()> call) = 0;  // once, when the client is gone or close() is done
  virtual void on_message(std::function<void(std::string)> call) = 0;  // WebSocket text frames, at most 64 KiB each
};

// The one answer to a request. May be kept and used later; the last owner gone without an answer sends a 500.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void send(HttpResponse response) = 0;
  // Sends the head; the body follows as the stream's writes (chunked). For text/event-stream a comment every 15 s keeps
  // proxies patient.
  virtual std::shared_ptr<HttpStream> stream(HttpResponse head) = 0;
  // For a WebSocket upgrade request only (is_websocket); answers 101.
  virtual std::shared_ptr<HttpStream> websocket() = 0;
  virtual bool is_websocket() const = 0;
  virtual void on_disconnect(std::function<void()> call) = 0;  // the client left before the answer was sent
};

// Called when the head has arrived and before any body is read. A response refuses the request at once (the connection
// is closed when a body would follow); else `body_limit` says how many bytes may come.
struct HeadVerdict {
  std::optional<HttpResponse> refusal;
  uint64_t body_limit = 0;
};
using HeadCheck = std::function<HeadVerdict(const HttpRequest& head)>;
using Handler = std::function<void(HttpRequest, std::shared_ptr<Responder>)>;

struct HttpLimits {
  size_t header_bytes = 64 * 1024;             // of the request line and all headers: 431
  size_t header_fields = 64;                   // 431
  size_t target_bytes = 8 * 1024;              // 414
  size_t chunks = 10'000;                      // of a chunked body: 400
  double header_seconds = 10;                  // in total, from the first byte or the accept: the connection is closed
  double idle_seconds = 30;                    // between requests of a kept connection
  double body_bytes_per_second = 10 * 1024;    // slower uploads are cut (408), after 10 s of grace
  double answer_bytes_per_second = 64 * 1024;  // slower readers are cut, after 10 s of grace
  size_t connections = 256;  // beyond it the oldest connection that has not yet sent a whole head is closed, else 503
  size_t connections_per_address = 16;  // 429
  size_t stream_bytes = 8 << 20;        // queued for one slow stream: it is cut
};

struct HttpCounters {
  uint64_t accepted = 0, requests = 0, refused_heads = 0, timeouts = 0, protocol_errors = 0;
  size_t open = 0;
};

class HttpServer {
 public:
  // `wrap_up` sees every response before it is sent (security headers, metrics); may be empty.
  using WrapUp = std::function<void(const HttpRequest&, HttpResponse&)>;
  HttpServer(boost::asio::io_context& io, HttpLimits limits, HeadCheck check, Handler handler, WrapUp wrap_up = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Returns the port (that the system chose, for port 0). Throws RuntimeError with what to do, e.g. when it is taken.
  uint16_t listen(const std::string& address, uint16_t port);
  void stop_accepting();
  // Closes connections that wait for a request; those with an answer under way may finish until close_all().
  void close_idle();
  void close_all();
  HttpCounters counters() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// One part of multipart/form-data.
struct FormPart {
  std::string name, filename, content_type;
  std::string_view data;  // into the body
};
// Throws ArgumentError for a missing or wrong boundary, a header that is too long, more than `max_parts` parts.
std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body, size_t max_parts = 64);

}  // namespace inkling::server
