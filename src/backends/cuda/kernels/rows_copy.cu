// Copies of rows and columns, and the search for values that are not finite.
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/rows_device.cuh"
#include "backends/cuda/kernels/rows_error.h"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256, kUnroll = 4;

// Words of `rows` rows of `words`, from rows `stride` words apart (perhaps chosen by index), to dense rows.
template <typename W>
__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(const W* x, int64_t stride, const int32_t* index, uint32_t words, int64_t total, W* y) {
  const int64_t first = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  W v[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + u * kThreads;
    if (i >= total) break;
    const int64_t row = total <= 0xffffffff ? static_cast<uint32_t>(i) / words : i / words;
    v[u] = x[(index != nullptr ? index[row] : row) * stride + (i - row * words)];
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + u * kThreads;
    if (i >= total) break;
    y[i] = v[u];
  }
}

// Every word goes to four places.
template <typename W>
__global__ void __launch_bounds__(kThreads)
    upsample_kernel(const W* x, int64_t w, uint32_t words, int64_t total, W* y) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= total) return;
  const W v = x[i];
  const int64_t pixel = i / words, row = pixel / w, column = pixel - row * w;
  W* corner = y + (row * 4 * w + column * 2) * words + (i - pixel * words);
  corner[0] = v;
  corner[words] = v;
  corner[2 * w * words] = v;
  corner[(2 * w + 1) * words] = v;
}

__global__ void __launch_bounds__(kThreads) count_nonfinite_kernel(const float* x, int64_t n, int32_t* flag) {
  int bad = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += int64_t{gridDim.x} * kThreads)
    bad += (__float_as_uint(x[i]) & 0x7f800000) == 0x7f800000;
  bad = over_lanes<Sum>(bad);
  // A sum of integers does not depend on its order.
  if (bad != 0 && threadIdx.x % 32 == 0) atomicAdd(flag, bad);
}

// The widest word that all of these are multiples of.
template <typename... T>
int64_t word_of(T... values) {
  const int64_t bits = (static_cast<int64_t>(values) | ...) | 16;
  return bits & -bits;
}
// Calls f with a value of the unsigned word type of `bytes`.
template <class F>
void with_word(int64_t bytes, const F& f) {
  switch (bytes) {
    case 16: return f(uint4());
    case 8: return f(uint2());
    case 4: return f(uint32_t());
    case 2: return f(uint16_t());
    default: return f(uint8_t());
  }
}

void copy_rows(const char* name, const void* x, int64_t stride_bytes, const int32_t* index, int64_t row_bytes,
               int64_t rows, void* y, cudaStream_t stream) {
  if (rows == 0 || row_bytes == 0) return;
  const auto copy = [&]<typename W>(W) {
    const int64_t words = row_bytes / sizeof(W), total = rows * words, block = kThreads * kUnroll;
    copy_rows_kernel<<<static_cast<unsigned>((total + block - 1) / block), kThreads, 0, stream>>>(
        static_cast<const W*>(x), stride_bytes / static_cast<int64_t>(sizeof(W)), index, static_cast<uint32_t>(words),
        total, static_cast<W*>(y));
  };
  with_word(word_of(reinterpret_cast<intptr_t>(x), reinterpret_cast<intptr_t>(y), stride_bytes, row_bytes), copy);
  check_launch(name);
}

}  // namespace

void gather_rows(const void* x, int64_t row_bytes, const int32_t* index, int64_t n, void* y, cudaStream_t stream) {
  copy_rows("gather_rows", x, row_bytes, index, row_bytes, n, y, stream);
}

void slice_columns(const void* x, int64_t stride, int64_t begin, int64_t d, int64_t m, int64_t size, void* y,
                   cudaStream_t stream) {
  copy_rows("slice_columns", static_cast<const char*>(x) + begin * size, stride * size, nullptr, d * size, m, y,
            stream);
}

void upsample2x(const void* x, int64_t h, int64_t w, int64_t c, int64_t size, void* y, cudaStream_t stream) {
  if (h == 0 || w == 0 || c == 0) return;
  const auto copy = [&]<typename W>(W) {
    const int64_t words = c * size / static_cast<int64_t>(sizeof(W)), total = h * w * words;
    upsample_kernel<<<static_cast<unsigned>((total + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
        static_cast<const W*>(x), w, static_cast<uint32_t>(words), total, static_cast<W*>(y));
  };
  with_word(word_of(reinterpret_cast<intptr_t>(x), reinterpret_cast<intptr_t>(y), c * size), copy);
  check_launch("upsample2x");
}

void count_nonfinite(const float* x, int64_t n, int32_t* flag, cudaStream_t stream) {
  if (n == 0) return;
  const int64_t blocks = std::min<int64_t>((n + kThreads - 1) / kThreads, device().multiprocessors * 8);
  count_nonfinite_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(x, n, flag);
  check_launch("count_nonfinite");
}

}  // namespace inkling::cuda
