// Worker processes that misbehave: what they say is garbage, too much, cut off, or nothing at all. Each is replaced;
// the process that watches them lives. The "workers" are shell scripts on descriptor 3.
#include "server/worker/supervisor.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>

#include "server/worker/frame.h"

namespace inkling::server {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The bytes of a frame as printf takes them.
std::string escaped(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  return text;
}
std::string say(const nlohmann::json& message, std::vector<Blob> blobs = {}) {
  return "printf '" + escaped(encode_frame({message, std::move(blobs)})) + "' >&3; ";
}

struct Watched {
  explicit Watched(const std::string& script, SupervisorOptions o = {}) {
    o.command = {"/bin/sh", "-c", script};
    o.restart_seconds = 0.02;
    supervisor = std::make_unique<Supervisor>(
        io, "cpu", o, BreakerOptions{.failures = 3, .window_s = 300, .open_s = 600}, now,
        Supervisor::Events{[this] { ++ready; }, [this](const Frame& f) { messages.push_back(f); },
                           [this](const std::string& reason) { deaths.push_back(reason); }});
    supervisor->start();
  }
  template <typename F>
  void until(const F& done, double seconds = 10) {
    const double end = now() + seconds;
    while (!done() && now() < end) io.run_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(done());
  }

  boost::asio::io_context io;
  std::unique_ptr<Supervisor> supervisor;
  int ready = 0;
  std::vector<Frame> messages;
  std::vector<std::string> deaths;
};

TEST(Supervisor, TakesWholeFramesAndReplacesWhatEnds) {
  Watched w(say({{"type", "ready"}}) + say({{"type", "done"}, {"id", "x"}}, {std::make_shared<std::string>("abc")}) +
            "sleep 0.1; exit 70");
  w.until([&] { return w.deaths.size() == 2; });
  EXPECT_GE(w.ready, 2);
  ASSERT_GE(w.messages.size(), 2u);
  EXPECT_EQ(*w.messages[0].blobs.at(0), "abc");
  EXPECT_NE(w.deaths[0].find("exit code 70"), std::string::npos) << w.deaths[0];
  EXPECT_EQ(w.supervisor->restarts(), 2);
}

TEST(Supervisor, GarbageOversizeAndTruncationReplaceTheWorker) {
  const std::string whole = encode_frame({{{"type", "done"}, {"id", "x"}}, {std::make_shared<std::string>("abc")}});
  std::string oversize = whole;
  for (size_t i = 12; i < 16; ++i) oversize[i] = '\xff';  // the blob's length
  std::string many = whole;
  for (size_t i = 8; i < 12; ++i) many[i] = '\x7f';  // the number of blobs
  std::string no_json = whole;
  no_json[16] = '[';
  for (const std::string& bad :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(16, '\0'), oversize, many, no_json}) {
    Watched w(say({{"type", "ready"}}) + "printf '" + escaped(bad) + "' >&3; sleep 30");
    w.until([&] { return w.deaths.size() >= 2; });
    EXPECT_TRUE(w.messages.empty()) << bad;
  }
  Watched cut(say({{"type", "ready"}}) + "printf '" + escaped(whole.substr(0, whole.size() - 2)) + "' >&3");
  cut.until([&] { return cut.deaths.size() >= 2; });
  EXPECT_TRUE(cut.messages.empty());
}

TEST(Supervisor, SilenceAndALateStartEndTheWorker) {
  Watched late("sleep 30", {.command = {}, .silent_seconds = 600, .start_seconds = 0.5});
  late.until([&] { return !late.deaths.empty(); });
  EXPECT_NE(late.deaths[0].find("did not come up"), std::string::npos);
  Watched silent(say({{"type", "ready"}}) + "sleep 30", {.command = {}, .silent_seconds = 0.5});
  silent.until([&] { return !silent.deaths.empty(); });
  EXPECT_NE(silent.deaths[0].find("no sign of life"), std::string::npos);
}

TEST(Supervisor, TheBreakerEndsTheRestarts) {
  Watched w("exit 1");
  w.until([&] { return w.supervisor->state() == Supervisor::State::open; });
  EXPECT_EQ(w.deaths.size(), 3u);
  w.io.run_for(std::chrono::milliseconds(300));
  EXPECT_EQ(w.deaths.size(), 3u);
}

TEST(Supervisor, AProgramThatIsNotThere) {
  Watched w("");
  SupervisorOptions o;
  o.command = {"/no/such/program"};
  o.restart_seconds = 0.02;
  int died = 0;
  Supervisor s(w.io, "cpu", o, {}, now, {[] {}, [](const Frame&) {}, [&](const std::string&) { ++died; }});
  s.start();
  w.until([&] { return died >= 2; });
}

TEST(Supervisor, StopIsTheLastWord) {
  Watched w(say({{"type", "ready"}}) + "sleep 30");
  w.until([&] { return w.ready == 1; });
  w.supervisor->stop();
  w.until([&] { return w.supervisor->state() == Supervisor::State::stopped && w.supervisor->pid() == 0; });
  EXPECT_EQ(w.supervisor->restarts(), 0);
}

}  // namespace
}  // namespace inkling::server
