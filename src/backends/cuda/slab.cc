#include "backends/cuda/slab.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "backends/cuda/kernels/launch.h"
#include "base/error.h"

namespace inkling {

namespace {

// A multiple of the granularity of every device (2 MiB).
constexpr int64_t kChunk = int64_t{32} << 20;

// The driver's entry points, found through the runtime, so that the program links no libcuda.
template <typename F>
F entry_point(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  cuda::check(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found), name);
  if (function == nullptr || found != cudaDriverEntryPointSuccess)
    throw RuntimeError("the NVIDIA driver has no {}; update the driver", name);
  return reinterpret_cast<F>(function);
}

struct Driver {
#define INKLING_ENTRY(name) decltype(&::name) name = entry_point<decltype(&::name)>(#name)
  INKLING_ENTRY(cuMemAddressReserve);
  INKLING_ENTRY(cuMemAddressFree);
  INKLING_ENTRY(cuMemCreate);
  INKLING_ENTRY(cuMemRelease);
  INKLING_ENTRY(cuMemMap);
  INKLING_ENTRY(cuMemUnmap);
  INKLING_ENTRY(cuMemSetAccess);
#undef INKLING_ENTRY
};

const Driver& driver() {
  static const Driver d;
  return d;
}

void check_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) throw MemoryError("{}: the GPU is out of memory", what);
  throw RuntimeError("{}: driver error {}", what, static_cast<int>(result));
}

CUmemAllocationProp properties(int device) {
  CUmemAllocationProp p{};
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location = {CU_MEM_LOCATION_TYPE_DEVICE, {device}};
  return p;
}

}  // namespace

std::shared_ptr<CudaSlab> CudaSlab::reserve(int64_t bytes) {
  bytes = bytes / kChunk * kChunk;
  if (bytes <= 0) throw MemoryError("the GPU memory left for this program is {} bytes: too little", bytes);
  CUdeviceptr address = 0;
  check_driver(driver().cuMemAddressReserve(&address, static_cast<size_t>(bytes), 0, 0, 0), "reserving GPU addresses");
  // The driver gives addresses as integers. NOLINTNEXTLINE(performance-no-int-to-ptr)
  auto* const data = reinterpret_cast<std::byte*>(address);
  return std::shared_ptr<CudaSlab>(new CudaSlab(data, bytes, cuda::device().index));
}

CudaSlab::CudaSlab(std::byte* data, int64_t bytes, int device)
    : Storage(data, bytes), device_(device), chunks_(static_cast<size_t>(bytes / kChunk), 0) {}

CudaSlab::~CudaSlab() {
  cudaSetDevice(device_);
  cudaDeviceSynchronize();  // no kernel may touch what goes away
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i] == 0) continue;
    driver().cuMemUnmap(reinterpret_cast<CUdeviceptr>(data_) + i * kChunk, kChunk);
    driver().cuMemRelease(chunks_[i]);
  }
  driver().cuMemAddressFree(reinterpret_cast<CUdeviceptr>(data_), static_cast<size_t>(bytes_));
}

void CudaSlab::back(int64_t begin, int64_t end) {
  for (int64_t i = begin / kChunk; i * kChunk < end; ++i) {
    if (chunks_[static_cast<size_t>(i)] != 0) continue;
    const CUmemAllocationProp p = properties(device_);
    CUmemGenericAllocationHandle handle = 0;
    check_driver(driver().cuMemCreate(&handle, kChunk, &p, 0), "GPU memory");
    const CUdeviceptr address = reinterpret_cast<CUdeviceptr>(data_) + static_cast<CUdeviceptr>(i * kChunk);
    CUmemAccessDesc access{p.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    const CUresult mapped = driver().cuMemMap(address, kChunk, 0, handle, 0);
    const CUresult usable = mapped == CUDA_SUCCESS ? driver().cuMemSetAccess(address, kChunk, &access, 1) : mapped;
    if (usable != CUDA_SUCCESS) {
      if (mapped == CUDA_SUCCESS) driver().cuMemUnmap(address, kChunk);
      driver().cuMemRelease(handle);
      check_driver(usable, "GPU memory");
    }
    chunks_[static_cast<size_t>(i)] = handle;
    backed_ += kChunk;
  }
}

}  // namespace inkling
