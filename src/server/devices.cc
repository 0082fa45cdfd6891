#include "server/devices.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "pipeline/backend.h"
#include "server/service.h"

namespace inkling::server {

namespace {

// GPUs by their device files: the server itself never opens CUDA.
int gpu_count() {
#ifdef INKLING_CUDA
  int count = 0;
  while (std::filesystem::exists(fmt::format("/dev/nvidia{}", count))) ++count;
  return count;
#else
  return 0;
#endif
}

DeviceOptions worker(const ServiceOptions& o, const std::string& device, bool fallback) {
  DeviceOptions d{device, fallback, {o.program.empty() ? "/proc/self/exe" : o.program, "worker", "--device", device}};
  const auto add = [&](const char* flag, const std::string& value) {
    d.command.emplace_back(flag);
    d.command.push_back(value);
  };
  if (!o.max_vram.empty() && device != "cpu") add("--max-vram", o.max_vram);
  if (o.threads > 0) add("--threads", std::to_string(o.threads));
  if (o.synthetic_ms > 0) add("--synthetic-step-ms", fmt::format("{}", o.synthetic_ms));
  if (!o.synthetic_faults.empty() && device != "cpu") add("--synthetic-faults", o.synthetic_faults);
  add("--safety", o.safety ? "on" : "off");
  return d;
}

}  // namespace

std::vector<DeviceOptions> worker_devices(const ServiceOptions& o) {
  const DeviceChoice choice = parse_device(o.device);
  std::vector<DeviceOptions> devices;
  switch (choice.kind) {
    case DeviceChoice::Kind::cpu: devices.push_back(worker(o, "cpu", false)); break;
    case DeviceChoice::Kind::cuda:
      // Several GPUs draw several wishes side by side, each with a process of its own.
      devices.push_back(worker(o, fmt::format("cuda:{}", choice.index), false));
      for (const DeviceChoice& other : choice.more)
        devices.push_back(worker(o, fmt::format("cuda:{}", other.index), false));
      break;
    case DeviceChoice::Kind::automatic:
      for (int i = 0; i < gpu_count(); ++i) devices.push_back(worker(o, fmt::format("cuda:{}", i), false));
      if (devices.empty()) devices.push_back(worker(o, "cpu", false));
  }
  if (o.cpu_fallback && devices.front().name != "cpu") devices.push_back(worker(o, "cpu", true));
  return devices;
}

}  // namespace inkling::server
