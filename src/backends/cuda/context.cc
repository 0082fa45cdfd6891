#include "backends/cuda/context.h"

#include <dlfcn.h>

#include <algorithm>

#include "backends/cuda/kernels/launch.h"
#include "base/error.h"

namespace inkling {

using cuda::check;

namespace {

constexpr int64_t kConstantBytes = int64_t{4} << 20;
// Code and tables that CUDA loads when a kernel first runs, after the overhead was measured. cublasLt and cuDNN load a
// lot (measured on an H100: 0.6 GiB); our own kernels little.
constexpr int64_t kLateBytes = int64_t{96} << 20;
constexpr int64_t kLateLibraryBytes = int64_t{1} << 30;
// Taken where the driver's management library does not tell what the context took.
constexpr int64_t kAssumedContext = int64_t{640} << 20;

}  // namespace

// Unlike cudaMemGetInfo the management library needs no context, so it can be asked before there is one.
int64_t driver_used_bytes(int device) {
  struct Memory {
    unsigned long long total, free, used;
  };
  using Init = int (*)();
  using ByBus = int (*)(const char*, void**);
  using Info = int (*)(void*, Memory*);
  static void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (library == nullptr) return -1;
  static const auto init = reinterpret_cast<Init>(dlsym(library, "nvmlInit_v2"));
  static const auto by_bus = reinterpret_cast<ByBus>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
  static const auto memory_info = reinterpret_cast<Info>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
  char bus[32];
  void* handle = nullptr;
  Memory memory{};
  if (init == nullptr || by_bus == nullptr || memory_info == nullptr || init() != 0) return -1;
  if (cudaDeviceGetPCIBusId(bus, sizeof(bus), device) != cudaSuccess || by_bus(bus, &handle) != 0) return -1;
  return memory_info(handle, &memory) == 0 ? static_cast<int64_t>(memory.used) : -1;
}

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

std::string cuda_device_name(int device) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "device");
  return p.name;
}

CudaContext::CudaContext(int device, int64_t max_bytes, bool libraries) : device_(device) {
  const int64_t used_before = driver_used_bytes(device);
  check(cudaSetDevice(device), "choosing the GPU");
  check(cudaFree(nullptr), "starting CUDA");
  if (cuda::device().sm < 80)
    throw RuntimeError("GPU {} is of compute capability {}.{}, expected 8.0 or later", device, cuda::device().sm / 10,
                       cuda::device().sm % 10);
  for (cudaStream_t& lane : lanes_) check(cudaStreamCreateWithFlags(&lane, cudaStreamNonBlocking), "stream");
  check(cudaEventCreateWithFlags(&forked_, cudaEventDisableTiming), "event");
  for (cudaEvent_t& e : joined_) check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "event");
  check(cudaMalloc(reinterpret_cast<void**>(&constant_memory_), kConstantBytes), "constants");
  if (libraries)
    for (std::byte*& w : library_workspaces_)
      check(cudaMalloc(reinterpret_cast<void**>(&w), kLibraryWorkspace), "library workspace");

  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "GPU memory");
  const int64_t used_after = driver_used_bytes(device);
  const int64_t late = libraries ? kLateLibraryBytes : kLateBytes;
  overhead_ = (used_before >= 0 && used_after > used_before ? used_after - used_before : kAssumedContext) + late;
  int64_t room = static_cast<int64_t>(free) - late;
  if (max_bytes > 0) {
    if (max_bytes <= overhead_)
      throw MemoryError("a budget of {} MiB is too small: CUDA alone takes {} MiB on this GPU", max_bytes >> 20,
                        overhead_ >> 20);
    room = std::min(room, max_bytes - overhead_);
  }
  slab_ = CudaSlab::reserve(room);
  arena_ = std::make_unique<Arena>(slab_, [this](int64_t b, int64_t e) {
    if (failures_ > 0) {
      --failures_;
      throw MemoryError("GPU memory: a failure was injected");
    }
    slab_->back(b, e);
  });
}

CudaContext::~CudaContext() {
  activate();
  cudaDeviceSynchronize();
  arena_.reset();
  slab_.reset();
  for (std::byte* w : library_workspaces_) cudaFree(w);
  cudaFree(constant_memory_);
  for (cudaEvent_t e : joined_) cudaEventDestroy(e);
  cudaEventDestroy(forked_);
  for (cudaStream_t lane : lanes_) cudaStreamDestroy(lane);
}

void CudaContext::activate() const { check(cudaSetDevice(device_), "choosing the GPU"); }

void CudaContext::fork(int n) {
  if (n < 2) return;
  check(cudaEventRecord(forked_, lanes_[0]), "fork");
  for (int i = 1; i < n; ++i) check(cudaStreamWaitEvent(lanes_[i], forked_), "fork");
}

void CudaContext::join(int n) {
  for (int i = 1; i < n; ++i) {
    check(cudaEventRecord(joined_[i], lanes_[i]), "join");
    check(cudaStreamWaitEvent(lanes_[0], joined_[i]), "join");
  }
}

const int32_t* CudaContext::constants(const std::vector<int32_t>& values) {
  if (const auto known = constants_.find(values); known != constants_.end()) return known->second;
  const int64_t bytes = (std::ssize(values) * 4 + 15) / 16 * 16;
  if (bytes > kConstantBytes)
    throw RuntimeError("constants: got {} integers, expected at most {}", values.size(), kConstantBytes / 4);
  if (constant_used_ + bytes > kConstantBytes) {  // start over, once nothing reads the old ones
    check(cudaDeviceSynchronize(), "constants");
    constants_.clear();
    constant_used_ = 0;
  }
  auto* at = reinterpret_cast<int32_t*>(constant_memory_ + constant_used_);
  check(cudaMemcpyAsync(at, values.data(), values.size() * 4, cudaMemcpyHostToDevice, lanes_[0]), "constants");
  check(cudaStreamSynchronize(lanes_[0]), "constants");  // other lanes may read them at once
  constant_used_ += bytes;
  return constants_.emplace(values, at).first->second;
}

int64_t CudaContext::device_bytes() const { return overhead_ + slab_->backed_bytes(); }

}  // namespace inkling
