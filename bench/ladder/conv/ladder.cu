// The way to the convolution kernel, step by step, on the maps of AutoencoderKLQwenImage's decoder at 1024 x 1024:
//
//   direct   one thread an output, f32                          the reference that the others are checked against
//   gather   implicit product on tensor cores: the pixels of one tap are fetched per step
//   halo     the patch under a tile is fetched once, and taps shift addresses (kernels/conv_kernel.cuh)
//   2x2      halo, and a convolution of a doubled map as four 2x2 convolutions of the small one
//
// The rest are shapes of tiles, pixels x outputs, with the stages of the ring of weights.
// Build: nvcc -std=c++20 -O3 -arch=native -Isrc --expt-relaxed-constexpr src/base/error.cc -lfmt
//   bench/ladder/conv/ladder.cu src/backends/cuda/kernels/{conv.cu,conv_problem.cc,launch.cc}
#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include "backends/cuda/kernels/conv.h"
#include "backends/cuda/kernels/conv_launch.cuh"

namespace {

using namespace inkling::cuda;
using namespace inkling::cuda::conv;

__global__ void fill(void* p, int64_t count, bool f32, float scale, uint32_t seed) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  uint32_t h = static_cast<uint32_t>(i) * 0x9e3779b1u ^ seed;
  h = (h ^ h >> 15) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  const float v = (static_cast<float>(h >> 8) / (1 << 24) * 2 - 1) * scale;
  if (f32)
    static_cast<float*>(p)[i] = v;
  else
    static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(v);
}

// Thread: one output; the threads of a warp make neighbouring pixels' same channel, so that weights are broadcast.
__global__ void direct(ConvShape s, const __nv_bfloat16* x, const float* weight, const float* bias,
                       const __nv_bfloat16* residual, __nv_bfloat16* y) {
  const int64_t ox = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x, oy = blockIdx.y, n = blockIdx.z;
  if (ox >= s.out_w()) return;
  float sum = bias[n];
  for (int ky = 0; ky < s.kernel; ++ky)
    for (int kx = 0; kx < s.kernel; ++kx) {
      const int64_t iy = oy * s.stride + ky - s.pad_top, ix = ox * s.stride + kx - s.pad_left;
      if (iy < 0 || iy >= s.in_h() || ix < 0 || ix >= s.in_w()) continue;
      const __nv_bfloat16* at = x + ((s.upsample ? iy / 2 : iy) * s.w + (s.upsample ? ix / 2 : ix)) * s.cin;
      for (int64_t c = 0; c < s.cin; ++c)
        sum += __bfloat162float(at[c]) *
               __bfloat162float(__float2bfloat16(weight[((n * s.cin + c) * s.kernel + ky) * s.kernel + kx]));
    }
  const int64_t at = (oy * s.out_w() + ox) * s.cout + n;
  if (residual) sum += __bfloat162float(residual[at]);
  y[at] = __float2bfloat16(sum);
}

__global__ void largest_difference(const __nv_bfloat16* a, const __nv_bfloat16* b, int64_t count, float* worst) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const float e = fabsf(__bfloat162float(a[i]) - __bfloat162float(b[i]));
  atomicMax(reinterpret_cast<int*>(worst), __float_as_int(e == e ? e : INFINITY));
}

unsigned over(int64_t n, int64_t d) { return static_cast<unsigned>((n + d - 1) / d); }

template <typename T>
T* device_array(int64_t count) {
  void* p = nullptr;
  check(cudaMalloc(&p, count * sizeof(T)), "ladder");
  return static_cast<T*>(p);
}

float median_ms(int runs, const std::function<void(int)>& run) {
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "ladder");
  check(cudaEventCreate(&to), "ladder");
  std::vector<float> times(runs);
  const int warm_up = runs > 1 ? 3 : 0;
  for (int i = -warm_up; i < runs; ++i) {
    check(cudaEventRecord(from), "ladder");
    run(i + warm_up);
    check(cudaEventRecord(to), "ladder");
    check(cudaEventSynchronize(to), "ladder");
    if (i >= 0) check(cudaEventElapsedTime(&times[i], from, to), "ladder");
  }
  cudaEventDestroy(from);
  cudaEventDestroy(to);
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[runs / 2];
}

struct Row {
  const char* name;
  ConvShape shape;
  bool residual;
};

double flops(const Row& row) {
  const ConvShape& s = row.shape;
  return 2. * s.kernel * s.kernel * s.cin * s.cout * s.out_h() * s.out_w();
}

// Maps of one row; several copies, so that L2 does not hold what a layer of a real decoder would fetch.
struct Maps {
  int64_t in, out, copies;
  __nv_bfloat16 *x, *residual, *y, *reference;
  float *weight, *bias, *worst;
  uint8_t* packed;

  explicit Maps(const ConvShape& s) {
    in = s.h * s.w * s.cin;
    out = s.out_h() * s.out_w() * s.cout;
    copies = std::clamp<int64_t>((128 << 20) / (in + out), 1, 8);
    const int64_t weights = s.cout * s.cin * s.kernel * s.kernel;
    x = device_array<__nv_bfloat16>(in * copies);
    residual = device_array<__nv_bfloat16>(out * copies);
    y = device_array<__nv_bfloat16>(out * copies);
    reference = device_array<__nv_bfloat16>(out);
    weight = device_array<float>(weights);
    bias = device_array<float>(s.cout);
    worst = device_array<float>(1);
    packed = device_array<uint8_t>(conv_packed_bytes(s));
    fill<<<over(in * copies, 256), 256>>>(x, in * copies, false, 1.f, 1);
    fill<<<over(out * copies, 256), 256>>>(residual, out * copies, false, 1.f, 2);
    fill<<<over(weights, 256), 256>>>(weight, weights, true, 0.05f, 3);
    fill<<<over(s.cout, 256), 256>>>(bias, s.cout, true, 1.f, 4);
    pack_conv(weight, s, packed, nullptr);
  }
  ~Maps() {
    for (void* p :
         {static_cast<void*>(x), static_cast<void*>(residual), static_cast<void*>(y), static_cast<void*>(reference),
          static_cast<void*>(weight), static_cast<void*>(bias), static_cast<void*>(worst), static_cast<void*>(packed)})
      cudaFree(p);
  }
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;
};

