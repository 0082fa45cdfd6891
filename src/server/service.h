// The service without HTTP: takes wishes, refuses what is unfit, answers from the caches, chooses the model, degrades
// under load, hands the rest to the workers. Every API and every test goes through submit(), so that no door has rules
// of its own. One thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api/wish_fields.h"
#include "server/error_answer.h"
#include "server/jobs/dispatcher.h"
#include "server/jobs/sessions.h"

namespace boost::asio {
class io_context;
}

namespace inkling::server {

struct ServiceOptions {
  std::string profile = "open";  // of wishes that name none
  std::string config_file;       // empty: the one that is built in (data/server/models.json)
  std::string model;             // path that replaces the first model's; empty: as configured
  std::string device = "auto";   // auto: every GPU, and the CPU as a way out; cpu; cuda:N[,M]
  std::string max_vram;
  std::string program;       // of the workers; empty: this program
  std::string state_folder;  // caches; empty: nothing is kept on disk
  std::string pool_folder;   // *.latent; empty: state_folder/pool
  std::string precision = "auto";
  std::optional<double> deadline_s;  // of wishes that name none; empty: the configuration's
  bool cpu_fallback = true;          // beside GPUs: the CPU draws while none of them can
  double synthetic_ms = 0;           // workers draw ramps (load tests)
  std::string synthetic_faults;      // file of the faults that they show
  size_t batch = 4;
  int threads = 0;
  std::optional<int> rate_per_minute;  // empty: the configuration's; 0: no limit
  double worker_silence_s = 15;        // without a sign of life: replaced
  bool safety = true, log_prompts = false;
  std::string log_file;  // empty: standard error
};

class Service {
 public:
  Service(boost::asio::io_context& io, ServiceOptions options);
  ~Service();

  struct Submission {
    DrawRequest wish;
    std::string owner, api = "native", idempotency_key, request_id, trace_id;
    std::string session, node_parent;  // of an edit in a session
  };
  struct Answer {
    JobPointer job;     // null: refused, and why
    bool fresh = true;  // false: the job of an earlier request with this idempotency key
    ErrorAnswer error;
  };
  Answer submit(Submission submission);

  void start();
  // Takes nothing new; `done` is called when the running and waiting works are over, or after the grace.
  void drain(double grace_seconds, std::function<void()> done);

  JobBoard& board();
  Sessions& sessions();
  const WishLimits& limits() const;
  HttpLimits http_limits() const;  // the usual ones with the numbers of the configuration

  nlohmann::json job_json(const Job& job) const;
  nlohmann::json models() const;  // OpenAI's list
  nlohmann::json config() const;
  nlohmann::json stats() const;
  std::string metrics() const;
  bool ready() const;
  // Rate of one key or address: seconds to wait, or nothing.
  std::optional<double> rate_limited(const std::string& who);
  void count_request(const std::string& route, int status, double seconds);
  void log(const std::string& event, nlohmann::json fields);
  void set_http_counters(std::function<nlohmann::json()> counters);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling::server
