#include "server/monitor/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <set>

namespace inkling::server {

using prometheus::Histogram;

namespace {

const std::set<std::string, std::less<>> kApis = {"native", "openai", "session"};
const std::set<std::string, std::less<>> kOutcomes = {"done", "failed", "cancelled", "refused", "rejected"};
const std::set<std::string, std::less<>> kCaches = {"result", "template", "latent", "embedding"};
const std::set<std::string, std::less<>> kCategories = {"sexual", "horror",    "violence", "drugs",
                                                        "hate",   "self_harm", "weapons",  "error"};
constexpr size_t kMaxRoutes = 64;  // patterns of the router: few; more is a bug of ours, not to be paid in memory

// From one step of a small model on a GPU to a large one on a CPU.
const Histogram::BucketBoundaries kStepBuckets = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
const Histogram::BucketBoundaries kRequestBuckets = {0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 600};
const Histogram::BucketBoundaries kHttpBuckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};

const Histogram::BucketBoundaries kPsnrBuckets = {10, 15, 20, 25, 30, 35, 40, 50};
const Histogram::BucketBoundaries kSsimBuckets = {0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99};

template <typename Set>
std::string bounded(const Set& allowed, std::string_view value) {
  return allowed.contains(value) ? std::string(value) : "other";
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  std::set<std::string, std::less<>> models, devices, routes;

  template <typename Builder>
  auto& family(Builder builder, const char* name, const char* help) {
    return builder.Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return family(prometheus::BuildCounter(), name, help);
  }
  prometheus::Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return family(prometheus::BuildGauge(), name, help);
  }
  prometheus::Family<Histogram>& histograms(const char* name, const char* help) {
    return family(prometheus::BuildHistogram(), name, help);
  }

  prometheus::Family<prometheus::Counter>& requests =
      counters("inkling_requests_total", "Wishes by API, model and end: done, failed, cancelled, refused, rejected");
  prometheus::Family<Histogram>& durations =
      histograms("inkling_request_duration_seconds", "From the arrival of a wish to its picture");
  Histogram& queue_wait =
      histograms("inkling_queue_wait_seconds", "From acceptance to the start of drawing").Add({}, kRequestBuckets);
  prometheus::Family<Histogram>& steps = histograms("inkling_step_duration_seconds", "One denoising step");
  prometheus::Family<Histogram>& edit_psnr =
      histograms("inkling_edit_psnr_decibels", "PSNR of an edit to its input, outside the mask");
  prometheus::Family<Histogram>& edit_ssim =
      histograms("inkling_edit_ssim_ratio", "SSIM of an edit to its input, outside the mask");
  prometheus::Gauge& running = gauges("inkling_jobs_running", "Jobs being drawn").Add({});
  prometheus::Gauge& waiting = gauges("inkling_jobs_waiting", "Jobs in the queue").Add({});
  prometheus::Family<prometheus::Gauge>& memory = gauges("inkling_device_memory_bytes", "Device memory in use");
  prometheus::Family<prometheus::Gauge>& utilisation =
      gauges("inkling_gpu_utilisation_ratio", "Share of time in which a kernel ran, 0 to 1");
  prometheus::Gauge& resident =
      gauges("inkling_resident_memory_bytes", "Resident memory of the server process").Add({});
  prometheus::Family<prometheus::Counter>& hits = counters("inkling_cache_hits_total", "Cache hits");
  prometheus::Family<prometheus::Counter>& misses = counters("inkling_cache_misses_total", "Cache misses");
  prometheus::Counter& oom = counters("inkling_oom_total", "Times that a device ran out of memory").Add({});
  prometheus::Family<prometheus::Gauge>& breakers =
      gauges("inkling_breaker_state", "Circuit breaker of a device: 0 closed, 1 open, 2 half open");
  prometheus::Family<prometheus::Counter>& blocks =
      counters("inkling_safety_blocks_total", "Wishes and pictures that the safety filter blocked");
  prometheus::Family<prometheus::Counter>& degraded =
      counters("inkling_degraded_total", "Wishes changed by the brown-out, by level");
  prometheus::Gauge& level = gauges("inkling_degrade_level", "Present level of the brown-out, 0 normal").Add({});
  prometheus::Family<prometheus::Counter>& restarts =
      counters("inkling_worker_restarts_total", "Worker processes started again after their end");
  prometheus::Family<prometheus::Counter>& http =
      counters("inkling_http_requests_total", "HTTP answers by route and status");
  prometheus::Family<Histogram>& http_seconds =
      histograms("inkling_http_request_duration_seconds", "From the last byte of a request to its answer");
  Percentiles latency, queue;
};