// Times one version and prints a line with its largest error.
void report(const char* version, const Row& row, const Maps& maps, int runs, const std::function<void(int)>& run) {
  check(cudaMemset(maps.y, 0xff, maps.out * 2), "ladder");
  check(cudaMemset(maps.worst, 0, 4), "ladder");
  run(0);
  largest_difference<<<over(maps.out, 256), 256>>>(maps.y, maps.reference, maps.out, maps.worst);
  float worst = NAN;
  check(cudaMemcpy(&worst, maps.worst, 4, cudaMemcpyDeviceToHost), "ladder");
  const float ms = median_ms(runs, run);
  std::printf("%-22s %-34s %8.3f ms %7.1f TFLOP/s  error %.3g %s\n", row.name, version, ms, flops(row) / ms * 1e-9,
              worst, worst < 0.1f ? "" : "FAIL");
}

template <class T, bool kHalo>
void tile(const char* version, const Row& row, const Maps& maps) {
  Problem p = make_problem(row.shape);
  p.packed = maps.packed;
  p.bias = maps.bias;
  report(version, row, maps, 20, [&](int i) {
    p.x = maps.x + i % maps.copies * maps.in;
    p.y = maps.y + i % maps.copies * maps.out;
    p.residual = row.residual ? maps.residual + i % maps.copies * maps.out : nullptr;
    if constexpr (kHalo)
      launch<T>(halo_kernel<T>, p, T::kHaloShared, nullptr);
    else
      launch<T>(gather_kernel<T, true>, p, T::kGatherShared, nullptr);
  });
}

void climb(const Row& row) {
  const ConvShape& s = row.shape;
  const Maps maps(s);
  const dim3 grid(over(s.out_w(), 128), static_cast<unsigned>(s.out_h()), static_cast<unsigned>(s.cout));
  const auto* residual = row.residual ? maps.residual : nullptr;
  const float ms =
      median_ms(1, [&](int) { direct<<<grid, 128>>>(s, maps.x, maps.weight, maps.bias, residual, maps.reference); });
  std::printf("%-22s %-34s %8.1f ms %7.2f TFLOP/s\n", row.name, "direct", ms, flops(row) / ms * 1e-9);
  if (s.cout <= 16) {
    tile<Tile<4, 1, 4, 2, 4, 2>, true>("halo 256x16 4 warps s4", row, maps);
    tile<Tile<4, 1, 2, 2, 4, 4>, true>("halo 128x16 4 warps s4", row, maps);
    tile<Tile<4, 1, 2, 2, 5, 4>, true>("halo 128x16 4 warps s5", row, maps);
  } else {
    if (!s.upsample) tile<Tile<2, 2, 4, 6, 3, 3>, false>("gather 128x96", row, maps);
    tile<Tile<2, 2, 2, 6, 4, 4>, true>("halo 64x96 4 warps s4", row, maps);
    tile<Tile<4, 1, 2, 6, 4, 2>, true>("halo 128x48 4 warps s4", row, maps);
    tile<Tile<2, 2, 4, 6, 3, 3>, true>("halo 128x96 4 warps s3", row, maps);
    tile<Tile<2, 1, 4, 12, 4, 4>, true>("halo 128x96 2 warps s4", row, maps);
    tile<Tile<4, 2, 4, 6, 4, 1>, true>("halo 256x96 8 warps s4", row, maps);
    tile<Tile<4, 1, 4, 12, 3, 2>, true>("halo 256x96 4 warps s3", row, maps);
    tile<Tile<4, 1, 4, 12, 4, 2>, true>("halo 256x96 4 warps s4", row, maps);
    if (s.cout % 192 == 0) tile<Tile<2, 2, 4, 12, 3, 2>, true>("halo 128x192 4 warps s3", row, maps);
  }
  report("conv2d", row, maps, 20, [&](int i) {
    const int64_t copy = i % maps.copies;
    conv2d(s, maps.x + copy * maps.in, Elem::bf16, maps.packed, maps.bias,
           row.residual ? maps.residual + copy * maps.out : nullptr, maps.y + copy * maps.out, Elem::bf16, nullptr);
  });
}

ConvShape same(int64_t side, int64_t cin, int64_t cout, bool upsample = false) {
  return {side, side, cin, cout, 3, 1, 1, 1, 1, 1, upsample};
}

}  // namespace

int main() {
  const Row rows[] = {{"128^2 384>384", same(128, 384, 384), true},
                      {"256^2 384>384", same(256, 384, 384), false},
                      {"512^2 192>192", same(512, 192, 192), true},
                      {"1024^2 96>96", same(1024, 96, 96), false},
                      {"1024^2 96>96 + res", same(1024, 96, 96), true},
                      {"256^2 x2 384>192", same(256, 384, 192, true), false},
                      {"512^2 x2 192>96", same(512, 192, 96, true), false},
                      {"1024^2 96>3", same(1024, 96, 3), false},
                      {"64^2 384>384", same(64, 384, 384), true}};
  for (const Row& row : rows) climb(row);
  check(cudaDeviceSynchronize(), "ladder");
}
