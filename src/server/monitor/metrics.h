// What Prometheus reads. Every label takes values of a bounded set (anything else becomes "other"), so no client can
// make series without end; no label carries text of a wish.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/monitor/percentiles.h"

namespace inkling::server {

class Metrics {
 public:
  // `models`, `devices`: the ids that may stand in labels.
  Metrics(std::vector<std::string> models, std::vector<std::string> devices);
  ~Metrics();

  // The end of a wish. `api`: native, openai, session. `outcome`: done, failed, cancelled, refused (safety), rejected
  // (load, rate). Seconds from arrival to end; only done ones count in the durations.
  void request(std::string_view api, std::string_view model, std::string_view outcome, double seconds, double now);
  void queue_wait(double seconds, double now);
  void step(std::string_view model, double seconds);
  // How much an edit left as it was: dB and SSIM to its input, outside the mask.
  void edit(std::string_view model, double psnr, double ssim);
  void jobs(size_t running, size_t waiting);
  void device_memory(std::string_view device, double bytes);
  void gpu_utilisation(std::string_view device, double percent);
  void resident_memory(double bytes);
  void cache(std::string_view cache, bool hit);                         // result, template, latent, embedding
  void cache_hits(std::string_view cache, double hits, double misses);  // to add: counts that a worker reports
  void out_of_memory();
  void breaker_state(std::string_view device, int state);  // 0 closed, 1 open, 2 half open
  void safety_block(std::string_view category);
  void degraded(int level);       // a wish was changed at this level of the brown-out
  void degrade_level(int level);  // the present one
  void worker_restart(std::string_view device);
  void http_request(std::string_view route, int status, double seconds);  // route: the pattern, not the path

  std::string text() const;                       // Prometheus text format 0.0.4
  Percentiles::Values latency(double now) const;  // of done wishes
  Percentiles::Values queue(double now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling::server
