// The HTTP server on Boost.Asio coroutines and Beast. All of Beast's templates are compiled here and nowhere else.
//
// One connection is one coroutine, everything runs on the one thread of the io_context. Deadlines are not timers of
// their own: a sweep every 100 ms closes what is past its deadline and asks the kernel which clients of unanswered
// requests have left (so a pipelined request is never read by accident, and nothing has to be cancelled).
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>
#include <ctime>
#include <list>
#include <random>
#include <unordered_map>

#include "base/error.h"
#include "server/http/exchange.h"
#include "server/http/http.h"
#include "server/http/wire.h"

namespace inkling::server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using HeadParser = beast::http::request_parser<beast::http::empty_body>;

constexpr auto kSweep = std::chrono::milliseconds(100);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // out of descriptors and nothing to close
constexpr double kGrace = 10;                                  // seconds that a sender or reader may fall behind
constexpr double kLinger = 2;  // for the client to read an answer that came before its body was read
constexpr double kEventPing = 15;
constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kLingerBytes = 4 << 20;
constexpr size_t kMessageBytes = 64 * 1024;         // of a WebSocket message
constexpr size_t kFirstReserve = 1 << 20;           // of a body: more is reserved only when this much has come
constexpr size_t kBodiesBytes = size_t{512} << 20;  // of all bodies that are being read, else 503
constexpr size_t kRejects = 64;                     // connections over the caps that are told so at one time

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

// The time until which a transfer may go on: each byte pays for 1/rate seconds, with at most kGrace in hand.
class Pace {
 public:
  explicit Pace(double bytes_per_second) : rate_(bytes_per_second), until_(Clock::now() + seconds(kGrace)) {}
  Clock::time_point moved(size_t bytes) {
    const Clock::time_point paid = until_ + seconds(static_cast<double>(bytes) / rate_);
    return until_ = std::min(paid, Clock::now() + seconds(kGrace));
  }
  Clock::time_point until() const { return until_; }

 private:
  double rate_;
  Clock::time_point until_;
};

std::string make_id(std::mt19937_64& random) { return fmt::format("{:016x}", random()); }

std::string date_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

// A value of the service must not begin a header of its own.
void append_header(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  for (const char c : value) head += (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f ? ' ' : c;
  head += "\r\n";
}

bool owned_by_listener(std::string_view name) {
  return same_text(name, "content-length") || same_text(name, "transfer-encoding") || same_text(name, "connection") ||
         same_text(name, "x-request-id") || same_text(name, "date");
}

enum class Framing { length, chunked, until_close };

std::string head_text(const HttpResponse& response, const std::string& id, bool keep, Framing framing) {
  std::string head;
  head.reserve(512);
  head += fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason_phrase(response.status));
  append_header(head, "date", date_text());
  append_header(head, "x-request-id", id);
  const bool bodyless = response.status == 204 || response.status == 304;
  if (!bodyless && !response.content_type.empty()) append_header(head, "content-type", response.content_type);
  if (framing == Framing::chunked) head += "transfer-encoding: chunked\r\n";
  if (framing == Framing::length && !bodyless)
    head += fmt::format("content-length: {}\r\n", response.body ? response.body->size() : 0);
  head += keep ? "connection: keep-alive\r\n" : "connection: close\r\n";
  for (const auto& [name, value] : response.headers)
    if (!owned_by_listener(name)) append_header(head, name, value);
  return head += "\r\n";
}

class ExchangeResponder : public Responder {
 public:
  explicit ExchangeResponder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeResponder() override {
    if (exchange_->answered) return;
    try {
      exchange_->send(error_response(500, "internal_error", "The server gave no answer."));
    } catch (...) {  // out of memory: the connection is closed by the sweep when the client leaves
    }
  }
  void send(HttpResponse response) override { exchange_->send(std::move(response)); }
  std::shared_ptr<HttpStream> stream(HttpResponse head) override {
    if (exchange_->answered) return exchange_->open_stream(StreamState::Kind::body);
    const bool events = head.content_type.starts_with("text/event-stream");
    exchange_->response = std::move(head);
    return exchange_->open_stream(events ? StreamState::Kind::events : StreamState::Kind::body);
  }
  std::shared_ptr<HttpStream> websocket() override {
    if (exchange_->answered || exchange_->websocket_request)
      return exchange_->open_stream(StreamState::Kind::websocket);
    exchange_->send(error_response(426, "upgrade_required", "This path speaks WebSocket only."));
    return exchange_->open_stream(StreamState::Kind::websocket);  // closed
  }
  bool is_websocket() const override { return exchange_->websocket_request; }
  void on_disconnect(std::function<void()> call) override {
    if (exchange_->answered) return;
    if (exchange_->disconnected)
      call_safely(call);
    else
      exchange_->on_disconnect = std::move(call);
  }

