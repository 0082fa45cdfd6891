// Every convolution of AutoencoderKLQwenImage's decoder and encoder, timed alone, and their sum.
// Usage: bench_cuda_conv [side of the picture ...]   (1024 and 512 unless given)
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "backends/cuda/kernels/conv.h"

namespace {

using namespace inkling::cuda;

struct Layer {
  int times;  // it occurs in the network
  ConvShape shape;
  bool residual;
};

ConvShape same(int64_t side, int64_t cin, int64_t cout, bool upsample = false) {
  return {side, side, cin, cout, 3, 1, 1, 1, 1, 1, upsample};
}
ConvShape down(int64_t side, int64_t c) { return {side, side, c, c, 3, 2, 0, 0, 1, 1, false}; }

// s: side of the latents.
std::vector<Layer> decoder(int64_t s) {
  return {
      {1, same(s, 16, 384), false},        {5, same(s, 384, 384), false},           {5, same(s, 384, 384), true},
      {1, same(s, 384, 192, true), false}, {1, same(2 * s, 192, 384), false},       {2, same(2 * s, 384, 384), false},
      {3, same(2 * s, 384, 384), true},    {1, same(2 * s, 384, 192, true), false}, {3, same(4 * s, 192, 192), false},
      {3, same(4 * s, 192, 192), true},    {1, same(4 * s, 192, 96, true), false},  {3, same(8 * s, 96, 96), false},
      {3, same(8 * s, 96, 96), true},      {1, same(8 * s, 96, 3), false}};
}
std::vector<Layer> encoder(int64_t s) {
  return {{1, same(8 * s, 3, 96), false},    {2, same(8 * s, 96, 96), false},  {2, same(8 * s, 96, 96), true},
          {1, down(8 * s, 96), false},       {1, same(4 * s, 96, 192), false}, {1, same(4 * s, 192, 192), false},
          {2, same(4 * s, 192, 192), true},  {1, down(4 * s, 192), false},     {1, same(2 * s, 192, 384), false},
          {1, same(2 * s, 384, 384), false}, {2, same(2 * s, 384, 384), true}, {1, down(2 * s, 384), false},
          {4, same(s, 384, 384), false},     {4, same(s, 384, 384), true},     {1, same(s, 384, 32), false}};
}

__global__ void fill(__nv_bfloat16* p, int64_t count) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < count)
    p[i] = __float2bfloat16(static_cast<float>(static_cast<uint32_t>(i) * 0x9e3779b1u >> 8) / (1 << 23) - 1);
}

// Median milliseconds of one layer. `pool` holds many maps, so that L2 keeps none from one run to the next.
float time_layer(const Layer& layer, __nv_bfloat16* pool, int64_t pool_elements, const void* packed,
                 const float* bias) {
  const ConvShape& s = layer.shape;
  const int64_t in = s.h * s.w * s.cin, out = s.out_h() * s.out_w() * s.cout;
  const int64_t stride = (in + 2 * out + 63) / 64 * 64, copies = std::clamp<int64_t>(pool_elements / stride, 1, 16);
  constexpr int kRuns = 25;
  std::vector<float> times;
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "bench");
  check(cudaEventCreate(&to), "bench");
  for (int i = -3; i < kRuns; ++i) {
    __nv_bfloat16* x = pool + (i + 3) % copies * stride;
    check(cudaEventRecord(from), "bench");
    conv2d(s, x, Elem::bf16, packed, bias, layer.residual ? x + (in + 7) / 8 * 8 : nullptr, x + (in + out + 15) / 8 * 8,
           Elem::bf16, nullptr);
    check(cudaEventRecord(to), "bench");
    check(cudaEventSynchronize(to), "bench");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, from, to), "bench");
    if (i >= 0) times.push_back(ms);
  }
  cudaEventDestroy(from);
  cudaEventDestroy(to);
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  return times[kRuns / 2];
}

void time_network(const char* name, int64_t side, const std::vector<Layer>& layers) {
  const int64_t pool_elements = std::max<int64_t>(side * side * 96 * 3 + 4096, 128 << 20);
  __nv_bfloat16* pool = nullptr;
  float* weight = nullptr;
  void* packed = nullptr;
  check(cudaMalloc(&pool, pool_elements * 2), "bench");
  check(cudaMalloc(&weight, 384 * 384 * 9 * 4), "bench");
  check(cudaMalloc(&packed, 16 << 20), "bench");
  fill<<<static_cast<unsigned>((pool_elements + 255) / 256), 256>>>(pool, pool_elements);
  fill<<<384 * 384 * 9 * 2 / 256, 256>>>(reinterpret_cast<__nv_bfloat16*>(weight), 384 * 384 * 9 * 2);
  double total_ms = 0, total_flop = 0;
  for (const Layer& layer : layers) {
    const ConvShape& s = layer.shape;
    pack_conv(weight, s, packed, nullptr);
    const double flop = 2. * s.kernel * s.kernel * s.cin * s.cout * s.out_h() * s.out_w();
    const float ms = time_layer(layer, pool, pool_elements, packed, weight);
    total_ms += layer.times * ms;
    total_flop += layer.times * flop;
    std::printf("%s %lld  %d x [%lld, %lld, %lld]%s > %lld%s%s  %.4f ms  %.1f TFLOP/s\n", name,
                static_cast<long long>(side), layer.times, static_cast<long long>(s.h), static_cast<long long>(s.w),
                static_cast<long long>(s.cin), s.upsample ? " doubled" : "", static_cast<long long>(s.cout),
                s.stride == 2 ? " halved" : "", layer.residual ? " + residual" : "", ms, flop / ms * 1e-9);
  }
  // Operations are those of the convolution of the doubled map, of which the kernel does 4/9.
  std::printf("%s %lld  all  %.3f ms  %.2f TFLOP  %.1f TFLOP/s\n", name, static_cast<long long>(side), total_ms,
              total_flop * 1e-12, total_flop / total_ms * 1e-9);
  cudaFree(pool);
  cudaFree(weight);
  cudaFree(packed);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int64_t> sides;
  for (int i = 1; i < argc; ++i) sides.push_back(std::atoll(argv[i]));
  if (sides.empty()) sides = {1024, 512};
  for (const int64_t side : sides) {
    time_network("decoder", side, decoder(side / 8));
    time_network("encoder", side, encoder(side / 8));
  }
}
