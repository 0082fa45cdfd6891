// Device memory for tests, and what makes a test skip itself where there is no device.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <vector>

namespace inkling::testing {

inline bool have_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
#define INKLING_NEEDS_DEVICE() \
  if (!::inkling::testing::have_device()) GTEST_SKIP() << "no CUDA device"

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    if (cudaMalloc(&data_, size * sizeof(T)) != cudaSuccess) throw std::bad_alloc();
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  // Every byte, so that what a kernel leaves out or writes beside its output shows.
  void fill_bytes(int value) { cudaMemset(data_, value, size_ * sizeof(T)); }
  std::vector<T> download() const {
    std::vector<T> host(size_);
    const cudaError_t status = cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost);
    EXPECT_EQ(status, cudaSuccess) << cudaGetErrorString(status);
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace inkling::testing
