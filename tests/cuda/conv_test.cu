// conv2d against a direct convolution, one thread an output, summed in double. Weights are multiples of 1/16 of at most
// 15/16, so that the sums over taps that doubling takes are exact in bf16.
#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "backends/cuda/kernels/conv.h"

namespace inkling::cuda {

namespace {

struct Case {
  ConvShape shape;
  Elem x, y;
  bool bias, residual;
};

// Device memory with NaN around it: a read outside shows in the result, a write outside in `intact`.
class Guarded {
 public:
  explicit Guarded(int64_t bytes) : bytes_((bytes + 255) / 256 * 256) {
    check(cudaMalloc(&base_, bytes_ + 2 * kGuard), "test");
    check(cudaMemset(base_, 0xff, bytes_ + 2 * kGuard), "test");
  }
  ~Guarded() { cudaFree(base_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  template <typename T = void>
  T* data() const {
    return reinterpret_cast<T*>(base_ + kGuard);
  }
  // `used`: the bytes that may have been written.
  bool intact(int64_t used) const {
    std::vector<uint8_t> all(bytes_ + 2 * kGuard);
    check(cudaMemcpy(all.data(), base_, all.size(), cudaMemcpyDeviceToHost), "test");
    for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i)
      if ((i < kGuard || i >= kGuard + used) && all[i] != 0xff) return false;
    return true;
  }

 private:
  static constexpr int64_t kGuard = 4096;
  int64_t bytes_;
  uint8_t* base_ = nullptr;
};

__device__ float element(const void* p, bool f32, int64_t i) {
  return f32 ? static_cast<const float*>(p)[i] : __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
}

// error[0]: the largest error in units of what is allowed.
__global__ void compare(ConvShape s, const void* x, bool x_f32, const float* weight, const float* bias,
                        const __nv_bfloat16* residual, const void* y, bool y_f32, float* error) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (index >= s.out_h() * s.out_w() * s.cout) return;
  const int64_t n = index % s.cout, ox = index / s.cout % s.out_w(), oy = index / s.cout / s.out_w();
  double sum = bias ? bias[n] : 0., size = fabs(sum);
  for (int64_t ky = 0; ky < s.kernel; ++ky)
    for (int64_t kx = 0; kx < s.kernel; ++kx) {
      const int64_t iy = oy * s.stride + ky - s.pad_top, ix = ox * s.stride + kx - s.pad_left;
      if (iy < 0 || iy >= s.in_h() || ix < 0 || ix >= s.in_w()) continue;
      const int64_t at = ((s.upsample ? iy / 2 : iy) * s.w + (s.upsample ? ix / 2 : ix)) * s.cin;
      for (int64_t c = 0; c < s.cin; ++c) {
        const double product = static_cast<double>(__bfloat162float(__float2bfloat16(element(x, x_f32, at + c)))) *
                               weight[((n * s.cin + c) * s.kernel + ky) * s.kernel + kx];
        sum += product;
        size += fabs(product);
      }
    }
  if (residual) sum += __bfloat162float(residual[index]);
  // f32 sums of up to 3456 products, in the order of the kernel; then one rounding to bf16.
  const double allowed = 4e-6 * size + 1e-6 + (y_f32 ? 0. : fabs(sum) / 256);
  const double e = fabs(element(y, y_f32, index) - sum) / allowed;
  // Positive floats are ordered as integers; NaN (poison) counts as the largest.
  atomicMax(reinterpret_cast<int*>(error), __float_as_int(e == e ? static_cast<float>(e) : INFINITY));
}

// As bf16.
std::vector<uint16_t> rounded(const std::vector<float>& v) {
  std::vector<uint16_t> b(v.size());
  for (size_t i = 0; i < v.size(); ++i) b[i] = __bfloat16_as_ushort(__float2bfloat16(v[i]));
  return b;
}

std::string describe(const Case& c) {
  const ConvShape& s = c.shape;
  std::string text;
  for (const int64_t v :
       {s.h, s.w, s.cin, s.cout, s.kernel, s.stride, s.pad_top, s.pad_left, s.pad_bottom, s.pad_right})
    text += std::to_string(v) + " ";
  return text + (s.upsample ? "doubled " : "") + (c.x == Elem::f32 ? "f32 -> " : "bf16 -> ") +
         (c.y == Elem::f32 ? "f32" : "bf16") + (c.bias ? " bias" : "") + (c.residual ? " residual" : "");
}

void expect_close(const Case& c) {
  const ConvShape& s = c.shape;
  std::mt19937 random(static_cast<uint32_t>(s.h * 31 + s.cin));
  const auto normal = [&](std::vector<float>& v) {
    std::normal_distribution<float> d;
    for (float& e : v) e = d(random);
  };
  const auto upload = [&](const std::vector<float>& v, Elem type, const Guarded& to) {
    if (type == Elem::f32) {
      check(cudaMemcpy(to.data(), v.data(), v.size() * 4, cudaMemcpyHostToDevice), "test");
      return;
    }
    const std::vector<uint16_t> b = rounded(v);
    check(cudaMemcpy(to.data(), b.data(), b.size() * 2, cudaMemcpyHostToDevice), "test");
  };
  std::vector<float> x(s.h * s.w * s.cin), weight(s.cout * s.cin * s.kernel * s.kernel), bias(s.cout);
  const int64_t outputs = s.out_h() * s.out_w() * s.cout;
  std::vector<float> residual(outputs);
  normal(x), normal(bias), normal(residual);
  for (float& w : weight) w = static_cast<float>(std::uniform_int_distribution<int>(-15, 15)(random)) / 16;

  const Guarded dx(x.size() * size_of(c.x)), dw(weight.size() * 4), db(bias.size() * 4), dr(outputs * 2),
      dy(outputs * size_of(c.y)), packed(conv_packed_bytes(s)), error(4);
  upload(x, c.x, dx);
  upload(weight, Elem::f32, dw);
  upload(bias, Elem::f32, db);
  upload(residual, Elem::bf16, dr);
  check(cudaMemset(error.data(), 0, 4), "test");
  pack_conv(dw.data<float>(), s, packed.data(), nullptr);
  const float* with_bias = c.bias ? db.data<float>() : nullptr;
  const auto* with_residual = c.residual ? dr.data<__nv_bfloat16>() : nullptr;
  conv2d(s, dx.data(), c.x, packed.data(), with_bias, with_residual, dy.data(), c.y, nullptr);
  compare<<<static_cast<unsigned>((outputs + 127) / 128), 128>>>(s, dx.data(), c.x == Elem::f32, dw.data<float>(),
                                                                 with_bias, with_residual, dy.data(), c.y == Elem::f32,
                                                                 error.data<float>());
  float worst = NAN;
  check(cudaMemcpy(&worst, error.data(), 4, cudaMemcpyDeviceToHost), "test");
  EXPECT_LE(worst, 1.f) << describe(c);
  EXPECT_TRUE(dy.intact(outputs * size_of(c.y))) << describe(c);
  EXPECT_TRUE(packed.intact(conv_packed_bytes(s))) << describe(c);
}

ConvShape same(int64_t h, int64_t w, int64_t cin, int64_t cout, bool upsample = false) {
  return {h, w, cin, cout, 3, 1, 1, 1, 1, 1, upsample};
}
ConvShape down(int64_t h, int64_t w, int64_t cin, int64_t cout) { return {h, w, cin, cout, 3, 2, 0, 0, 1, 1, false}; }

class ConvTest : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
  }
};

}  // namespace

