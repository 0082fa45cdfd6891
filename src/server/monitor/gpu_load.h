// How busy the GPUs are, read through NVML if its library is there (it comes with the driver; nothing is linked), and
// the memory of a process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace inkling::server {

struct GpuSample {
  double utilisation = 0;  // percent of the last sampling period (1/6 to 1 s) in which a kernel ran
  int64_t used_bytes = 0, free_bytes = 0, total_bytes = 0;
  std::optional<double> celsius, watts;
};

class GpuLoad {
 public:
  // `visible`: value of CUDA_VISIBLE_DEVICES, empty when unset: index i is then its i-th entry (number or GPU-UUID).
  explicit GpuLoad(const std::string& visible = "", const std::string& library = "libnvidia-ml.so.1");
  ~GpuLoad();

  bool available() const;
  std::optional<GpuSample> sample(
      int index) const;  // CUDA's index; nullopt: no driver, no such GPU, or it fell off the bus

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::optional<int64_t> resident_bytes(pid_t pid = 0);  // 0: this process

}  // namespace inkling::server