 private:
  std::shared_ptr<Exchange> exchange_;
};

class Connection;
using Connections = std::list<std::shared_ptr<Connection>>;

struct Server : std::enable_shared_from_this<Server> {
  Server(asio::io_context& context, HttpLimits given, HeadCheck check, Handler handle, HttpServer::WrapUp wrap)
      : io(context),
        limits(given),
        head_check(std::move(check)),
        handler(std::move(handle)),
        wrap_up(std::move(wrap)),
        ticker(context),
        random(std::random_device{}()) {}

  asio::io_context& io;
  HttpLimits limits;
  HeadCheck head_check;
  Handler handler;
  HttpServer::WrapUp wrap_up;
  asio::steady_timer ticker;
  std::mt19937_64 random;
  std::list<tcp::acceptor> acceptors;
  Connections connections;
  std::unordered_map<std::string, size_t> per_address;  // of the connections that count
  HttpCounters counters;
  size_t rejects = 0;
  size_t body_bytes = 0;  // of bodies being read
  bool accepting = false, draining = false, stopped = false, sweeping = false;

  asio::awaitable<void> accept(tcp::acceptor& acceptor);
  asio::awaitable<void> sweep();
  void admit(tcp::socket socket);
  bool evict_oldest();
  bool evict_idle(const std::string& peer);
  void finish_response(const HttpRequest& request, HttpResponse& response) {
    if (!wrap_up) return;
    try {
      wrap_up(request, response);
    } catch (...) {  // an answer without its decoration is better than none
    }
  }
};

class Connection : public Wakeable, public std::enable_shared_from_this<Connection> {
 public:
  enum class State { idle, head, body, working, writing, streaming, websocket, lingering };

  Connection(std::shared_ptr<Server> server, tcp::socket socket, std::string peer, int reject_status)
      : server_(std::move(server)),
        socket_(std::move(socket)),
        signal_(server_->io, Clock::time_point::max()),
        peer_(std::move(peer)),
        reject_status_(reject_status) {
    set_state(State::head, seconds(server_->limits.header_seconds));
  }

  asio::awaitable<void> run();
  void sweep(Clock::time_point now);
  void wake() override { signal_.cancel(); }
  void cut() override { shut(); }
  void shut();      // closes the socket; the coroutine ends by itself
  void silence() {  // no callback any more: the service may be gone
    if (exchange_) exchange_->silence();
  }
  bool counts() const { return reject_status_ == 0; }
  bool idle() const { return state_ == State::idle; }
  bool waits() const { return state_ == State::idle || state_ == State::head || state_ == State::lingering; }
  bool watched() const { return state_ == State::working || state_ == State::streaming; }
  Clock::time_point since() const { return since_; }
  int descriptor() { return socket_.native_handle(); }
  const std::string& peer() const { return peer_; }

  Connections::iterator place;  // in the server's list

 private:
  enum class Input { ok, closed, timed_out };

  void set_state(State state, Clock::duration allowed) {
    state_ = state;
    since_ = Clock::now();
    deadline_ = since_ + allowed;
  }
  void set_state(State state) {
    state_ = state;
    since_ = Clock::now();
    deadline_ = Clock::time_point::max();
  }
  asio::awaitable<Input> read_more(std::string& into);
  asio::awaitable<bool> write(std::array<asio::const_buffer, 3> buffers);
  asio::awaitable<bool> write_response(HttpResponse response);
  asio::awaitable<bool> refuse(HttpResponse response, bool close);
  asio::awaitable<bool> refuse(WireError error);
  asio::awaitable<void> linger();
  asio::awaitable<void> wait_for_signal();
  asio::awaitable<bool> serve_one();
  asio::awaitable<bool> read_head();
  std::optional<WireError> parse_head(std::string_view text);
  asio::awaitable<bool> read_body(uint64_t limit);
  asio::awaitable<bool> answer();
  asio::awaitable<bool> run_stream(HttpResponse head, std::shared_ptr<StreamState> stream);
  asio::awaitable<bool> run_websocket(std::shared_ptr<StreamState> stream);

