// Times the steps that led to gemm_kernel.cuh at the shapes of the DiT, and compares their results to the bit. See
// README.md.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "backends/cuda/kernels/gemm_launch.cuh"
#include "step1.cuh"
#include "step2.cuh"

using namespace inkling::cuda;
using namespace inkling::cuda::gemm;

namespace {

using First = step1::Tile<128, 256, 2, 4, 64, 4, 1>;
using Ring = step2::Tile<128, 256, 2, 4, 64, 4, 1, 1>;
using Split = step2::Tile<128, 256, 2, 4, 64, 4, 1, 3>;
using Columns = step2::Tile<128, 256, 1, 8, 64, 4, 1, 19>;  // 4-bit: a warp has columns of its own
using Unrolled = Tile<128, 256, 2, 4, 64, 4, 1>;
using UnrolledColumns = Tile<128, 256, 1, 8, 64, 4, 1>;

__global__ void fill(uint32_t* p, int64_t words, uint64_t seed, uint32_t keep, uint32_t set) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < words; i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t h = (seed << 40) + i;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
    p[i] = (static_cast<uint32_t>(h ^ (h >> 31)) & keep) | set;
  }
}

template <typename Kernel>
void start(Kernel kernel, int shared, int threads, const Args& args) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "ladder");
  kernel<<<device().multiprocessors, threads, shared>>>(args);
  check_launch("ladder");
}
template <Kind kKind, class T>
void run1(const Args& args) {
  start(step1::gemm_kernel<kKind, T>, step1::Stage<kKind, T>::kShared, T::kThreads, args);
}
template <Kind kKind, class T>
void run2(const Args& args) {
  start(step2::gemm_kernel<kKind, T>, step2::Stage<kKind, T>::kShared, T::kThreads, args);
}
template <Kind kKind, class T>
void run3(const Args& args) {
  launch<kKind, T>(args, nullptr);
}

double median_us(const std::function<void()>& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "ladder");
  check(cudaEventCreate(&end), "ladder");
  std::vector<float> times;
  for (int i = 0; i < 23; ++i) {
    check(cudaEventRecord(begin), "ladder");
    run();
    check(cudaEventRecord(end), "ladder");
    check(cudaEventSynchronize(end), "ladder");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "ladder");
    if (i >= 3) times.push_back(ms * 1e3f);
  }
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return times[10];
}

struct Step {
  const char* name;
  void (*run)(const Args&);
};

void climb(Kind kind, const std::vector<Step>& steps, int m) {
  const int64_t most = int64_t{12288} * 12288;
  uint32_t *x, *w;
  float *scale, *bias;
  int32_t* sum;
  uint8_t *groups, *y;
  check(cudaMalloc(&x, int64_t{m} * 12288 * 2), "ladder");
  check(cudaMalloc(&w, most), "ladder");
  check(cudaMalloc(&groups, most / 16), "ladder");
  check(cudaMalloc(&scale, 65536), "ladder");
  check(cudaMalloc(&bias, 65536), "ladder");
  check(cudaMalloc(&sum, 65536), "ladder");
  check(cudaMalloc(&y, int64_t{m} * 12288 * 4), "ladder");
  const bool bf16 = kind == Kind::bf16;  // values from 2^-7 to 2 of both signs
  fill<<<2048, 256>>>(x, int64_t{m} * 12288 / 2, 1, bf16 ? 0x83ff83ffu : ~0u, bf16 ? 0x3c003c00u : 0);
  fill<<<2048, 256>>>(w, most / 4, 2, bf16 ? 0x83ff83ffu : ~0u, bf16 ? 0x3c003c00u : 0);
  fill<<<512, 256>>>(reinterpret_cast<uint32_t*>(groups), most / 64, 3, 0x07070707u, 0x08080808u);
  fill<<<16, 256>>>(reinterpret_cast<uint32_t*>(scale), 16384, 4, 0x007fffffu, 0x3c000000u);  // 2^-7 .. 2^-6
  fill<<<16, 256>>>(reinterpret_cast<uint32_t*>(bias), 16384, 5, 0x807fffffu, 0x3f000000u);
  fill<<<16, 256>>>(reinterpret_cast<uint32_t*>(sum), 16384, 6, 0x0000ffffu, 0);
  constexpr int kShapes[4][2] = {{3072, 3072}, {9216, 3072}, {12288, 3072}, {3072, 12288}};
  std::vector<std::vector<uint8_t>> expected(4);
  for (const Step& step : steps) {
    std::printf("%s m %d %-60s", bf16 ? "bf16" : kind == Kind::w8a8 ? "w8a8" : "w4a8", m, step.name);
    for (int i = 0; i < 4; ++i) {
      Args args{};
      args.x = x;
      args.w = w;
      args.x_scale = scale;
      args.w_scale = scale + 1;
      args.x_sum = sum;
      args.group_scale = groups;
      args.m = m;
      args.n = kShapes[i][0];
      args.k_bytes = kShapes[i][1] * (bf16 ? 2 : 1);
      args.group_m = 16;
      args.end.y = y;
      args.end.y_stride = args.n;
      args.end.bias = bias;
      const double us = median_us([&] { step.run(args); });
      std::vector<uint8_t> got(int64_t{args.n} * 2 * 512);
      check(cudaMemcpy(got.data(), y, got.size(), cudaMemcpyDeviceToHost), "ladder");
      const bool first = expected[i].empty();
      if (first) expected[i] = got;
      std::printf(" %6.1f%s", 2e-6 * m * kShapes[i][0] * kShapes[i][1] / us, got == expected[i] ? "" : " DIFFERENT");
    }
    std::printf("\n");
  }
  for (void* p : {(void*)x, (void*)w, (void*)groups, (void*)scale, (void*)bias, (void*)sum, (void*)y}) cudaFree(p);
}

}  // namespace

int main() {
  std::printf("TOPS at (n, k) = (3072, 3072) (9216, 3072) (12288, 3072) (3072, 12288), bias and bf16 result\n");
  climb(Kind::bf16,
        {{"1 fragments a group ahead", run1<Kind::bf16, First>},
         {"2 fragments a step ahead", run2<Kind::bf16, Ring>},
         {"3 unrolled by stages", run3<Kind::bf16, Unrolled>}},
        4160);
  climb(Kind::w8a8,
        {{"1 fragments a group ahead", run1<Kind::w8a8, First>},
         {"2 fragments a step ahead", run2<Kind::w8a8, Ring>},
         {"2 and arrival at the barrier apart from waiting", run2<Kind::w8a8, Split>},
         {"3 unrolled by stages", run3<Kind::w8a8, Unrolled>}},
        4160);
  climb(Kind::w4a8,
        {{"1 fragments a group ahead", run1<Kind::w4a8, First>},
         {"2 fragments a step ahead", run2<Kind::w4a8, Ring>},
         {"2 and columns of its own for each warp", run2<Kind::w4a8, Columns>},
         {"3 unrolled by stages, rows as the outer loop", run3<Kind::w4a8, UnrolledColumns>},
         {"3 but each weight unpacked by two warps", run3<Kind::w4a8, Unrolled>}},
        4160);
  return 0;
}