Metrics::Metrics(std::vector<std::string> models, std::vector<std::string> devices) : impl_(std::make_unique<Impl>()) {
  impl_->models = {models.begin(), models.end()};
  impl_->models.insert("none");
  impl_->devices = {devices.begin(), devices.end()};
  // Rates are computed from the first sample on: what may never happen starts at 0.
  for (const std::string& cache : kCaches) {
    impl_->hits.Add({{"cache", cache}});
    impl_->misses.Add({{"cache", cache}});
  }
  for (const std::string& device : impl_->devices) {
    impl_->breakers.Add({{"device", device}});
    impl_->restarts.Add({{"device", device}});
  }
}
Metrics::~Metrics() = default;

void Metrics::request(std::string_view api, std::string_view model, std::string_view outcome, double seconds,
                      double now) {
  const std::string a = bounded(kApis, api), m = bounded(impl_->models, model);
  impl_->requests.Add({{"api", a}, {"model", m}, {"outcome", bounded(kOutcomes, outcome)}}).Increment();
  if (outcome != "done") return;
  impl_->durations.Add({{"api", a}, {"model", m}}, kRequestBuckets).Observe(seconds);
  impl_->latency.add(seconds, now);
}

void Metrics::queue_wait(double seconds, double now) {
  impl_->queue_wait.Observe(seconds);
  impl_->queue.add(seconds, now);
}

void Metrics::step(std::string_view model, double seconds) {
  impl_->steps.Add({{"model", bounded(impl_->models, model)}}, kStepBuckets).Observe(seconds);
}

void Metrics::edit(std::string_view model, double psnr, double ssim) {
  const std::string m = bounded(impl_->models, model);
  impl_->edit_psnr.Add({{"model", m}}, kPsnrBuckets).Observe(psnr);
  impl_->edit_ssim.Add({{"model", m}}, kSsimBuckets).Observe(ssim);
}

void Metrics::jobs(size_t running, size_t waiting) {
  impl_->running.Set(static_cast<double>(running));
  impl_->waiting.Set(static_cast<double>(waiting));
}

void Metrics::device_memory(std::string_view device, double bytes) {
  impl_->memory.Add({{"device", bounded(impl_->devices, device)}}).Set(bytes);
}

void Metrics::gpu_utilisation(std::string_view device, double percent) {
  impl_->utilisation.Add({{"device", bounded(impl_->devices, device)}}).Set(percent / 100);
}

void Metrics::resident_memory(double bytes) { impl_->resident.Set(bytes); }

void Metrics::cache(std::string_view cache, bool hit) { cache_hits(cache, hit ? 1 : 0, hit ? 0 : 1); }

void Metrics::cache_hits(std::string_view cache, double hits, double misses) {
  const std::string c = bounded(kCaches, cache);
  if (hits > 0) impl_->hits.Add({{"cache", c}}).Increment(hits);
  if (misses > 0) impl_->misses.Add({{"cache", c}}).Increment(misses);
}

void Metrics::out_of_memory() { impl_->oom.Increment(); }

void Metrics::breaker_state(std::string_view device, int state) {
  impl_->breakers.Add({{"device", bounded(impl_->devices, device)}}).Set(state);
}

void Metrics::safety_block(std::string_view category) {
  impl_->blocks.Add({{"category", bounded(kCategories, category)}}).Increment();
}

void Metrics::degraded(int level) {
  impl_->degraded.Add({{"level", std::to_string(std::clamp(level, 0, 16))}}).Increment();
}

void Metrics::degrade_level(int level) { impl_->level.Set(level); }

void Metrics::worker_restart(std::string_view device) {
  impl_->restarts.Add({{"device", bounded(impl_->devices, device)}}).Increment();
}

void Metrics::http_request(std::string_view route, int status, double seconds) {
  std::string r(route);
  if (impl_->routes.size() < kMaxRoutes) impl_->routes.insert(r);
  r = bounded(impl_->routes, r);
  const std::string code = status >= 100 && status <= 599 ? std::to_string(status) : "other";
  impl_->http.Add({{"route", r}, {"status", code}}).Increment();
  impl_->http_seconds.Add({{"route", r}}, kHttpBuckets).Observe(seconds);
}

std::string Metrics::text() const { return prometheus::TextSerializer().Serialize(impl_->registry.Collect()); }

Percentiles::Values Metrics::latency(double now) const { return impl_->latency.values(now); }
Percentiles::Values Metrics::queue(double now) const { return impl_->queue.values(now); }

}  // namespace inkling::server