  std::shared_ptr<Server> server_;
  tcp::socket socket_;
  asio::steady_timer signal_;
  std::string peer_;
  const int reject_status_;
  State state_ = State::head;
  Clock::time_point since_, deadline_;
  bool shut_ = false, timed_out_ = false;
  std::string input_;  // read, and not yet used
  bool first_ = true;

  // Of the present request.
  HttpRequest request_;  // its body is moved to the handler, its head stays for wrap_up
  beast::http::request<beast::http::empty_body> message_;
  bool keep_ = false, chunked_ = false, expects_continue_ = false, has_body_ = false;
  uint64_t length_ = 0;
  std::shared_ptr<Exchange> exchange_;
};

void Connection::shut() {
  if (shut_) return;
  shut_ = true;
  error_code ignored;
  socket_.close(ignored);
  signal_.cancel();
  if (counts()) {
    const auto entry = server_->per_address.find(peer_);
    if (--entry->second == 0) server_->per_address.erase(entry);
    --server_->counters.open;
  } else {
    --server_->rejects;
  }
  const std::shared_ptr<Connection> self = std::move(*place);
  server_->connections.erase(place);
}

void Connection::sweep(Clock::time_point now) {
  if (shut_) return;
  if (now < deadline_) {
    const auto stream = exchange_ ? exchange_->stream : nullptr;
    if (state_ == State::streaming && stream && stream->kind == StreamState::Kind::events && stream->queue.empty() &&
        !stream->sending && now - since_ > seconds(kEventPing))
      stream->write(": ping\n\n", true);
    return;
  }
  if (state_ != State::idle && state_ != State::lingering) ++server_->counters.timeouts;
  const bool tell = state_ == State::body || (state_ == State::head && !input_.empty() && counts());
  if (!tell || timed_out_) {
    shut();
    return;
  }
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

asio::awaitable<Connection::Input> Connection::read_more(std::string& into) {
  const size_t size = into.size();
  into.resize(size + kReadBytes);
  error_code error;
  const size_t count = co_await socket_.async_read_some(asio::buffer(into.data() + size, kReadBytes),
                                                        asio::redirect_error(asio::use_awaitable, error));
  into.resize(size + count);
  if (shut_) co_return Input::closed;
  if (timed_out_) co_return Input::timed_out;
  co_return error ? Input::closed : Input::ok;
}

// All of the buffers, at the pace of HttpLimits; false: the connection is of no more use.
asio::awaitable<bool> Connection::write(std::array<asio::const_buffer, 3> buffers) {
  Pace pace(server_->limits.answer_bytes_per_second);
  size_t first = 0;
  while (true) {
    while (first < buffers.size() && buffers[first].size() == 0) ++first;
    if (first == buffers.size()) co_return !shut_;
    deadline_ = pace.until();
    error_code error;
    size_t count = co_await socket_.async_write_some(buffers, asio::redirect_error(asio::use_awaitable, error));
    if (shut_ || error) co_return false;
    deadline_ = pace.moved(count);
    for (size_t i = first; i < buffers.size() && count > 0; ++i) {
      const size_t part = std::min(count, buffers[i].size());
      buffers[i] += part;
      count -= part;
    }
  }
}

asio::awaitable<bool> Connection::write_response(HttpResponse response) {
  server_->finish_response(request_, response);
  if (server_->draining) keep_ = false;
  set_state(State::writing, seconds(kGrace));
  const std::string head = head_text(response, request_.id, keep_, Framing::length);
  const bool bodyless = request_.method == "HEAD" || response.status == 204 || response.status == 304;
  std::array<asio::const_buffer, 3> buffers{asio::buffer(head)};
  if (!bodyless && response.body) buffers[1] = asio::buffer(*response.body);
  const bool sent = co_await write(buffers);
  co_return sent&& keep_;
}

asio::awaitable<bool> Connection::refuse(HttpResponse response, bool close) {
  if (close) keep_ = false;
  if (request_.id.empty()) request_.id = make_id(server_->random);
  const bool keep = co_await write_response(std::move(response));
  co_return keep;
}

asio::awaitable<bool> Connection::refuse(WireError error) {
  if (error.status == 400)
    ++server_->counters.protocol_errors;
  else if (error.status != 408)
    ++server_->counters.refused_heads;
  const bool keep = co_await refuse(error_response(error), true);
  co_return keep;
}

// Lets the client read an answer while it still sends: closing with unread bytes would reset the connection.
asio::awaitable<void> Connection::linger() {
  if (shut_) co_return;
  set_state(State::lingering, seconds(kLinger));
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  input_.clear();
  for (size_t total = 0; total < kLingerBytes && !shut_;) {
    const Input input = co_await read_more(input_);
    if (input != Input::ok) break;
    total += input_.size();
    input_.clear();
  }
}

asio::awaitable<void> Connection::wait_for_signal() {
  error_code ignored;
  co_await signal_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

asio::awaitable<void> Connection::run() {
  try {
    if (!counts()) {
      const bool many = reject_status_ == 429;
      request_.peer = peer_;
      co_await refuse(
          WireError{reject_status_, many ? "too_many_connections" : "overloaded",
                    many ? "Too many connections from this address." : "The server has no connection free."});
    } else {
      bool more = true;
      while (more) more = co_await serve_one();
    }
    co_await linger();
  } catch (...) {  // out of memory: this connection ends, the others go on
  }
  shut();
  if (exchange_) exchange_->disconnect();
  exchange_ = nullptr;
}

asio::awaitable<bool> Connection::serve_one() {
  request_ = HttpRequest();
  request_.peer = peer_;
  request_.id = make_id(server_->random);
  keep_ = chunked_ = expects_continue_ = has_body_ = false;
  length_ = 0;
  const bool complete = co_await read_head();
  if (!complete) co_return false;
  ++server_->counters.requests;
  request_.received = Clock::now();
  set_state(State::body, seconds(kGrace));

  HeadVerdict verdict;
  try {
    if (server_->head_check) verdict = server_->head_check(request_);
  } catch (...) {
    verdict.refusal = error_response(500, "internal_error", "The server failed.");
  }
  if (shut_) co_return false;
  if (verdict.refusal) {
    ++server_->counters.refused_heads;
    const bool keep = co_await refuse(std::move(*verdict.refusal), has_body_);
    co_return keep;
  }
  if (has_body_) {
    const bool read = co_await read_body(verdict.body_limit);
    if (!read) co_return false;
  }
  const bool keep = co_await answer();
  co_return keep;
}

asio::awaitable<bool> Connection::read_head() {
  HeadScanner scanner(server_->limits);
  HeadScanner::State scanned = HeadScanner::State::more;
  if (!first_) {
    if (server_->draining && input_.empty()) co_return false;
    set_state(State::idle, seconds(server_->limits.idle_seconds));
  }
  while (true) {
    if (!input_.empty()) {
      if (state_ == State::idle) set_state(State::head, seconds(server_->limits.header_seconds));
      scanned = scanner.scan(input_);
      if (scanned != HeadScanner::State::more) break;
    }
    const Input input = co_await read_more(input_);
    if (input == Input::timed_out) {
      co_await refuse(WireError{408, "timeout", "The request head took too long."});
      co_return false;
    }
    if (input == Input::closed) co_return false;
  }
  first_ = false;
  std::optional<WireError> error;
  if (scanned == HeadScanner::State::refused)
    error = scanner.error();
  else
    error = parse_head(std::string_view(input_).substr(scanner.begin(), scanner.end() - scanner.begin()));
  if (error) {
    co_await refuse(*error);
    co_return false;
  }
  input_.erase(0, scanner.end());
  co_return true;
}

std::optional<WireError> Connection::parse_head(std::string_view text) {
  const auto bad = [](const char* message) { return WireError{400, "bad_request", message}; };
  HeadParser parser;
  parser.header_limit(static_cast<uint32_t>(server_->limits.header_bytes + 4));
  parser.body_limit(boost::none);
  error_code error;
  parser.put(asio::buffer(text.data(), text.size()), error);
  const std::string_view line = text.substr(0, text.find('\r'));
  if (error == beast::http::error::bad_version && std::count(line.begin(), line.end(), ' ') == 2)
    return WireError{505, "bad_version", "Only HTTP/1.0 and HTTP/1.1 are spoken."};
  if (error || !parser.is_header_done()) return bad("The request head is malformed.");
  message_ = parser.release();

  request_.method = std::string(message_.method_string());
  const auto capital = [](char c) { return (c >= 'A' && c <= 'Z') || c == '-'; };
  if (request_.method.size() > 32 || !std::all_of(request_.method.begin(), request_.method.end(), capital)) {
    request_.method = "GET";
    return bad("The request method is not known.");
  }
  if (message_.version() != 10 && message_.version() != 11)
    return WireError{505, "bad_version", "Only HTTP/1.0 and HTTP/1.1 are spoken."};

  size_t lengths = 0, encodings = 0, hosts = 0;
  for (const auto& field : message_) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    const std::string_view value(field.value().data(), field.value().size());
    if (name == "content-length") {
      ++lengths;
      const auto digit = [](char c) { return c >= '0' && c <= '9'; };
      if (value.empty() || value.size() > 18 || !std::all_of(value.begin(), value.end(), digit))
        return bad("Content-Length is not a number.");
      length_ = std::stoull(std::string(value));
    } else if (name == "transfer-encoding") {
      ++encodings;
      if (!same_text(value, "chunked")) return bad("Only the transfer encoding chunked is accepted.");
      chunked_ = true;
    } else if (name == "host") {
      ++hosts;
    } else if (name == "content-encoding" && !value.empty() && !same_text(value, "identity")) {
      return WireError{415, "unsupported_encoding", "Compressed request bodies are not accepted."};
    } else if (name == "expect") {
      if (!same_text(value, "100-continue"))
        return WireError{417, "expectation_failed", "This expectation cannot be met."};
      expects_continue_ = message_.version() == 11;
    }
    request_.headers.emplace_back(std::move(name), value);
  }
  if (lengths > 1 || encodings > 1 || lengths + encodings > 1) return bad("The length of the body is stated twice.");
  if (encodings > 0 && message_.version() == 10) return bad("HTTP/1.0 has no chunked bodies.");
  if (hosts > 1 || (hosts == 0 && message_.version() == 11)) return bad("There must be one Host header.");
  has_body_ = chunked_ || length_ > 0;
  keep_ = message_.keep_alive();

  std::string_view target(message_.target().data(), message_.target().size());
  if (target.size() > server_->limits.target_bytes)
    return WireError{414, "uri_too_long", "The request target is too long."};
  if (target.starts_with("http://")) {  // absolute form, as to a proxy: its authority overrules Host
    const size_t slash = std::min(target.find('/', 7), target.size());
    for (auto& [name, value] : request_.headers)
      if (name == "host") value = target.substr(7, slash - 7);
    target.remove_prefix(slash);
    if (target.empty()) target = "/";
  }
  return decode_target(target, request_);
}

// A body's bytes count against the sum of all bodies until it is given to the handler or dropped.
class BodyShare {
 public:
  explicit BodyShare(size_t& total) : total_(total) {}
  ~BodyShare() { total_ -= mine_; }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;
  bool grow_to(size_t bytes) {
    total_ += bytes - mine_;
    mine_ = bytes;
    return total_ <= kBodiesBytes;
  }

 private:
  size_t& total_;
  size_t mine_ = 0;
};

asio::awaitable<bool> Connection::read_body(uint64_t limit) {
  ChunkDecoder decoder(limit, server_->limits.chunks);
  std::optional<WireError> error;
  if (!chunked_ && length_ > limit) error = WireError{413, "body_too_large", "The request body is too large."};
  if (!error && expects_continue_ && input_.empty()) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const std::array<asio::const_buffer, 3> buffers{asio::buffer(kContinue.data(), kContinue.size())};
    const bool sent = co_await write(buffers);
    if (!sent) co_return false;
  }
  BodyShare share(server_->body_bytes);
  Pace pace(server_->limits.body_bytes_per_second);
  std::string& body = request_.body;
  if (!chunked_ && !error) body.reserve(std::min<uint64_t>(length_, kFirstReserve));
  while (!error) {
    bool complete = false;
    if (chunked_) {
      std::string_view rest = input_;
      const ChunkDecoder::State state = decoder.feed(rest, body);
      input_.erase(0, input_.size() - rest.size());
      if (state == ChunkDecoder::State::refused) error = decoder.error();
      complete = state == ChunkDecoder::State::complete;
      // Doubling would hold the body twice; what is reserved and not written costs address space only.
      if (body.size() > kFirstReserve && body.capacity() < limit) body.reserve(limit);
    } else {
      const size_t take = std::min<uint64_t>(length_ - body.size(), input_.size());
      if (body.size() + take > kFirstReserve) body.reserve(length_);
      body.append(input_, 0, take);
      input_.erase(0, take);
      complete = body.size() == length_;
    }
    if (error) break;
    if (!share.grow_to(body.size())) error = WireError{503, "overloaded", "The server is receiving too much at once."};
    if (error || complete) break;
    const size_t before = input_.size();
    deadline_ = pace.until();
    const Input input = co_await read_more(input_);
    if (input == Input::closed) co_return false;
    if (input == Input::timed_out) {
      error = WireError{408, "timeout", "The request body came too slowly."};
      break;
    }
    pace.moved(input_.size() - before);
  }
  if (!error) co_return true;
  std::string().swap(body);
  co_await refuse(*error);
  co_return false;
}

