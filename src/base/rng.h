// Random normals with the streams of PyTorch's generators, so that a seed gives the noise that it gives
// there (reference/qwen-image.md section 7.3).
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>

namespace inkling {

// In what precision normals are drawn. The two bf16 kinds return values that bf16 holds exactly.
enum class DrawPrecision {
  f32,          // torch.randn(dtype=float32)
  bf16,         // torch.randn(dtype=bfloat16) of torch 2.13: drawn in f32, then rounded
  bf16_coarse,  // the same call in older releases (2.11), which drew uniforms of 8 bits: no value beyond 3.4
};

// A stream of standard normals. Calls continue the stream.
class NormalGenerator {
 public:
  virtual ~NormalGenerator() = default;
  virtual void normal(std::span<float> out, DrawPrecision precision = DrawPrecision::f32) = 0;
};

// torch.Generator("cpu"): Mersenne Twister 19937, seeded with the low 32 bits. Bit-exact with torch on x86
// machines with AVX2, whose polynomials it evaluates in the same order on any machine.
class TorchCpuGenerator final : public NormalGenerator {
 public:
  explicit TorchCpuGenerator(uint64_t seed) : engine_(static_cast<uint32_t>(seed)) {}
  void normal(std::span<float> out, DrawPrecision precision = DrawPrecision::f32) override;

 private:
  double uniform53();
  double next_double_normal();
  void fill_blocks_f32(std::span<float> out);
  void fill_blocks_bf16(std::span<float> out);
  void fill_blocks_bf16_coarse(std::span<float> out);

  std::mt19937 engine_;
  std::optional<double> spare_;  // second normal of a pair of the path below 16 values
};

// torch.Generator("cuda"): Philox 4x32-10. torch spreads a draw over as many threads as the GPU holds, so
// long draws depend on the GPU: more than `gpu_threads` = multiprocessors x resident threads values. The
// uniforms are exact; the normals are within 3e-6 of torch, which uses fast device functions. Both bf16
// kinds are the rounded f32 value there.
class PhiloxGenerator final : public NormalGenerator {
 public:
  static constexpr int64_t kLargeGpuThreads = 132 * 2048;  // H100/H200; 28 * 1536 on an RTX 3060

  explicit PhiloxGenerator(uint64_t seed, int64_t gpu_threads = kLargeGpuThreads);
  void normal(std::span<float> out, DrawPrecision precision = DrawPrecision::f32) override;

 private:
  uint64_t seed_;
  int64_t max_threads_;  // whole blocks of 256
  uint64_t offset_ = 0;  // 128-bit counters that each thread has used up
};

}  // namespace inkling
