#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <thread>
#include <vector>

#include "base/error.h"
#include "server/http/client.h"
#include "server/http/http.h"

namespace inkling::server {
namespace {

using namespace std::string_literals;
using testing::Answer;
using testing::RawClient;

constexpr uint64_t kBodyLimit = 1 << 20;

// Routes that show one behaviour each; what they keep lives on the thread of the io_context.
class Service {
 public:
  explicit Service(HttpLimits limits = {}) {
    server_ = std::make_unique<HttpServer>(
        io_, limits, [this](const HttpRequest& head) { return check(head); },
        [this](HttpRequest request, std::shared_ptr<Responder> responder) {
          handle(std::move(request), std::move(responder));
        },
        [this](const HttpRequest&, HttpResponse& response) {
          ++wrapped;
          response.headers.emplace_back("x-content-type-options", "nosniff");
        });
    port = server_->listen("127.0.0.1", 0);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Service() {
    on_thread([&](Service&) {
      kept.clear();
      streams.clear();
      server_.reset();
    });
    guard_.reset();
    thread_.join();
  }
  template <typename F>
  void on_thread(F function) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
      function(*this);
      done.set_value();
    });
    done.get_future().get();
  }
  HttpCounters counters() {
    HttpCounters counters;
    on_thread([&](Service&) { counters = server_->counters(); });
    return counters;
  }
  HttpServer& server() { return *server_; }

  uint16_t port = 0;
  std::atomic<int> wrapped = 0, left = 0, closed = 0, handled = 0;
  std::vector<std::shared_ptr<Responder>> kept;
  std::vector<std::shared_ptr<HttpStream>> streams;
  std::shared_ptr<const std::string> large = std::make_shared<const std::string>(size_t{32} << 20, 'x');