asio::awaitable<bool> Connection::answer() {
  const bool upgrade = beast::websocket::is_upgrade(message_) && !has_body_ && input_.empty();
  auto exchange = std::make_shared<Exchange>();
  exchange->connection = weak_from_this();
  exchange->websocket_request = upgrade;
  exchange->stream_limit = server_->limits.stream_bytes;
  exchange_ = exchange;
  set_state(State::working);
  {
    HttpRequest whole = request_;
    whole.body = std::move(request_.body);
    request_.body.clear();
    const auto responder = std::make_shared<ExchangeResponder>(exchange);
    try {
      if (server_->handler) server_->handler(std::move(whole), responder);
    } catch (const ArgumentError& error) {
      exchange->send(error_response(400, "bad_request", error.what()));
    } catch (...) {  // what() of others may name files or addresses
      exchange->send(error_response(500, "internal_error", "The server failed."));
    }
  }
  while (!exchange->answered && !shut_) co_await wait_for_signal();
  if (shut_) co_return false;
  bool keep = false;
  if (!exchange->stream) {
    HttpResponse response = std::move(*exchange->response);
    exchange->response.reset();
    keep = co_await write_response(std::move(response));
  } else if (exchange->stream->kind == StreamState::Kind::websocket) {
    keep = co_await run_websocket(exchange->stream);
  } else {
    HttpResponse head = std::move(*exchange->response);
    exchange->response.reset();
    keep = co_await run_stream(std::move(head), exchange->stream);
  }
  exchange->disconnect();
  exchange_ = nullptr;
  co_return keep;
}

