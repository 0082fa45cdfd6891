// One worker process as the server sees it: started, spoken to, watched, killed and started again. A crash, a hang, a
// device error or a garbled frame ends the process; the breaker of the device decides when the next one may start.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/policy/breaker.h"
#include "server/worker/frame.h"

namespace boost::asio {
class io_context;
}

namespace inkling::server {

struct SupervisorOptions {
  std::vector<std::string> command;  // program and arguments; the link is descriptor 3
  double silent_seconds = 15;        // without any word (it is asked every 2 s): killed
  double start_seconds = 30;         // until it says "ready"
  double restart_seconds = 0.2;      // pause after a crash, doubled while it goes on, up to 10 s
};

class Supervisor {
 public:
  enum class State : uint8_t {
    starting,  // the process comes up
    ready,     // may take a batch
    busy,
    down,  // ended; the next start is under way
    open,  // ended too often: the breaker waits
    stopped,
  };
  struct Events {
    std::function<void()> ready;                // from starting or busy
    std::function<void(const Frame&)> message;  // all but ready, idle, pong
    std::function<void(const std::string& reason)> died;
  };

  Supervisor(boost::asio::io_context& io, std::string device, SupervisorOptions options, BreakerOptions breaker,
             std::function<double()> now, Events events);
  ~Supervisor();

  void start();
  // Only when ready: the worker is busy until its "idle".
  void run(const Frame& batch);
  void cancel(const std::string& id);
  // Ends the process at once; it counts as a failure of the device and starts again.
  void kill(const std::string& reason);
  // Ends it at once and does not start again.
  void stop();

  // A batch that ended without a device error tells the breaker that all is well.
  void succeeded();

  State state() const;
  const std::string& device() const;
  pid_t pid() const;
  int restarts() const;
  const Breaker& breaker() const;
  // What the worker last told of itself (model, fingerprint, memory); an object.
  const nlohmann::json& description() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

std::string_view name(Supervisor::State state);

}  // namespace inkling::server
