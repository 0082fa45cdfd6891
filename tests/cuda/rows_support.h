// Device buffers and random rows for the tests of row kernels.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "backends/cuda/kernels/launch.h"
#include "tensor/dtype.h"

namespace inkling::cuda::testing {

// Memory on the device, filled with a pattern and followed by a strip that must keep it.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) : bytes_(bytes) {
    check(cudaMalloc(&p_, bytes + kStrip), "test");
    check(cudaMemset(p_, kPattern, bytes + kStrip), "test");
  }
  template <typename T>
  explicit Buffer(const std::vector<T>& values) : Buffer(static_cast<int64_t>(values.size() * sizeof(T))) {
    check(cudaMemcpy(p_, values.data(), bytes_, cudaMemcpyHostToDevice), "test");
  }
  Buffer(Buffer&& other) noexcept : p_(std::exchange(other.p_, nullptr)), bytes_(other.bytes_) {}
  ~Buffer() {
    if (p_ == nullptr) return;
    std::vector<uint8_t> strip(kStrip);
    EXPECT_EQ(cudaMemcpy(strip.data(), static_cast<char*>(p_) + bytes_, kStrip, cudaMemcpyDeviceToHost), cudaSuccess);
    for (uint8_t byte : strip) {
      if (byte == kPattern) continue;
      ADD_FAILURE() << "written beyond the end of a buffer of " << bytes_ << " bytes";
      break;
    }
    cudaFree(p_);
  }
  template <typename T = void>
  T* as(int64_t byte_offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(p_) + byte_offset);
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> result(static_cast<size_t>(bytes_) / sizeof(T));
    check(cudaMemcpy(result.data(), p_, result.size() * sizeof(T), cudaMemcpyDeviceToHost), "test");
    return result;
  }

 private:
  static constexpr int kPattern = 0xc5;
  static constexpr int64_t kStrip = 512;
  void* p_ = nullptr;
  int64_t bytes_;
};

inline std::vector<float> normals(int64_t n, uint32_t seed, float std = 1.f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.f, std);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = normal(rng);
  return v;
}
inline std::vector<uint16_t> bf16_bits(const std::vector<float>& v) {
  std::vector<uint16_t> bits(v.size());
  for (size_t i = 0; i < v.size(); ++i) bits[i] = to_bf16(v[i]).bits;
  return bits;
}
inline std::vector<float> from_bf16(const std::vector<uint16_t>& bits) {
  std::vector<float> v(bits.size());
  for (size_t i = 0; i < v.size(); ++i) v[i] = to_float(bf16_t{bits[i]});
  return v;
}
// Rounds v to the type and puts it on the device, `skew` elements off the start of the allocation.
inline Buffer upload(std::vector<float>& v, Elem type, int64_t skew = 0) {
  if (type == Elem::bf16) v = from_bf16(bf16_bits(v));
  Buffer b((static_cast<int64_t>(v.size()) + skew) * size_of(type));
  const std::vector<uint16_t> bits = bf16_bits(v);
  const void* from = type == Elem::bf16 ? static_cast<const void*>(bits.data()) : v.data();
  check(cudaMemcpy(b.as<char>(skew * size_of(type)), from, v.size() * size_of(type), cudaMemcpyHostToDevice), "test");
  return b;
}
inline std::vector<float> download(const Buffer& b, Elem type, int64_t skew = 0) {
  std::vector<float> v = type == Elem::bf16 ? from_bf16(b.values<uint16_t>()) : b.values<float>();
  v.erase(v.begin(), v.begin() + skew);
  return v;
}
// |got - expected| within `absolute` plus the rounding of the type; NaN matches NaN.
inline void expect_near(const std::vector<float>& got, const std::vector<double>& expected, Elem type, double absolute,
                        const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    const double e = expected[i];
    const double tolerance = absolute + std::fabs(e) * (type == Elem::bf16 ? 1.0 / 256 : 4e-6);
    if (std::isnan(e) ? std::isnan(got[i]) : std::fabs(got[i] - e) <= tolerance) continue;
    FAIL() << what << ": element " << i << " is " << got[i] << ", expected " << e;
  }
}

class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "no CUDA device";
  }
};

}  // namespace inkling::cuda::testing