asio::awaitable<bool> Connection::run_stream(HttpResponse head, std::shared_ptr<StreamState> stream) {
  const bool chunked = message_.version() == 11;
  server_->finish_response(request_, head);
  if (!chunked || server_->draining) keep_ = false;
  const std::string text = head_text(head, request_.id, keep_, chunked ? Framing::chunked : Framing::until_close);
  set_state(State::streaming);
  std::array<asio::const_buffer, 3> buffers{asio::buffer(text)};
  if (head.body && request_.method != "HEAD") stream->queue.push_front(*head.body);
  bool good = co_await write(buffers);
  const std::string_view line = "\r\n";
  while (good && request_.method != "HEAD") {
    set_state(State::streaming);
    if (stream->queue.empty()) {
      if (stream->closing) break;
      co_await wait_for_signal();
      good = !shut_;
      continue;
    }
    const std::string piece = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (piece.empty()) continue;
    stream->sending = true;
    const std::string size = chunked ? fmt::format("{:x}\r\n", piece.size()) : std::string();
    buffers = {asio::buffer(size), asio::buffer(piece), asio::buffer(line.data(), chunked ? line.size() : 0)};
    good = co_await write(buffers);
    stream->sending = false;
    stream->queued -= std::min(stream->queued, piece.size());
  }
  if (good && chunked && request_.method != "HEAD") {
    const std::string_view last = "0\r\n\r\n";
    buffers = {asio::buffer(last.data(), last.size())};
    good = co_await write(buffers);
  }
  stream->finish();
  co_return good&& keep_;
}