TEST_F(ConvTest, Same3x3OfEveryWidth) {
  const std::pair<int64_t, int64_t> channels[] = {{96, 96},  {192, 192}, {384, 384}, {192, 384}, {96, 3},
                                                  {384, 32}, {24, 24},   {48, 48},   {48, 24},   {24, 3},
                                                  {96, 100}, {40, 16},   {32, 97},   {56, 50}};
  for (const auto& [cin, cout] : channels)
    for (const auto& [h, w] : {std::pair<int64_t, int64_t>{32, 48}, {19, 37}})
      for (const bool f32 : {false, true})
        expect_close({same(h, w, cin, cout), Elem::bf16, f32 ? Elem::f32 : Elem::bf16, true, f32});
}

TEST_F(ConvTest, EveryTileOfLargeMaps) {
  expect_close({same(256, 320, 96, 96), Elem::bf16, Elem::bf16, true, true});
  expect_close({same(203, 331, 96, 192), Elem::bf16, Elem::bf16, true, true});
  expect_close({same(128, 128, 384, 384), Elem::bf16, Elem::bf16, true, true});
  expect_close({same(130, 160, 128, 136), Elem::bf16, Elem::f32, false, true});
  expect_close({same(97, 200, 192, 96, true), Elem::bf16, Elem::bf16, true, false});
  expect_close({same(128, 96, 384, 192, true), Elem::bf16, Elem::f32, true, false});
}

TEST_F(ConvTest, SmallMaps) {
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {1, 17}, {2, 3}, {16, 16}, {9, 16}, {33, 1}})
    for (const bool upsample : {false, true})
      for (const int64_t cin : {16, 24, 96, 5})
        expect_close({same(h, w, cin, 96, upsample), Elem::bf16, Elem::bf16, true, true});
}

