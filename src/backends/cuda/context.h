// One GPU as this program uses it: the arena that holds every tensor and weight, the streams, and what lies outside
// the arena (CUDA's own context, code, library workspaces), which counts towards the budget too.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/slab.h"
#include "tensor/arena.h"

namespace inkling {

class CudaContext {
 public:
  static constexpr int kLanes = 4;
  static constexpr int64_t kLibraryWorkspace = int64_t{32} << 20;  // a lane's, for cublasLt

  // max_bytes: of the whole process on this device; 0: what is free. libraries: cublasLt and cuDNN will be used.
  // Throws MemoryError when the budget is smaller than what CUDA itself takes.
  CudaContext(int device, int64_t max_bytes, bool libraries);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  Arena& arena() { return *arena_; }
  // Lane 0 is the main stream; the others run parts of one operation beside it.
  cudaStream_t lane(int i = 0) const { return lanes_[i]; }
  // Lanes 1 .. n-1 begin after what lane 0 was given so far; join() is the reverse.
  void fork(int n);
  void join(int n);
  std::byte* library_workspace(int lane) const { return library_workspaces_[lane]; }
  // Device copy of small integers (row borders, indices), kept for the next call with the same values.
  const int32_t* constants(const std::vector<int32_t>& values);
  // Makes this context's device the current one of the calling thread.
  void activate() const;

  int64_t overhead_bytes() const { return overhead_; }  // outside the arena
  int64_t device_bytes() const;                         // taken from the device now, all in all
  // Tests: the next `count` allocations find no memory.
  void fail_next(int count) { failures_ = count; }

 private:
  int device_;
  int64_t overhead_ = 0;
  int failures_ = 0;
  cudaStream_t lanes_[kLanes]{};
  cudaEvent_t forked_{}, joined_[kLanes]{};
  std::byte* library_workspaces_[kLanes]{};
  std::byte* constant_memory_ = nullptr;
  int64_t constant_used_ = 0;
  std::map<std::vector<int32_t>, const int32_t*> constants_;
  std::shared_ptr<CudaSlab> slab_;
  std::unique_ptr<Arena> arena_;
};

// GPUs that this program can use (sm_80 and later); 0 without a driver.
int cuda_device_count();
std::string cuda_device_name(int device);
// Bytes in use on the device by everybody, by the driver's own count; -1 where it cannot be asked.
int64_t driver_used_bytes(int device);

}  // namespace inkling