// Beast's stream over the connection's socket; read by a coroutine of its own while another one writes.
struct Messages {
  explicit Messages(tcp::socket& socket) : stream(socket) {}
  beast::websocket::stream<tcp::socket&, false> stream;
  bool reading = true;
  beast::websocket::close_code code = beast::websocket::close_code::normal;  // that the writer closes with
};

asio::awaitable<void> read_messages(std::shared_ptr<Messages> messages, std::shared_ptr<StreamState> state,
                                    std::shared_ptr<Wakeable> connection) {
  try {
    while (true) {
      beast::flat_buffer buffer;
      error_code error;
      co_await messages->stream.async_read(buffer, asio::redirect_error(asio::use_awaitable, error));
      if (error) break;
      if (!messages->stream.got_text()) {
        messages->code = beast::websocket::close_code::unknown_data;
        break;
      }
      const auto call = state->on_message;  // may replace itself
      const auto data = buffer.data();
      if (!call_safely(call, std::string(static_cast<const char*>(data.data()), data.size()))) break;
    }
  } catch (...) {
  }
  messages->reading = false;
  connection->wake();
}

asio::awaitable<bool> Connection::run_websocket(std::shared_ptr<StreamState> stream) {
  namespace websocket = beast::websocket;
  HttpResponse decoration;
  decoration.status = 101;
  server_->finish_response(request_, decoration);
  auto messages = std::make_shared<Messages>(socket_);
  auto& ws = messages->stream;
  websocket::stream_base::timeout timeout{};
  timeout.handshake_timeout = std::chrono::seconds(10);
  timeout.idle_timeout = std::chrono::seconds(60);
  timeout.keep_alive_pings = true;
  ws.set_option(timeout);
  ws.set_option(websocket::stream_base::decorator([&](websocket::response_type& response) {
    for (const auto& [name, value] : decoration.headers) response.set(name, value);
    response.set("x-request-id", request_.id);
    response.erase(beast::http::field::server);
  }));
  ws.read_message_max(kMessageBytes);
  ws.auto_fragment(false);
  ws.text(true);
  set_state(State::websocket, seconds(kGrace));
  error_code error;
  co_await ws.async_accept(message_, asio::redirect_error(asio::use_awaitable, error));
  if (shut_ || error) co_return false;
  asio::co_spawn(server_->io, read_messages(messages, stream, shared_from_this()), asio::detached);
  while (!error && messages->reading && !shut_) {
    set_state(State::websocket);
    if (stream->queue.empty()) {
      if (stream->closing) break;
      co_await wait_for_signal();
      continue;
    }
    const std::string piece = std::move(stream->queue.front());
    stream->queue.pop_front();
    stream->sending = true;
    deadline_ =
        Clock::now() + seconds(kGrace + static_cast<double>(piece.size()) / server_->limits.answer_bytes_per_second);
    co_await ws.async_write(asio::buffer(piece), asio::redirect_error(asio::use_awaitable, error));
    stream->sending = false;
    stream->queued -= std::min(stream->queued, piece.size());
  }
  if (!error && !shut_ && (messages->reading || messages->code != websocket::close_code::normal)) {
    set_state(State::websocket, seconds(kGrace));
    co_await ws.async_close(messages->code, asio::redirect_error(asio::use_awaitable, error));
  }
  shut();  // so that the reader ends, if it has not
  while (messages->reading) co_await wait_for_signal();
  stream->finish();
  co_return false;
}