TEST_F(ConvTest, FewAndOddChannels) {
  for (const int64_t cin : {1, 3, 4, 8, 16, 17, 27, 33, 100})
    for (const int64_t cout : {1, 3, 24, 96, 101})
      for (const Elem x : {Elem::bf16, Elem::f32}) expect_close({same(18, 21, cin, cout), x, Elem::f32, true, true});
}

TEST_F(ConvTest, MapsInF32) {
  for (const int64_t cin : {3, 16, 24, 48, 96})
    for (const bool upsample : {false, true})
      expect_close({same(20, 35, cin, 96, upsample), Elem::f32, Elem::bf16, true, false});
}

TEST_F(ConvTest, Stride2PaddedAtTheEnd) {
  for (const int64_t c : {96, 192, 384, 24, 48, 16, 3})
    for (const auto& [h, w] : {std::pair<int64_t, int64_t>{64, 48}, {34, 22}})
      expect_close({down(h, w, c, c), Elem::bf16, Elem::bf16, true, false});
  expect_close({down(15, 33, 96, 96), Elem::f32, Elem::bf16, true, true});
}

TEST_F(ConvTest, AnyPadding) {
  for (const int64_t stride : {1, 2})
    for (const int64_t kernel : {1, 3})
      for (const bool upsample : {false, true}) {
        if (upsample && stride == 2) continue;
        for (const int64_t cin : {6, 40})
          for (int64_t pads = 0; pads < 16; ++pads) {
            const ConvShape s{
                11, 13, cin, 20, kernel, stride, pads & 1, pads >> 1 & 1, pads >> 2 & 1, pads >> 3 & 1, upsample};
            expect_close({s, Elem::bf16, Elem::f32, true, false});
          }
        expect_close({{9, 7, 24, 48, kernel, stride, 2, 3, 4, 5, upsample}, Elem::bf16, Elem::f32, false, false});
      }
}

TEST_F(ConvTest, Pointwise) {
  for (const int64_t cin : {16, 96, 192, 7})
    expect_close({{33, 29, cin, 384, 1, 1, 0, 0, 0, 0, false}, Elem::bf16, Elem::bf16, true, true});
}

TEST_F(ConvTest, SameBytesOnEveryRun) {
  const ConvShape s = same(64, 64, 96, 96);
  const int64_t bytes = s.h * s.w * 96 * 2;
  const Guarded x(bytes), weight(96 * 96 * 9 * 4), packed(conv_packed_bytes(s)), y(bytes);
  std::vector<float> w(96 * 96 * 9), map(bytes / 2);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (auto* v : {&w, &map})
    for (float& e : *v) e = normal(random);
  check(cudaMemcpy(weight.data(), w.data(), w.size() * 4, cudaMemcpyHostToDevice), "test");
  check(cudaMemcpy(x.data(), rounded(map).data(), bytes, cudaMemcpyHostToDevice), "test");
  pack_conv(weight.data<float>(), s, packed.data(), nullptr);
  std::vector<uint8_t> first(bytes), again(bytes);
  for (auto* result : {&first, &again}) {
    conv2d(s, x.data(), Elem::bf16, packed.data(), nullptr, nullptr, y.data(), Elem::bf16, nullptr);
    check(cudaMemcpy(result->data(), y.data(), bytes, cudaMemcpyDeviceToHost), "test");
  }
  EXPECT_EQ(first, again);
}

TEST_F(ConvTest, RefusesWhatItCannotDo) {
  const auto bytes = [](ConvShape s) { return conv_packed_bytes(s); };
  EXPECT_THROW(bytes({8, 8, 8, 8, 5, 1, 2, 2, 2, 2, false}), std::runtime_error);
  EXPECT_THROW(bytes({8, 8, 8, 8, 3, 3, 1, 1, 1, 1, false}), std::runtime_error);
  EXPECT_THROW(bytes({8, 8, 8, 8, 3, 2, 1, 1, 1, 1, true}), std::runtime_error);
  EXPECT_THROW(bytes({2, 2, 8, 8, 3, 1, 0, 0, 0, 0, false}), std::runtime_error);
  EXPECT_THROW(bytes({8, 8, 8, 8, 3, 1, -1, 1, 1, 1, false}), std::runtime_error);
  EXPECT_THROW(bytes({8, 8, 0, 8, 3, 1, 1, 1, 1, 1, false}), std::runtime_error);
  const Guarded map(1 << 16);
  const ConvShape s = same(8, 8, 8, 8);
  const auto run = [&](const void* x, Elem type) {
    conv2d(s, x, type, map.data(), nullptr, nullptr, map.data<uint8_t>() + 32768, Elem::bf16, nullptr);
  };
  EXPECT_THROW(run(map.data<uint8_t>() + 8, Elem::bf16), std::runtime_error);
  EXPECT_THROW(run(map.data(), Elem::i8), std::runtime_error);
}

}  // namespace inkling::cuda
