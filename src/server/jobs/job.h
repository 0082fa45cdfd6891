// A job is one client's wish and its fate; a work is one drawing, which may serve several jobs that wish the very same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/draw_request.h"
#include "server/error_answer.h"

namespace inkling::server {

enum class JobStatus : uint8_t { queued, running, succeeded, failed, cancelled };
std::string_view name(JobStatus status);
inline bool is_over(JobStatus s) { return s >= JobStatus::succeeded; }

struct Picture {
  Blob bytes;
  int width = 0, height = 0;
  int64_t seed = 0;
  nlohmann::json similarity{};  // of an edit: {"psnr", "ssim", "share"} to its input, outside the mask
};

struct Work;

struct Job {
  std::string id;     // job_<32 hex>
  std::string owner;  // who may see it: hash of the API key, or empty
  std::string api;    // "native", "openai", "session": a label of metrics
  DrawRequest wish;
  JobStatus status = JobStatus::queued;
  double created_unix = 0;
  double created = 0, started = 0, finished = 0, deadline = 0;  // monotonic seconds
  std::string phase;
  int step = 0, steps = 0;
  std::vector<std::string> degradations;
  std::string model, model_reason;
  std::string cache;  // "result", "latent", "template", or empty: drawn for this job
  std::vector<Picture> pictures;
  std::optional<ErrorAnswer> error;
  std::vector<std::string> notes;
  nlohmann::json seconds;                  // by phase
  std::string session, node_parent, node;  // of an edit in a session
  std::string idempotency_key;

  std::shared_ptr<Work> work;  // while queued or running

  // Called on every change, and with each preview. Numbers are handed out by JobBoard::listen.
  struct Event {
    enum class Kind : uint8_t { queued, progress, preview, over } kind;
    int step = 0;
    Blob preview;  // JPEG
  };
  std::vector<std::pair<uint64_t, std::function<void(const Job&, const Event&)>>> listeners;
};

using JobPointer = std::shared_ptr<Job>;

struct Work {
  std::string id;
  std::string key;  // cache key; empty: neither shared nor kept
  std::string owner;
  DrawRequest wish;      // as drawn: after the router and the brown-out
  double service_s = 0;  // expected
  std::vector<JobPointer> jobs;
  int attempts = 0;
};

}  // namespace inkling::server