void Server::admit(tcp::socket socket) {
  error_code error;
  const tcp::endpoint remote = socket.remote_endpoint(error);
  if (error) return;  // already gone
  asio::ip::address address = remote.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  std::string peer = address.to_string();
  socket.set_option(tcp::no_delay(true), error);
  ++counters.accepted;

  int reject_status = 0;
  const auto entry = per_address.find(peer);
  // Browsers keep connections that they may never use again: those make room for the same client's next one.
  if (entry != per_address.end() && entry->second >= limits.connections_per_address && !evict_idle(peer))
    reject_status = 429;
  else if (counters.open >= limits.connections && !evict_oldest())
    reject_status = 503;
  if (reject_status != 0) {
    if (rejects >= kRejects) return;  // closed without a word
    ++rejects;
  } else {
    ++per_address[peer];
    ++counters.open;
  }
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket), std::move(peer), reject_status);
  connection->place = connections.insert(connections.end(), connection);
  asio::co_spawn(
      io, [connection] { return connection->run(); }, asio::detached);
  if (!sweeping) {
    sweeping = true;
    asio::co_spawn(
        io, [self = shared_from_this()] { return self->sweep(); }, asio::detached);
  }
}

// The address's connection that has been kept without a request for longest.
bool Server::evict_idle(const std::string& peer) {
  std::shared_ptr<Connection> oldest;
  for (const auto& connection : connections)
    if (connection->counts() && connection->idle() && connection->peer() == peer &&
        (!oldest || connection->since() < oldest->since()))
      oldest = connection;
  if (!oldest) return false;
  oldest->shut();
  return true;
}

