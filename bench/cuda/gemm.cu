// Matrix products at the shapes of the Qwen-Image family, with the ends that the models give them. TOPS = 2 m n k /
// time; "of mma" is the share of what mma.sync reaches in a loop without loads, measured first in the same run; GB/s is
// W alone, which is what few rows wait for.
//
// Operands are random and weights rotate through as many copies as fit 256 MB; a time is the median of 20 after
// warm-up.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "backends/cuda/kernels/ceiling.h"
#include "backends/cuda/kernels/gemm.h"

using namespace inkling::cuda;
using inkling::cuda::gemm::Kind;

namespace {

constexpr const char* kNames[] = {"w8a8", "w4a8", "bf16"};
constexpr int kMostRows = 8448, kMostColumns = 18944;
constexpr int64_t kWeightBytes = int64_t{256} << 20;

__device__ uint32_t hash(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdull;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ull;
  return static_cast<uint32_t>(x ^ (x >> 33));
}

// Random words; those for bf16 hold values of both signs between 2^-7 and 2.
__global__ void fill_words(uint32_t* p, int64_t words, uint64_t seed, bool bf16) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < words; i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t h = hash(seed + i);
    p[i] = bf16 ? (h & 0x83ff83ffu) | 0x3c003c00u : h;
  }
}
__global__ void fill_group_scales(uint8_t* p, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    p[i] = 1 + hash(i) % 16;
}
__global__ void fill_floats(float* p, int64_t count, float scale) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    p[i] = scale * (hash(i) * 0x1p-32f - 0.5f);
}

template <typename Call>
double microseconds(int batch, Call call) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "bench");
  check(cudaEventCreate(&end), "bench");
  std::vector<float> times;
  int turn = 0;
  for (int i = -2; i < 20; ++i) {
    check(cudaEventRecord(begin), "bench");
    for (int j = 0; j < batch; ++j) call(turn++);
    check(cudaEventRecord(end), "bench");
    check(cudaEventSynchronize(end), "bench");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "bench");
    if (i >= 0) times.push_back(ms * 1e3f / static_cast<float>(batch));
  }
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  check(cudaEventDestroy(begin), "bench");
  check(cudaEventDestroy(end), "bench");
  return times[10];
}

template <typename T>
T* allocate(int64_t count) {
  void* p = nullptr;
  check(cudaMalloc(&p, count * sizeof(T)), "bench");
  return static_cast<T*>(p);
}

struct Operands {
  uint8_t *x = allocate<uint8_t>(int64_t{kMostRows} * kMostColumns * 2), *w = allocate<uint8_t>(kWeightBytes),
          *group_scale = allocate<uint8_t>(kWeightBytes / 32);
  float *row_scale = allocate<float>(kMostRows), *column_scale = allocate<float>(kMostColumns),
        *bias = allocate<float>(kMostColumns), *gate = allocate<float>(kMostColumns);
  int32_t* row_sum = allocate<int32_t>(kMostRows);
  uint8_t* y = allocate<uint8_t>(int64_t{kMostRows} * kMostColumns * 4);
  Operands() {
    fill_group_scales<<<1024, 256>>>(group_scale, kWeightBytes / 32);
    fill_floats<<<64, 256>>>(row_scale, kMostRows, 0.01f);
    for (float* p : {column_scale, bias, gate}) fill_floats<<<64, 256>>>(p, kMostColumns, 0.1f);
    check(cudaMemset(row_sum, 0, kMostRows * 4), "bench");
  }
  void fill(Kind kind) {
    fill_words<<<4096, 256>>>(reinterpret_cast<uint32_t*>(x), int64_t{kMostRows} * kMostColumns / 2, 1, kind == Kind::bf16);
    fill_words<<<4096, 256>>>(reinterpret_cast<uint32_t*>(w), kWeightBytes / 4, 2, kind == Kind::bf16);
    check(cudaMemset(y, 0, int64_t{kMostRows} * kMostColumns * 4), "bench");
    check(cudaDeviceSynchronize(), "bench");
  }
};

enum class Ending { plain, gelu, residual };

void run(Kind kind, const Operands& o, int m, int n, int k, Ending ending, int turn) {
  GemmEnd end;
  end.y = o.y;
  end.bias = o.bias;
  if (ending == Ending::gelu) end.act = Act::gelu_tanh;
  if (ending == Ending::residual) {
    end.type = Elem::f32;
    end.residual = reinterpret_cast<const float*>(o.y);
    end.gate = o.gate;
  }
  const int64_t bytes = int64_t{n} * k * (kind == Kind::bf16 ? 4 : kind == Kind::w8a8 ? 2 : 1) / 2;
  const int64_t copy = turn % std::max<int64_t>(1, kWeightBytes / bytes);
  const QuantizedRows x{reinterpret_cast<const int8_t*>(o.x), o.row_scale, o.row_sum};
  if (kind == Kind::w8a8)
    gemm_w8a8(m, n, k, x, {reinterpret_cast<const int8_t*>(o.w) + copy * bytes, o.column_scale}, end, nullptr);
  else if (kind == Kind::w4a8)
    gemm_w4a8(m, n, k, x, {o.w + copy * bytes, o.group_scale + copy * bytes / 32, o.column_scale}, end, nullptr);
  else
    gemm_bf16(m, n, k, o.x, o.w + copy * bytes, end, nullptr);
}

struct Work {
  const char* name;
  int n, k;
  Ending ending;
};
constexpr Work kDit[] = {{"out + gate + residual", 3072, 3072, Ending::residual},
                         {"q, k, v", 9216, 3072, Ending::plain},
                         {"q", 3072, 3072, Ending::plain},
                         {"fc1 + gelu", 12288, 3072, Ending::gelu},
                         {"fc2 + gate + residual", 3072, 12288, Ending::residual}};
constexpr Work kText[] = {{"q, o", 3584, 3584, Ending::plain},
                          {"k, v", 512, 3584, Ending::plain},
                          {"gate, up", 18944, 3584, Ending::plain},
                          {"down", 3584, 18944, Ending::plain}};

template <size_t kCount>
void table(Kind kind, const Operands& o, const Work (&works)[kCount], std::initializer_list<int> rows, double most) {
  for (const int m : rows)
    for (const Work& w : works) {
      const double us = microseconds(m <= 128 ? 20 : 2, [&](int turn) { run(kind, o, m, w.n, w.k, w.ending, turn); });
      const double tops = 2e-6 * m * w.n * w.k / us;
      const double bytes = double{1} * w.n * w.k * (kind == Kind::bf16 ? 2. : kind == Kind::w8a8 ? 1. : 0.5 + 1. / 64);
      std::printf("%s m %5d n %5d k %5d %-22s %9.2f us %7.1f TOPS %5.1f %% of mma %6.0f GB/s\n", kNames[int(kind)], m, w.n,
                  w.k, w.name, us, tops, 100 * tops / most, bytes / us * 1e-3);
    }
}

}  // namespace

int main() {
  Operands o;
  for (const Kind kind : {Kind::w8a8, Kind::w4a8, Kind::bf16}) {
    const double most = mma_ceiling(kind, o.y, nullptr) * 1e-12;
    std::printf("%s: mma.sync alone %.0f TOPS\n", kNames[int(kind)], most);
    o.fill(kind);
    table(kind, o, kDit, {16, 64, 256, 1024, 1088, 4096, 4160, 8448}, most);
    table(kind, o, kText, {24, 280, 1024}, most);
  }
  return 0;
}
