#include "server/worker/decoder.h"

#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "server/worker/child_process.h"
#include "server/worker/frame.h"

namespace inkling::server {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kConfined = false;  // a sanitizer's shadow memory and its reports need more than a decoder may have
#else
constexpr bool kConfined = true;
#endif
constexpr rlim_t kMemory = rlim_t{2} << 30;  // address space; the largest PNG, JPEG and WebP that pass took 256 MiB
constexpr rlim_t kProcessorSeconds = 10;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A child that is gone, in any case, when the scope ends.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      throw RuntimeError("no socket for a decoder: {}", std::strerror(errno));
    link_ = pair[0];
    try {
      pid_ = spawn_child(command, pair[1]);
    } catch (...) {
      ::close(pair[0]);
      ::close(pair[1]);
      throw;
    }
    ::close(pair[1]);
    ::fcntl(link_, F_SETFL, O_NONBLOCK);
  }
  ~Child() {
    ::close(link_);
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Both: false when the child is gone or the time is over.
  bool send(const std::string& bytes, double deadline) const {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = ::send(link_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n > 0)
        sent += static_cast<size_t>(n);
      else if (!(n < 0 && (errno == EINTR || (errno == EAGAIN && wait(POLLOUT, deadline)))))
        return false;
    }
    return true;
  }
  std::optional<Frame> receive(double deadline) const {
    FrameReader reader;
    std::vector<char> chunk(256 << 10);
    for (;;) {
      if (auto frame = reader.next()) return frame;
      const ssize_t n = ::recv(link_, chunk.data(), chunk.size(), 0);
      if (n > 0)
        reader.feed(chunk.data(), static_cast<size_t>(n));
      else if (!(n < 0 && (errno == EINTR || (errno == EAGAIN && wait(POLLIN, deadline)))))
        return std::nullopt;
    }
  }

 private:
  bool wait(short events, double deadline) const {
    pollfd poll{link_, events, 0};
    const double left = deadline - now();
    return left > 0 && ::poll(&poll, 1, static_cast<int>(left * 1000) + 1) > 0;
  }

  int link_ = -1;
  pid_t pid_ = 0;
};

void limit(int resource, rlim_t most) {
  const rlimit both{most, most};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0)
    throw RuntimeError("decoder: a limit cannot be set: {}", std::strerror(errno));
}

// From here on: memory, the open link, the clock, the end. Everything else fails with EPERM.
void give_up_rights() {
  if (!kConfined) return;
  limit(RLIMIT_AS, kMemory);
  limit(RLIMIT_CPU, kProcessorSeconds);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NPROC, 0);
  ::prctl(PR_SET_DUMPABLE, 0);
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (filter == nullptr) throw RuntimeError("decoder: no filter for system calls");
  int failed = 0;
  for (const int call :
       {SCMP_SYS(read),        SCMP_SYS(write),         SCMP_SYS(recvfrom),     SCMP_SYS(sendto),
        SCMP_SYS(close),       SCMP_SYS(mmap),          SCMP_SYS(munmap),       SCMP_SYS(mremap),
        SCMP_SYS(mprotect),    SCMP_SYS(madvise),       SCMP_SYS(brk),          SCMP_SYS(futex),
        SCMP_SYS(sched_yield), SCMP_SYS(clock_gettime), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(getpid),      SCMP_SYS(gettid),        SCMP_SYS(exit),         SCMP_SYS(exit_group)})
    failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
  failed |= seccomp_load(filter);  // sets no_new_privs too
  seccomp_release(filter);
  if (failed != 0) throw RuntimeError("decoder: the filter for system calls cannot be set");
}

