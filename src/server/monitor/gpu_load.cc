#include "server/monitor/gpu_load.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <vector>

namespace inkling::server {

namespace {

// NVML's C interface as far as it is used here; stable since driver 410. 0 is success everywhere.
using Device = void*;
struct Utilization {
  unsigned gpu, memory;
};
struct Memory {
  unsigned long long total, free, used;
};
constexpr int kTemperatureGpu = 0;

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    parts.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

}  // namespace

struct GpuLoad::Impl {
  Impl(const std::string& visible, const std::string& name) {
    if (!visible.empty()) list = split(visible);
    library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    int (*init)() = nullptr;
    const bool complete =
        find("nvmlInit_v2", init) && find("nvmlShutdown", shutdown) &&
        find("nvmlDeviceGetHandleByIndex_v2", by_index) && find("nvmlDeviceGetHandleByUUID", by_uuid) &&
        find("nvmlDeviceGetUtilizationRates", utilization) && find("nvmlDeviceGetMemoryInfo", memory) &&
        find("nvmlDeviceGetTemperature", temperature) && find("nvmlDeviceGetPowerUsage", power);
    ready = complete && init() == 0;
  }
  ~Impl() {
    if (ready) shutdown();
    if (library) dlclose(library);
  }
  template <typename F>
  bool find(const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
  }
  bool handle(int index, Device& device) const {
    if (index < 0) return false;
    if (list.empty()) return by_index(static_cast<unsigned>(index), &device) == 0;
    if (static_cast<size_t>(index) >= list.size()) return false;
    const std::string& entry = list[static_cast<size_t>(index)];
    unsigned number = 0;
    const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), number);
    if (error == std::errc() && end == entry.data() + entry.size()) return by_index(number, &device) == 0;
    return by_uuid(entry.c_str(), &device) == 0;
  }

  std::vector<std::string> list;
  void* library = nullptr;
  bool ready = false;
  int (*shutdown)() = nullptr;
  int (*by_index)(unsigned, Device*) = nullptr;
  int (*by_uuid)(const char*, Device*) = nullptr;
  int (*utilization)(Device, Utilization*) = nullptr;
  int (*memory)(Device, Memory*) = nullptr;
  int (*temperature)(Device, int, unsigned*) = nullptr;
  int (*power)(Device, unsigned*) = nullptr;
};

GpuLoad::GpuLoad(const std::string& visible, const std::string& library)
    : impl_(std::make_unique<Impl>(visible, library)) {}
GpuLoad::~GpuLoad() = default;

bool GpuLoad::available() const { return impl_->ready; }

std::optional<GpuSample> GpuLoad::sample(int index) const {
  Device device = nullptr;
  Utilization use{};
  Memory memory{};
  if (!impl_->ready || !impl_->handle(index, device) || impl_->memory(device, &memory) != 0 ||
      impl_->utilization(device, &use) != 0)
    return std::nullopt;
  GpuSample s{double(use.gpu), int64_t(memory.used), int64_t(memory.free), int64_t(memory.total), {}, {}};
  unsigned value = 0;
  if (impl_->temperature(device, kTemperatureGpu, &value) == 0) s.celsius = value;
  if (impl_->power(device, &value) == 0) s.watts = value / 1000.0;  // milliwatts
  return s;
}

std::optional<int64_t> resident_bytes(pid_t pid) {
  std::ifstream in(pid == 0 ? std::string("/proc/self/statm") : fmt::format("/proc/{}/statm", pid));
  int64_t total = 0, resident = 0;
  if (!(in >> total >> resident)) return std::nullopt;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace inkling::server
