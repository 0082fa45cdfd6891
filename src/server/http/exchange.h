// What the service holds while a request is answered, without sockets: these objects may outlive the connection, the
// server and the io_context.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/http/http.h"

namespace inkling::server {

// The connection, as seen from its exchange.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  virtual void wake() = 0;  // something to send: the coroutine looks again
  virtual void cut() = 0;   // close the socket now; callbacks follow from the coroutine
};

// Callbacks of the service must not end the server.
template <typename Call, typename... Args>
bool call_safely(Call& call, Args&&... args) noexcept {
  if (!call) return true;
  try {
    call(std::forward<Args>(args)...);
    return true;
  } catch (...) {
    return false;
  }
}

struct StreamState {
  enum class Kind { body, events, websocket };
  Kind kind = Kind::body;
  std::weak_ptr<Wakeable> connection;
  size_t limit = 0;  // bytes queued
  std::deque<std::string> queue;
  size_t queued = 0;      // bytes in queue and on the way
  bool sending = false;   // a write is on the way
  bool closing = false;   // close() was called
  bool finished = false;  // nothing more will be sent
  bool overflowed = false;
  std::function<void()> on_close;
  std::function<void(std::string)> on_message;

  void wake() {
    if (const auto target = connection.lock()) target->wake();
  }
  bool write(std::string text, bool droppable) {
    if (finished || closing || overflowed || text.empty()) return false;
    if (droppable && (sending || !queue.empty())) return false;
    if (text.size() > limit - std::min(limit, queued)) {
      overflowed = true;  // a client that does not read; nothing of it may be lost silently, so it is cut
      if (const auto target = connection.lock()) target->cut();
      return false;
    }
    queued += text.size();
    queue.push_back(std::move(text));
    wake();
    return true;
  }
  void close() {
    if (closing) return;
    closing = true;
    wake();
  }
  // Called by the coroutine when the stream ended, however it ended.
  void finish() {
    if (finished) return;
    finished = true;
    queue.clear();
    const std::function<void()> call = std::exchange(on_close, nullptr);
    on_message = nullptr;
    call_safely(call);
  }
};

// The service's handle of a stream; the stream is closed with its last owner.
class StreamHandle : public HttpStream {
 public:
  explicit StreamHandle(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  ~StreamHandle() override { state_->close(); }
  bool write(std::string text, bool droppable) override { return state_->write(std::move(text), droppable); }
  void close() override { state_->close(); }
  bool open() const override { return !state_->finished && !state_->closing && !state_->overflowed; }
  void on_close(std::function<void()> call) override {
    if (state_->finished)
      call_safely(call);
    else
      state_->on_close = std::move(call);
  }
  void on_message(std::function<void(std::string)> call) override {
    if (!state_->finished) state_->on_message = std::move(call);
  }

 private:
  std::shared_ptr<StreamState> state_;
};

// One request's answer on its way from the responder to the connection.
struct Exchange {
  std::weak_ptr<Wakeable> connection;
  bool websocket_request = false;
  bool answered = false;      // by whichever of send, stream, websocket came first
  bool disconnected = false;  // the client left, or the connection is done with this request
  size_t stream_limit = 0;
  std::optional<HttpResponse> response;
  std::shared_ptr<StreamState> stream;
  std::function<void()> on_disconnect;

  bool claim() {
    if (answered) return false;
    answered = true;
    on_disconnect = nullptr;
    return true;
  }
  void wake() {
    if (const auto target = connection.lock()) target->wake();
  }
  void send(HttpResponse answer) {
    if (!claim()) return;
    response = std::move(answer);
    wake();
  }
  std::shared_ptr<HttpStream> open_stream(StreamState::Kind kind) {
    auto state = std::make_shared<StreamState>();
    state->kind = kind;
    state->connection = connection;
    state->limit = stream_limit;
    if (claim() && !disconnected)
      stream = state;
    else
      state->finished = true;  // a stream that is closed from the start
    wake();
    return std::make_shared<StreamHandle>(state);
  }
  void disconnect() {
    if (disconnected) return;
    disconnected = true;
    const std::function<void()> call = std::exchange(on_disconnect, nullptr);
    call_safely(call);
    if (stream) stream->finish();
  }
  void silence() {
    on_disconnect = nullptr;
    if (stream) stream->on_close = nullptr, stream->on_message = nullptr;
  }
};

}  // namespace inkling::server