Frame decode(const Frame& asked) {
  const nlohmann::json& m = asked.message;
  const std::string& bytes = *asked.blobs.at(0);
  const std::span<const std::byte> span = std::as_bytes(std::span(bytes.data(), bytes.size()));
  const ImageLimits limits{
      .max_bytes = m.at("max_bytes"), .max_pixels = m.at("max_pixels"), .max_side = m.at("max_side")};
  const std::string name = m.at("name");
  bool from_alpha = false;
  try {
    const Image image =
        m.at("mask").get<bool>() ? decode_mask(span, name, limits, &from_alpha) : decode_image(span, name, limits);
    return {
        {{"type", "picture"},
         {"width", image.width},
         {"height", image.height},
         {"channels", image.channels},
         {"from_alpha", from_alpha}},
        {std::make_shared<const std::string>(reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size())}};
  } catch (const ArgumentError& e) {
    return {{{"type", "error"}, {"message", e.what()}}, {}};
  }
}

// What a process says that may have been taken over is checked like any input.
Image picture_of(const Frame& answer, bool mask, const std::string& name, const ImageLimits& limits, bool* from_alpha) {
  const nlohmann::json& m = answer.message;
  if (m["type"] == "error") throw ArgumentError(m.at("message").get<std::string>());
  Image image;
  image.width = m.at("width");
  image.height = m.at("height");
  image.channels = m.at("channels");
  const int64_t pixels = int64_t{image.width} * image.height;
  if (answer.blobs.size() != 1 || image.width < 1 || image.height < 1 || image.width > limits.max_side ||
      image.height > limits.max_side || pixels > limits.max_pixels || image.channels != (mask ? 1 : 3) ||
      answer.blobs[0]->size() != static_cast<size_t>(pixels * image.channels))
    throw ArgumentError("{}: the picture could not be decoded", name);
  image.pixels.assign(answer.blobs[0]->begin(), answer.blobs[0]->end());
  if (from_alpha != nullptr) *from_alpha = m.value("from_alpha", false);
  return image;
}

}  // namespace

Image DecoderProcess::image(std::span<const std::byte> bytes, const std::string& name,
                            const ImageLimits& limits) const {
  return ask(false, bytes, name, limits, nullptr);
}

Image DecoderProcess::mask(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits,
                           bool* from_alpha) const {
  return ask(true, bytes, name, limits, from_alpha);
}

Image DecoderProcess::ask(bool mask, std::span<const std::byte> bytes, const std::string& name,
                          const ImageLimits& limits, bool* from_alpha) const {
  const double deadline = now() + kSeconds;
  const Child child(command_);
  const Frame question{
      {{"type", "decode"},
       {"name", name},
       {"mask", mask},
       {"max_bytes", limits.max_bytes},
       {"max_pixels", limits.max_pixels},
       {"max_side", limits.max_side}},
      {std::make_shared<const std::string>(reinterpret_cast<const char*>(bytes.data()), bytes.size())}};
  std::optional<Frame> answer;
  try {
    if (child.send(encode_frame(question), deadline)) answer = child.receive(deadline);
  } catch (const RuntimeError&) {  // garbled: as good as none
  }
  if (!answer) throw ArgumentError("{}: the picture could not be decoded", name);
  try {
    return picture_of(*answer, mask, name, limits, from_alpha);
  } catch (const nlohmann::json::exception&) {
    throw ArgumentError("{}: the picture could not be decoded", name);
  }
}

int run_decoder(int socket) {
  set_thread_count(1);  // none can be started from here on
  give_up_rights();
  FrameReader reader;
  std::vector<char> chunk(256 << 10);
  for (;;) {
    if (const auto frame = reader.next()) {
      const std::string answer = encode_frame(decode(*frame));
      for (size_t sent = 0; sent < answer.size();) {
        const ssize_t n = ::send(socket, answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) return 1;
        sent += static_cast<size_t>(n);
      }
      return 0;
    }
    const ssize_t n = ::recv(socket, chunk.data(), chunk.size(), 0);
    if (n <= 0) return 1;
    reader.feed(chunk.data(), static_cast<size_t>(n));
  }
}

}  // namespace inkling::server
