#include "backends/cuda/kernels/launch.h"

#include <array>
#include <mutex>

#include "base/error.h"

namespace inkling::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  if (status == cudaErrorMemoryAllocation) cudaGetLastError();  // not sticky: later calls are judged by their own
  throw_device_error(status, what, cudaGetErrorString(status));
}

void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

namespace {
Device assumed;
}

void assume_device(const Device& device) { assumed = device; }

const Device& device() {
  if (assumed.sm > 0) return assumed;
  constexpr int kMax = 64;
  static std::array<Device, kMax> devices;
  static std::array<std::once_flag, kMax> read;
  int index = 0;
  check(cudaGetDevice(&index), "device");
  if (index >= kMax) throw RuntimeError("device: got number {}, expected less than {}", index, kMax);
  std::call_once(read[index], [&] {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, index), "device");
    devices[index] = {index, p.major * 10 + p.minor, p.multiProcessorCount, p.l2CacheSize,
                      static_cast<int64_t>(p.sharedMemPerBlockOptin)};
  });
  return devices[index];
}

}  // namespace inkling::cuda