 private:
  HeadVerdict check(const HttpRequest& head) {
    if (head.path == "/forbidden") return {text_response(403, "{}"), 0};
    if (head.path == "/check_throws") throw std::runtime_error("secret");
    return {std::nullopt, kBodyLimit};
  }
  void handle(HttpRequest request, std::shared_ptr<Responder> responder) {
    ++handled;
    const std::string& path = request.path;
    if (path == "/echo") {
      responder->send(text_response(200, request.method + " " + request.body, "text/plain"));
    } else if (path == "/query") {
      responder->send(text_response(200, std::string(request.parameter("a")) + "|" + request.peer, "text/plain"));
    } else if (path == "/keep") {
      responder->on_disconnect([this] { ++left; });
      kept.push_back(std::move(responder));
    } else if (path == "/drop") {
    } else if (path == "/twice") {
      responder->send(text_response(200, "first"));
      responder->send(text_response(200, "second"));
    } else if (path == "/throws") {
      throw std::runtime_error("secret");
    } else if (path == "/argument") {
      throw ArgumentError("width \"x\" is not a number");
    } else if (path == "/large") {
      responder->send({200, "text/plain", {}, large});
    } else if (path == "/inject") {
      responder->send({200, "text/plain", {{"x-name", "a\r\nx-evil: 1"}}, nullptr});
    } else if (path == "/events" || path == "/pour") {
      auto stream = responder->stream({200, "text/event-stream", {}, nullptr});
      stream->on_close([this] { ++closed; });
      stream->write("data: 1\n\n");
      if (path == "/pour")
        while (stream->write(std::string(100'000, 'y'))) {
        }
      streams.push_back(std::move(stream));
    } else if (path == "/three") {
      auto stream = responder->stream({200, "text/plain", {}, nullptr});
      for (const char* text : {"one", "two", "three"}) stream->write(text);
      EXPECT_FALSE(stream->write("dropped", true));
      stream->close();
      EXPECT_FALSE(stream->write("late"));
    } else if (path == "/ws") {
      auto stream = responder->websocket();
      if (!stream->open()) return;
      stream->on_close([this] { ++closed; });
      HttpStream* raw = stream.get();
      stream->on_message([raw](const std::string& text) {
        if (text.starts_with("bye"))
          raw->close();
        else
          raw->write(std::string("echo ").append(text));
      });
      streams.push_back(std::move(stream));
    } else {
      responder->send(text_response(404, "{}"));
    }
  }

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{io_.get_executor()};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

bool soon(const std::function<bool()>& condition, int milliseconds = 3000) {
  for (int i = 0; i < milliseconds / 10; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

std::string get(const std::string& path, const std::string& headers = "") {
  return std::string("GET ").append(path).append(" HTTP/1.1\r\nHost: a\r\n").append(headers).append("\r\n");
}

std::string post(const std::string& path, const std::string& headers, const std::string& body) {
  return std::string("POST ")
      .append(path)
      .append(" HTTP/1.1\r\nHost: a\r\n")
      .append(headers)
      .append("\r\n")
      .append(body);
}

TEST(Listener, KeepsConnectionsAndAnswersPipelinedRequestsInOrder) {
  Service service;
  RawClient client(service.port);
  for (int i = 0; i < 3; ++i) {
    const Answer answer = client.ask(get("/echo"));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "GET ");
    EXPECT_EQ(answer.headers.at("x-request-id").size(), 16u);
    EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
    EXPECT_EQ(answer.headers.at("connection"), "keep-alive");
  }
  client.send(post("/echo", "Content-Length: 1\r\n", "1") + get("/nothing") +
              post("/echo", "Transfer-Encoding: chunked\r\n", "1\r\n2\r\n1;x=y\r\n3\r\n0\r\nT: x\r\n\r\n") +
              get("/query?a=%C3%A9+b&c"));
  EXPECT_EQ(client.read().body, "POST 1");
  EXPECT_EQ(client.read().status, 404);
  EXPECT_EQ(client.read().body, "POST 23");
  EXPECT_EQ(client.read().body, "\xC3\xA9 b|127.0.0.1");
  EXPECT_EQ(service.counters().accepted, 1u);
  EXPECT_EQ(service.counters().requests, 7u);
}

TEST(Listener, SpeaksHttp10HeadAndConnectionClose) {
  Service service;
  RawClient old(service.port);
  EXPECT_EQ(old.ask("GET /echo HTTP/1.0\r\n\r\n").headers.at("connection"), "close");
  EXPECT_TRUE(old.closed_within(1000));
  RawClient stream(service.port);
  stream.send("GET /three HTTP/1.0\r\n\r\n");
  EXPECT_FALSE(stream.read_head().headers.contains("transfer-encoding"));
  EXPECT_EQ(stream.bytes(11), "onetwothree");
  EXPECT_TRUE(stream.closed_within(1000));
  RawClient client(service.port);
  client.send("HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n" + get("/query", "Connection: close\r\n"));
  EXPECT_EQ(client.read_head().headers.at("content-length"), "5");
  EXPECT_EQ(client.read().headers.at("connection"), "close");
  EXPECT_TRUE(client.closed_within(1000));
}

TEST(Listener, RefusesWhatIsNoCleanRequest) {
  Service service;
  const std::string big(70'000, 'a');
  std::string many;
  for (int i = 0; i < 70; ++i) many.append("h").append(std::to_string(i)).append(": 1\r\n");
  std::string chunks;
  for (int i = 0; i < 10'001; ++i) chunks += "1\r\nx\r\n";
  const std::string te = "Transfer-Encoding: chunked\r\n";
  const std::vector<std::pair<std::string, int>> cases = {
      {post("/echo", te + "Content-Length: 3\r\n", "0\r\n\r\n"), 400},
      {post("/echo", "Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400},
      {post("/echo", "Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400},
      {post("/echo", "Content-Length: -1\r\n", ""), 400},
      {post("/echo", "Content-Length: +1\r\n", "a"), 400},
      {post("/echo", "Content-Length: 99999999999999999999\r\n", ""), 400},
      {post("/echo", "Transfer-Encoding: gzip, chunked\r\n", ""), 400},
      {post("/echo", "Transfer-Encoding: chunked, chunked\r\n", ""), 400},
      {post("/echo", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400},
      {post("/echo", te, "-2\r\nab\r\n"), 400},
      {post("/echo", te, "10000000000000000\r\n"), 400},
      {post("/echo", te, "1_0\r\n"), 400},
      {post("/echo", te, "0x1\r\na\r\n"), 400},
      {post("/echo", te, "1\r\nab\r\n"), 400},
      {post("/echo", te, "1\na\r\n"), 400},
      {post("/echo", te, "FFFFFFFFFFFFFFFF\r\n"), 413},
      {post("/echo", te, "100001\r\n"), 413},
      {post("/echo", te, "100000\r\n" + std::string(0x100000, 'a') + "\r\n1\r\n"), 413},
      {post("/echo", te, chunks), 400},
      {post("/echo", "Content-Length: 1048577\r\n", ""), 413},
      {post("/echo", "Content-Encoding: gzip\r\nContent-Length: 1\r\n", "a"), 415},
      {post("/echo", "Expect: a-miracle\r\nContent-Length: 1\r\n", ""), 417},
      {"GET /echo HTTP/1.1\nHost: a\n\n", 400},
      {"GET /echo HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", 400},
      {"GET /echo HTTP/1.1\r\nHost: a\rx: y\r\n\r\n", 400},
      {"GET /echo HTTP/1.1\r\nHost: a\0b\r\n\r\n"s, 400},
      {"GET /echo HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
      {"GET /echo HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400},
      {"GET /echo HTTP/1.1\r\n\r\n", 400},
      {get("/echo", "Host: b\r\n"), 400},
      {"GET /echo HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"get /echo HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {get("/%"), 400},
      {get("/%zz"), 400},
      {get("/%ff"), 400},
      {get("/?a=%0"), 400},
      {get("/?a=%00"), 400},
      {get("/images/..%2f..%2fetc/passwd"), 404},
      {get("/images/../../etc/passwd"), 404},
      {get("/a%00b"), 404},
      {get("/a%5cb"), 404},
      {get("//a"), 404},
      {get("/" + std::string(8192, 'a')), 414},
      {"GET /" + big, 414},
      {get("/echo", "x: " + big + "\r\n"), 431},
      {get("/echo", many), 431},
      {"\x16\x03\x01", 400},
      {get("/forbidden"), 403},
      {get("/check_throws"), 500},
  };
  for (const auto& [text, status] : cases) {
    SCOPED_TRACE(text.substr(0, 120));
    const int wrapped = service.wrapped, handled = service.handled;
    RawClient client(service.port);
    client.send(text);
    const Answer answer = client.read();
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(service.wrapped, wrapped + 1);
    EXPECT_EQ(service.handled, handled);
    if (status == 403) continue;
    EXPECT_EQ(answer.body.find("{\"error\":{\"message\":\""), 0u);
    EXPECT_NE(answer.body.find("\"param\":null,\"code\":\""), std::string::npos);
    EXPECT_EQ(answer.body.find("secret"), std::string::npos);
    EXPECT_EQ(answer.headers.at("x-request-id").size(), 16u);
  }
  RawClient client(service.port);
  EXPECT_EQ(client.ask(get("/forbidden")).headers.at("connection"), "keep-alive");
  EXPECT_EQ(client.ask(post("/forbidden", "Content-Length: 5\r\n", "")).headers.at("connection"), "close");
}

TEST(Listener, AsksForABodyThatWaits) {
  Service service;
  RawClient client(service.port);
  client.send(post("/echo", "Expect: 100-continue\r\nContent-Length: 2\r\n", ""));
  EXPECT_EQ(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(client.ask("ab").body, "POST ab");
  EXPECT_EQ(client.ask(post("/echo", "Expect: 100-continue\r\nContent-Length: 2000000\r\n", "")).status, 413);
}

TEST(Listener, TakesABodyUpToTheLimit) {
  Service service;
  const std::string body(kBodyLimit, 'b');
  RawClient client(service.port);
  EXPECT_EQ(client.ask(post("/echo", "Content-Length: 1048576\r\n", body)).body.size(), kBodyLimit + 5);
}

TEST(Listener, AnswersForHandlersThatFail) {
  Service service;
  RawClient client(service.port);
  EXPECT_EQ(client.ask(get("/twice")).body, "first");
  EXPECT_EQ(client.ask(get("/drop")).status, 500);
  const Answer thrown = client.ask(get("/throws"));
  EXPECT_EQ(thrown.status, 500);
  EXPECT_EQ(thrown.body.find("secret"), std::string::npos);
  const Answer argument = client.ask(get("/argument"));
  EXPECT_EQ(argument.status, 400);
  EXPECT_NE(argument.body.find("width \\\"x\\\" is not a number"), std::string::npos);
  const Answer injected = client.ask(get("/inject"));
  EXPECT_FALSE(injected.headers.contains("x-evil"));
  EXPECT_EQ(client.ask(get("/echo")).status, 200);
}

TEST(Listener, AnswersLaterAndFiveHundredWhenTheResponderIsDropped) {
  Service service;
  RawClient client(service.port);
  client.send(get("/keep") + get("/echo"));  // a pipelined request must not look like a client that left
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(service.left, 0);
  service.on_thread([](Service& s) { s.kept.at(0)->send(text_response(200, "late")), s.kept.clear(); });
  EXPECT_EQ(client.read().body, "late");
  EXPECT_EQ(client.read().body, "GET ");
  client.send(get("/keep"));
  ASSERT_TRUE(soon([&] { return service.handled == 3; }));
  service.on_thread([](Service& s) { s.kept.clear(); });
  EXPECT_EQ(client.read().status, 500);
}

TEST(Listener, TellsWhenTheClientLeaves) {
  Service service;
  RawClient client(service.port), reset(service.port);
  client.send(get("/keep") + get("/echo"));
  reset.send(get("/keep"));
  ASSERT_TRUE(soon([&] { return service.handled == 2; }));
  client.close();
  reset.close();
  EXPECT_TRUE(soon([&] { return service.left == 2; }));
  service.on_thread([](Service& s) {
    for (const auto& responder : s.kept) responder->send(text_response(200, "to nobody"));
    s.kept.clear();
  });
  EXPECT_EQ(service.left, 2);
  EXPECT_EQ(service.counters().open, 0u);
}

TEST(Listener, StreamsEvents) {
  Service service;
  RawClient client(service.port);
  EXPECT_EQ(client.ask(get("/three")).headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(client.until("0\r\n\r\n"), "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
  client.send(get("/events"));
  EXPECT_EQ(client.read_head().headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(client.until("\n\n\r\n"), "9\r\ndata: 1\n\n\r\n");
  bool written = false;  // droppable: not before the server knows that the first one is out
  EXPECT_TRUE(soon([&] {
    service.on_thread([&](Service& s) { written = s.streams.at(0)->write("data: 2\n\n", true); });
    return written;
  }));
  EXPECT_EQ(client.until("\n\n\r\n"), "9\r\ndata: 2\n\n\r\n");
  EXPECT_EQ(service.closed, 0);
  client.close();  // noticed without a write
  EXPECT_TRUE(soon([&] { return service.closed == 1; }));
  service.on_thread([](Service& s) {
    EXPECT_FALSE(s.streams.at(0)->open());
    EXPECT_FALSE(s.streams.at(0)->write("data: 3\n\n"));
    s.streams.clear();
  });
  EXPECT_EQ(service.closed, 1);
}

TEST(Listener, CutsAStreamThatIsNotRead) {
  HttpLimits limits;
  limits.stream_bytes = 1 << 20;
  Service service(limits);
  RawClient client(service.port, nullptr, 4096);
  client.send(get("/pour"));
  EXPECT_TRUE(soon([&] { return service.closed == 1; }));
  EXPECT_EQ(service.counters().open, 0u);
}

TEST(Listener, CutsClientsThatTakeTooLong) {
  HttpLimits limits;
  limits.header_seconds = 0.3;
  limits.idle_seconds = 0.3;
  Service service(limits);
  RawClient silent(service.port), half(service.port), idle(service.port), working(service.port);
  half.send("GET /echo HT");
  EXPECT_EQ(idle.ask(get("/echo")).status, 200);
  working.send(get("/keep"));
  for (int i = 0; i < 5; ++i) {  // dripping does not help
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    half.send("T");
  }
  EXPECT_EQ(half.read().status, 408);
  EXPECT_TRUE(silent.closed_within(500));
  EXPECT_TRUE(idle.closed_within(500));
  EXPECT_FALSE(working.closed_within(500));
}

TEST(Listener, CutsSlowUploadsAndSlowReaders) {
  HttpLimits limits;
  limits.body_bytes_per_second = limits.answer_bytes_per_second = 1e6;
  Service service(limits);
  RawClient upload(service.port), reader(service.port, nullptr, 4096);
  upload.send(post("/echo", "Content-Length: 1000\r\n", "slow"));
  reader.send(get("/large"));
  std::this_thread::sleep_for(std::chrono::seconds(11));  // the grace is 10 s
  EXPECT_EQ(upload.read().status, 408);
  EXPECT_TRUE(soon([&] { return service.counters().open <= 1; }, 1000));
  EXPECT_EQ(service.counters().timeouts, 2u);
}

TEST(Listener, EvictsTheOldestHalfOpenConnectionAndCapsAddresses) {
  HttpLimits limits;
  limits.connections = 4;
  limits.connections_per_address = 3;
  Service service(limits);
  RawClient first(service.port, "127.0.0.2"), second(service.port, "127.0.0.2"), third(service.port, "127.0.0.3"),
      busy(service.port, "127.0.0.4");
  busy.send(get("/keep"));
  ASSERT_TRUE(soon([&] { return service.handled == 1; }));
  RawClient fifth(service.port);
  EXPECT_EQ(fifth.ask(get("/echo")).status, 200);
  EXPECT_TRUE(first.closed_within(1000));
  EXPECT_FALSE(second.closed_within(200));
  fifth.send(get("/keep"));  // no longer idle
  ASSERT_TRUE(soon([&] { return service.handled == 3; }));
  RawClient sixth(service.port), seventh(service.port);
  EXPECT_TRUE(second.closed_within(1000));
  EXPECT_TRUE(third.closed_within(1000));
  RawClient eighth(service.port);
  const Answer refused = eighth.ask(get("/echo"));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_FALSE(busy.closed_within(100));
  for (RawClient* client : {&sixth, &seventh}) client->send(get("/keep"));
  ASSERT_TRUE(soon([&] { return service.handled == 5; }));
  RawClient ninth(service.port, "127.0.0.5");
  EXPECT_EQ(ninth.ask(get("/echo")).status, 503);
}

TEST(Listener, IdleConnectionsMakeRoomForTheSameClientsNextOne) {
  HttpLimits limits;
  limits.connections_per_address = 2;
  Service service(limits);
  RawClient first(service.port), second(service.port);
  EXPECT_EQ(first.ask(get("/echo")).status, 200);
  EXPECT_EQ(second.ask(get("/echo")).status, 200);
  RawClient third(service.port);
  EXPECT_EQ(third.ask(get("/echo")).status, 200);
  EXPECT_TRUE(first.closed_within(1000));
  EXPECT_EQ(second.ask(get("/echo")).status, 200);
}

TEST(Listener, DrainsThenCloses) {
  Service service;
  RawClient idle(service.port), busy(service.port), stream(service.port);
  EXPECT_EQ(idle.ask(get("/echo")).status, 200);
  busy.send(get("/keep"));
  stream.send(get("/events"));
  stream.until("data: 1");
  ASSERT_TRUE(soon([&] { return service.handled == 3; }));
  service.on_thread([](Service& s) { s.server().stop_accepting(), s.server().close_idle(); });
  EXPECT_TRUE(idle.closed_within(1000));
  EXPECT_THROW(RawClient(service.port), std::runtime_error);
  service.on_thread([](Service& s) { s.kept.at(0)->send(text_response(200, "done")); });
  const Answer answer = busy.read();
  EXPECT_EQ(answer.body, "done");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_EQ(service.closed, 0);
  service.on_thread([](Service& s) { s.server().close_all(); });
  EXPECT_TRUE(stream.closed_within(1000));
  EXPECT_TRUE(soon([&] { return service.closed == 1; }));
}

TEST(Listener, SaysWhyItCannotListen) {
  Service service;
  boost::asio::io_context io;
  HttpServer other(io, {}, {}, {});
  EXPECT_THROW(other.listen("127.0.0.1", service.port), RuntimeError);
  EXPECT_THROW(other.listen("localhost", 0), RuntimeError);
}

// A client's frames are masked; with the mask 0 the payload stays readable.
std::string frame(int opcode, const std::string& payload) {
  std::string text(1, static_cast<char>(0x80 | opcode));
  if (payload.size() < 126) {
    text += static_cast<char>(0x80 | payload.size());
  } else {
    text += static_cast<char>(0x80 | 127);
    for (int shift = 56; shift >= 0; shift -= 8) text += static_cast<char>(payload.size() >> shift);
  }
  return text + std::string(4, '\0') + payload;
}

std::string upgrade() {
  return get("/ws",
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
}

TEST(Listener, SpeaksWebSocket) {
  Service service;
  RawClient client(service.port);
  client.send(upgrade());
  EXPECT_EQ(client.until("\r\n\r\n").find("HTTP/1.1 101 "), 0u);
  client.send(frame(1, "hello"));
  EXPECT_EQ(client.bytes(12),
            "\x81\x0a"
            "echo hello");
  client.send(frame(9, "p"));
  EXPECT_EQ(client.bytes(3), "\x8a\x01p");
  client.send(frame(1, "bye"));
  EXPECT_EQ(client.bytes(4), "\x88\x02\x03\xe8");
  client.send(frame(8, "\x03\xe8"));
  EXPECT_TRUE(client.closed_within(1000));
  client.close();
  EXPECT_TRUE(soon([&] { return service.closed == 1; }));

  for (const std::string& text : {frame(2, "binary"), frame(1, std::string(70'000, 'a')), frame(1, "\xff")}) {
    const int closed = service.closed;
    RawClient bad(service.port);
    bad.send(upgrade());
    bad.until("\r\n\r\n");
    bad.send(text);
    EXPECT_EQ(bad.bytes(1), "\x88");
    bad.close();
    EXPECT_TRUE(soon([&] { return service.closed == closed + 1; }));
  }
  const int closed = service.closed;
  RawClient gone(service.port);
  gone.send(upgrade());
  gone.until("\r\n\r\n");
  gone.close();
  EXPECT_TRUE(soon([&] { return service.closed == closed + 1; }));
  EXPECT_EQ(RawClient(service.port).ask(get("/ws")).status, 426);
}

TEST(Listener, LeavesNothingBehindWhenItGoesBeforeItsResponders) {
  std::vector<std::shared_ptr<Responder>> kept;
  std::vector<std::shared_ptr<HttpStream>> streams;
  {
    Service service;
    RawClient client(service.port), stream(service.port);
    client.send(get("/keep"));
    stream.send(get("/events"));
    ASSERT_TRUE(soon([&] { return service.handled == 2; }));
    service.on_thread([&](Service& s) { kept = s.kept, streams = s.streams; });
  }
  kept.at(0)->send(text_response(200, "to nobody"));
  EXPECT_FALSE(streams.at(0)->write("to nobody"));
  EXPECT_FALSE(streams.at(0)->open());
}

}  // namespace
}  // namespace inkling::server
