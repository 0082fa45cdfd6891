// Gives waiting works to the workers: batches of one shape, devices in turn, the fallback device only when no other one
// may work. Watches what they do: a worker that stops making progress is killed, its works are tried once more.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/jobs/board.h"
#include "server/worker/supervisor.h"

namespace inkling::server {

struct DeviceOptions {
  std::string name;       // "cpu", "cuda:0"
  bool fallback = false;  // works only while no other device can
  std::vector<std::string> command;
};

struct DispatcherOptions {
  std::vector<DeviceOptions> devices;
  SupervisorOptions supervisor;  // the command is the device's
  BreakerOptions breaker;
  size_t batch = 4;
  double load_seconds = 600;  // without progress before the first step: models of 40 GB are read
  double step_seconds = 30;   // without progress while drawing; or ten times the usual step, if that is more
  std::string warm_up_prompt = "a yellow duck";  // drawn by each new worker before it counts as ready; empty: none
  std::string warm_up_model;
};

class Dispatcher {
 public:
  struct Drawn {
    const Work& work;
    const std::vector<Picture>& pictures;
    double seconds;                 // of the work, its share of a batch
    const nlohmann::json& message;  // "done" of the worker
    const Supervisor& worker;
  };
  struct Hooks {
    std::function<nlohmann::json(const std::string& model)> model;  // {"id", "path", "precision"}
    std::function<void(const Drawn&)> drawn;
    std::function<ErrorAnswer(const Work&, const nlohmann::json& failed)> explain;  // worker's "failed" to an answer
    std::function<void(double seconds, const std::string& model)> step;
    std::function<void(const std::string& device, const std::string& reason)> died;
    std::function<double(const std::string& model)> usual_step;  // seconds
  };

  Dispatcher(boost::asio::io_context& io, JobBoard& board, DispatcherOptions options, std::function<double()> now,
             Hooks hooks);
  ~Dispatcher();

  void start();
  void dispatch();
  void abandon(const std::string& work);
  void tick();
  void stop();         // at once: no worker is left
  bool ready() const;  // at least one device has drawn its warm-up picture and may work
  std::vector<const Supervisor*> workers() const;

 private:
  struct Device;
  void on_ready(Device& device);
  void on_message(Device& device, const Frame& frame);
  void on_died(Device& device, const std::string& reason);
  void warm_up(Device& device);
  void on_warm(Device& device, const Frame& frame);
  bool fallback_wanted() const;
  static void on_fallback(const Work& work);

  JobBoard& board_;
  const DispatcherOptions options_;
  const std::function<double()> now_;
  const Hooks hooks_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::map<std::string, std::string> known_answers_;  // device, model fingerprint -> hash of the warm-up picture
  bool stopping_ = false;
};

}  // namespace inkling::server
