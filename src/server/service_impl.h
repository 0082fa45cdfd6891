// Inside the service: its parts, shared by service.cc (what becomes of a wish) and service_report.cc (what is told).
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "safety/safety.h"
#include "server/api/events.h"
#include "server/cache/latent_pool.h"
#include "server/cache/template_cache.h"
#include "server/devices.h"
#include "server/monitor/gpu_load.h"
#include "server/monitor/history.h"
#include "server/monitor/log.h"
#include "server/monitor/metrics.h"
#include "server/policy/admission.h"
#include "server/policy/brown_out.h"
#include "server/policy/rate_limiter.h"
#include "server/policy/router.h"
#include "server/policy/service_times.h"
#include "server/service.h"

namespace inkling::server {

double monotonic();  // seconds
inline nlohmann::json or_null(const std::string& text) {
  return text.empty() ? nlohmann::json() : nlohmann::json(text);
}

struct Service::Impl {
  Impl(boost::asio::io_context& io_, ServiceOptions o);

  Answer submit(Submission s);
  // The parts of submit(), in their order; each may end the matter.
  void apply_profile(DrawRequest& wish) const;
  std::optional<ErrorAnswer> check_safety(const Submission& s);
  std::optional<ErrorAnswer> choose_model(Job& job, const std::string& prompt);
  std::optional<ErrorAnswer> degrade(Job& job);
  bool answer_from_cache(const JobPointer& job, Work& work, const std::string& prompt);
  bool answer_from(const JobPointer& job, const std::optional<CachedResult>& found, const char* cache);

  void over(const Job& job);
  void drawn(const Dispatcher::Drawn& d);
  void keep(const Work& work, const std::vector<Picture>& pictures);
  ErrorAnswer explain(const Work& work, const nlohmann::json& failed);
  void learn_fingerprints();
  void tick();
  void schedule_tick();
  void check_drained();

  int capacity() const;
  double work_ahead() const;
  double usual_deadline() const { return options.deadline_s.value_or(config.limits.deadline_s); }
  std::optional<GpuSample> gpu_of(const std::string& device) const;
  std::optional<double> utilisation() const;  // of the busiest GPU, percent
  double predicted_wait() const { return work_ahead() / std::max(1, capacity()); }
  JobShape shape_of(const DrawRequest& wish) const;
  TemplateKey template_key(const DrawRequest& wish, const std::string& owner) const;
  std::string label_of(const Job& job) const { return job.model.empty() ? "none" : job.model; }
  nlohmann::json job_json(const Job& job) const;
  nlohmann::json stats() const;

  boost::asio::io_context& io;
  const ServiceOptions options;
  const ServerConfig config;
  const std::vector<DeviceOptions> devices;
  const WishLimits limits;
  Log log;
  std::unique_ptr<SafetyFilter> safety;
  ServiceTimes times;
  Admission admission;
  BrownOut brown_out;
  RateLimiter rate;
  ModelRouter router;
  RequestFrequency frequency;
  Metrics metrics;
  History history;
  GpuLoad gpu;
  std::unique_ptr<ResultCache> results;
  std::unique_ptr<TemplateCache> templates;
  LatentPool pool;
  uint64_t pool_hits = 0, pool_misses = 0;
  Sessions sessions;
  JobBoard board;
  std::unique_ptr<Dispatcher> dispatcher;
  boost::asio::steady_timer timer;
  const double started = monotonic(), started_unix = unix_seconds();
  double drain_until = 0;
  bool draining = false;
  std::function<void()> drained;
  std::function<nlohmann::json()> http_counters;
  std::map<std::string, std::string> fingerprints;  // by model, as the workers say
  std::map<std::string, uint64_t> blocks;           // by category
  uint64_t refused = 0, rejected = 0, oom = 0;
};

}  // namespace inkling::server
