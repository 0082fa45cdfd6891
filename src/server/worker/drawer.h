// What a worker does with a batch of wishes: pictures by a model, or by nothing at all (load tests).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pipeline/request.h"
#include "server/draw_request.h"

namespace inkling::server {

// One checkpoint as the configuration names it.
struct ModelSpec {
  std::string id, path;  // path empty: the model that ships
  std::string precision = "auto";
  int64_t embedding_bytes = 64 << 20;  // host memory for encoded prompts
};

struct DrawnPicture {
  Image image;
  int64_t seed = 0;
};

struct DrawOutcome {
  std::vector<DrawnPicture> pictures;
  std::vector<std::string> notes;
  std::map<std::string, double> seconds;
  std::string precision;
  bool embedding_cached = false;
  std::exception_ptr error;
};

// A wish made ready: its pictures decoded.
struct ReadyWish {
  DrawRequest wish;
  std::vector<Image> images;
  std::optional<Image> mask;
};

class Drawer {
 public:
  virtual ~Drawer() = default;
  // Loads what is needed; throws ModelError, MemoryError.
  virtual void open(const ModelSpec& model) = 0;
  virtual std::vector<DrawOutcome> draw(std::span<const ReadyWish> wishes, std::span<const Callbacks> callbacks) = 0;
  virtual nlohmann::json describe() const = 0;  // of the open model: fingerprint, defaults, device, memory
};

std::unique_ptr<Drawer> make_engine_drawer(const std::string& device, const std::string& max_vram);
// Steps of `step_ms` milliseconds and a colour ramp that depends on prompt and seed. A file `faults` that holds
// "CODE@N" makes the N-th device call of the next batch fail as CUDA would with this error code, and is removed; call 1
// opens the device, each step is one, the last fetches the picture. After any code but 2 (out of memory) all later
// calls of the process fail too: the context is lost.
std::unique_ptr<Drawer> make_synthetic_drawer(double step_ms, const std::string& faults = {});

}  // namespace inkling::server