// The one that has waited longest for a head to become whole, of those that the caps count.
bool Server::evict_oldest() {
  std::shared_ptr<Connection> oldest;
  for (const auto& connection : connections)
    if (connection->counts() && connection->waits() && (!oldest || connection->since() < oldest->since()))
      oldest = connection;
  if (!oldest) return false;
  ++counters.timeouts;
  oldest->shut();
  return true;
}

asio::awaitable<void> Server::accept(tcp::acceptor& acceptor) {
  asio::steady_timer pause(io);
  while (accepting) {
    tcp::socket socket(io);
    error_code error;
    co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!accepting) break;
    if (!error) {
      try {
        admit(std::move(socket));
      } catch (const std::exception&) {  // out of memory
      }
      continue;
    }
    if (error == asio::error::connection_aborted || error == asio::error::interrupted) continue;
    // Out of descriptors or memory: a waiting connection makes room, else this passes.
    if (evict_oldest()) continue;
    pause.expires_after(kAcceptPause);
    error_code ignored;
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

// Runs while there are connections.
asio::awaitable<void> Server::sweep() {
  while (!connections.empty()) {
    ticker.expires_after(kSweep);
    error_code ignored;
    co_await ticker.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const Connections present = connections;  // closing one takes it off the list
    std::vector<pollfd> polled;
    std::vector<Connection*> owners;
    for (const auto& connection : present) {
      if (!connection->watched()) continue;
      polled.push_back({connection->descriptor(), POLLRDHUP, 0});
      owners.push_back(connection.get());
    }
    if (!polled.empty() && ::poll(polled.data(), polled.size(), 0) > 0)
      for (size_t i = 0; i < polled.size(); ++i)
        if (polled[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) owners[i]->shut();
    const Clock::time_point now = Clock::now();
    for (const auto& connection : present) connection->sweep(now);
  }
  sweeping = false;
}

}  // namespace

struct HttpServer::Impl : Server {
  using Server::Server;
};

HttpServer::HttpServer(asio::io_context& io, HttpLimits limits, HeadCheck check, Handler handler, WrapUp wrap_up)
    : impl_(std::make_shared<Impl>(io, limits, std::move(check), std::move(handler), std::move(wrap_up))) {}

HttpServer::~HttpServer() {
  impl_->handler = nullptr;
  impl_->head_check = nullptr;
  impl_->wrap_up = nullptr;
  for (const auto& connection : impl_->connections) connection->silence();
  stop_accepting();
  close_all();
}

uint16_t HttpServer::listen(const std::string& address, uint16_t port) {
  error_code error;
  const asio::ip::address parsed = asio::ip::make_address(address, error);
  if (error)
    throw RuntimeError("cannot listen on \"{}\": not an IP address; give one such as 127.0.0.1 or ::", address);
  const tcp::endpoint endpoint(parsed, port);
  tcp::acceptor acceptor(impl_->io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (error)
    throw RuntimeError("cannot listen on {} port {}: {}; choose another port or stop the program that uses it", address,
                       port, error.message());
  const uint16_t chosen = acceptor.local_endpoint().port();
  impl_->accepting = true;
  impl_->draining = false;
  impl_->acceptors.push_back(std::move(acceptor));
  asio::co_spawn(
      impl_->io,
      [server = impl_, &last = impl_->acceptors.back()]() -> asio::awaitable<void> { return server->accept(last); },
      asio::detached);
  return chosen;
}

void HttpServer::stop_accepting() {
  impl_->accepting = false;
  impl_->draining = true;
  error_code ignored;
  for (tcp::acceptor& acceptor : impl_->acceptors) acceptor.close(ignored);
}

void HttpServer::close_idle() {
  const Connections present = impl_->connections;
  for (const auto& connection : present)
    if (connection->waits()) connection->shut();
}

void HttpServer::close_all() {
  const Connections present = impl_->connections;
  for (const auto& connection : present) connection->shut();
}

HttpCounters HttpServer::counters() const { return impl_->counters; }

}  // namespace inkling::server
