#include "server/worker/supervisor.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <deque>

#include "base/error.h"
#include "server/worker/child_process.h"

namespace inkling::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr double kPingSeconds = 2;
constexpr double kLongestPause = 10;

std::chrono::milliseconds seconds(double s) { return std::chrono::milliseconds(static_cast<int64_t>(s * 1000)); }

}  // namespace

std::string_view name(Supervisor::State state) {
  switch (state) {
    case Supervisor::State::starting: return "starting";
    case Supervisor::State::ready: return "ready";
    case Supervisor::State::busy: return "busy";
    case Supervisor::State::down: return "down";
    case Supervisor::State::open: return "open";
    case Supervisor::State::stopped: return "stopped";
  }
  return "";
}

struct Supervisor::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& io_, std::string device_, SupervisorOptions o, BreakerOptions b, std::function<double()> n,
       Events e)
      : io(io_),
        device(std::move(device_)),
        options(std::move(o)),
        now(std::move(n)),
        events(std::move(e)),
        breaker(b),
        link(io),
        timer(io),
        reaper(io) {}

  void start() {
    if (state == State::stopped) return;
    if (!breaker.allow(now())) {
      state = State::open;
      return after(1, [this] { start(); });
    }
    std::array<int, 2> pair{};
    try {
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
        throw RuntimeError("no socket for a worker: {}", std::strerror(errno));
      pid = spawn_child(options.command, pair[1]);
    } catch (const std::exception& error) {
      if (pair[0] != 0) ::close(pair[0]), ::close(pair[1]);
      breaker.failure(now());
      state = State::down;
      events.died(error.what());
      return again();
    }
    ::close(pair[1]);
    state = State::starting;
    reader = {};
    waiting.clear();
    link = asio::local::stream_protocol::socket(io, asio::local::stream_protocol(), pair[0]);
    last_word = started = now();
    ++generation;
    read();
    watch();
  }

  // Calls of an earlier process arrive with its generation and are dropped.
  template <typename F>
  auto of_this_process(F f) {
    return [self = shared_from_this(), g = generation, f](error_code error, size_t bytes) {
      if (g == self->generation) f(error, bytes);
    };
  }

  void after(double pause, const std::function<void()>& call) {
    timer.expires_after(seconds(pause));
    timer.async_wait([self = shared_from_this(), call](error_code error) {
      if (!error) call();
    });
  }

  void read() {
    link.async_read_some(asio::buffer(chunk), of_this_process([this](error_code error, size_t bytes) {
                           if (error) return ended("the worker process ended");
                           last_word = now();
                           try {
                             reader.feed(chunk.data(), bytes);
                             while (auto frame = reader.next()) {
                               take(*frame);
                               if (pid == 0) return;  // killed by what it caused
                             }
                           } catch (const std::exception& e) {
                             return ended(e.what());
                           }
                           read();
                         }));
  }

  void take(const Frame& frame) {
    const std::string type = frame.message["type"];
    if (type == "pong") return;
    if (type == "ready" || type == "idle") {
      if (frame.message.contains("drawer")) description = frame.message["drawer"];
      if (state != State::starting && state != State::busy) return;
      state = State::ready;
      events.ready();
      return;
    }
    events.message(frame);
  }

  void watch() {
    after(kPingSeconds, [this] {
      if (pid == 0) return;
      if (now() - last_word > options.silent_seconds) return ended("the worker process gave no sign of life");
      if (state == State::starting && now() - started > options.start_seconds)
        return ended("the worker process did not come up in time");
      send({{{"type", "ping"}}, {}});
      watch();
    });
  }

  void send(const Frame& frame) {
    if (pid == 0) return;
    waiting.push_back(encode_frame(frame));
    if (waiting.size() == 1) write();
  }

  void write() {
    asio::async_write(link, asio::buffer(waiting.front()), of_this_process([this](error_code error, size_t) {
                        if (error) return;  // reading notices too
                        waiting.pop_front();
                        if (!waiting.empty()) write();
                      }));
  }

  // Whatever the cause: the process goes, is waited for (only then is its GPU memory free), and is replaced.
  void ended(const std::string& reason) {
    if (pid == 0) return;
    ++generation;
    error_code ignored;
    link.close(ignored);
    ::kill(pid, SIGKILL);
    const bool wanted = state == State::stopped || stopping;
    reap(reason, wanted);
  }

  void reap(const std::string& reason, bool wanted) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == 0) {
      state = wanted ? State::stopped : State::down;
      reaper.expires_after(std::chrono::milliseconds(20));
      reaper.async_wait([self = shared_from_this(), reason, wanted](error_code error) {
        if (!error) self->reap(reason, wanted);
      });
      return;
    }
    pid = 0;
    timer.cancel();
    if (wanted) {
      state = State::stopped;
      events.died("stopped");
      return;
    }
    state = State::down;
    ++restarts;
    breaker.failure(now());
    std::string cause = reason;
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) cause += fmt::format(" (signal {})", WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) cause += fmt::format(" (exit code {})", WEXITSTATUS(status));
    events.died(cause);
    again();
  }

  void again() {
    if (state == State::stopped) return;
    pause = std::min(kLongestPause, pause * 2);
    after(pause, [this] { start(); });
  }

  asio::io_context& io;
  const std::string device;
  const SupervisorOptions options;
  const std::function<double()> now;
  const Events events;
  Breaker breaker;
  asio::local::stream_protocol::socket link;
  asio::steady_timer timer, reaper;
  std::array<char, 64 * 1024> chunk{};
  FrameReader reader;
  std::deque<std::string> waiting;
  State state = State::down;
  pid_t pid = 0;
  uint64_t generation = 0;
  int restarts = 0;
  bool stopping = false;
  double last_word = 0, started = 0, pause = 0;
  nlohmann::json description = nlohmann::json::object();
};

Supervisor::Supervisor(asio::io_context& io, std::string device, SupervisorOptions options, BreakerOptions breaker,
                       std::function<double()> now, Events events)
    : impl_(std::make_shared<Impl>(io, std::move(device), std::move(options), breaker, std::move(now),
                                   std::move(events))) {
  impl_->pause = impl_->options.restart_seconds / 2;
}

Supervisor::~Supervisor() {
  impl_->state = State::stopped;
  ++impl_->generation;
  if (impl_->pid != 0) {
    ::kill(impl_->pid, SIGKILL);
    ::waitpid(impl_->pid, nullptr, 0);
  }
}

void Supervisor::start() { impl_->start(); }

void Supervisor::run(const Frame& batch) {
  impl_->state = State::busy;
  impl_->send(batch);
}

void Supervisor::cancel(const std::string& id) { impl_->send({{{"type", "cancel"}, {"id", id}}, {}}); }
void Supervisor::kill(const std::string& reason) { impl_->ended(reason); }

void Supervisor::stop() {
  impl_->stopping = true;
  if (impl_->pid != 0) return impl_->ended("stopped");
  impl_->state = State::stopped;
  impl_->timer.cancel();
}

void Supervisor::succeeded() {
  impl_->breaker.success(impl_->now());
  impl_->pause = impl_->options.restart_seconds / 2;
}

Supervisor::State Supervisor::state() const { return impl_->state; }
const std::string& Supervisor::device() const { return impl_->device; }
pid_t Supervisor::pid() const { return impl_->pid; }
int Supervisor::restarts() const { return impl_->restarts; }
const Breaker& Supervisor::breaker() const { return impl_->breaker; }
const nlohmann::json& Supervisor::description() const { return impl_->description; }

}  // namespace inkling::server
