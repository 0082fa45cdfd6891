// Rows of odd sizes and addresses, one element at a time, and what all row kernels check. The row lies in shared
// memory.
#include "backends/cuda/kernels/rows_error.h"
#include "backends/cuda/kernels/rows_kernel.cuh"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256;

// One radix-4 butterfly over stride 4^i at a time.
__device__ void rotate_shared(float* x, int d, int rotation) {
  for (int stride = 1; stride < rotation; stride *= 4) {
    __syncthreads();
    for (int i = threadIdx.x; i < d / 4; i += kThreads) {
      float* v = x + i / stride * stride * 4 + i % stride;
      rotate4(v[0], v[stride], v[2 * stride], v[3 * stride]);
    }
  }
  __syncthreads();
}

__device__ float activate_one(Act act, float v) {
  float x[1] = {v};
  activate_all(act, x);
  return x[0];
}

__global__ void __launch_bounds__(kThreads) rows_any_kernel(RowOp op, const __grid_constant__ RowArguments a) {
  extern __shared__ float row[];
  __shared__ float part[4][32];
  const int64_t r = blockIdx.x;
  const int d = a.d;
  for (int i = threadIdx.x; i < d; i += kThreads) row[i] = load_any(a.x, a.type, r * a.x_stride + i);
  // Until the rotation a thread meets only its own elements.
  if (op == RowOp::convert) {
    for (int i = threadIdx.x; i < d; i += kThreads) row[i] = activate_one(a.act, row[i]);
  } else {
    float mean = 0.f, squares = 0.f;
    if (op == RowOp::layer_norm) {
      float sum = 0.f;
      for (int i = threadIdx.x; i < d; i += kThreads) sum += row[i];
      mean = over_block<Sum>(sum, part[0]) / static_cast<float>(d);
    }
    for (int i = threadIdx.x; i < d; i += kThreads) squares = fmaf(row[i] - mean, row[i] - mean, squares);
    const float factor = rsqrtf(over_block<Sum>(squares, part[1]) / static_cast<float>(d) + a.eps);
    const int64_t offset = op == RowOp::layer_norm ? int64_t{table_row(a.groups, r)} * d : 0;
    for (int i = threadIdx.x; i < d; i += kThreads) {
      float n = (row[i] - mean) * factor;
      if (a.scale != nullptr)
        n = op == RowOp::layer_norm ? fmaf(n, a.scale[offset + i], n) + a.shift[offset + i] : n * a.scale[i];
      row[i] = n;
    }
  }
  const int rotation = static_cast<int>(a.out.rotation);
  float factor = 1.f;
  if (rotation != 0) {
    rotate_shared(row, d, rotation);
    factor = rotation_factor(rotation);
  }
  if (a.out.type == Elem::f32 || a.out.type == Elem::bf16) {
    for (int i = threadIdx.x; i < d; i += kThreads) store_any(a.out.y, a.out.type, r * d + i, row[i] * factor);
    return;
  }
  const bool integer = a.out.type == Elem::i8;
  float amax = 0.f;
  for (int i = threadIdx.x; i < d; i += kThreads) amax = max_or_nan(amax, fabsf(row[i]));
  amax = __uint_as_float(over_block<Max>(__float_as_uint(amax), reinterpret_cast<uint32_t*>(part[2])));
  const float limit = integer ? 127.f : 448.f, inverse = rounding_inverse(amax, factor, limit);
  uint8_t* y = static_cast<uint8_t*>(a.out.y) + r * d;
  int sum = 0;
  for (int i = threadIdx.x; i < d; i += kThreads) {
    const uint32_t code = (integer ? pack_codes<Elem::i8>(row[i], 0.f, 0.f, 0.f, inverse)
                                   : pack_codes<Elem::e4m3>(row[i], 0.f, 0.f, 0.f, inverse)) &
                          255;
    y[i] = static_cast<uint8_t>(code);
    sum += static_cast<int8_t>(code);
  }
  if (integer && a.out.sum != nullptr) {
    sum = over_block<Sum>(sum, reinterpret_cast<int*>(part[3]));
    if (threadIdx.x == 0) a.out.sum[r] = sum;
  }
  if (threadIdx.x == 0) a.out.scale[r] = rounding_scale(amax, factor, limit);
}

}  // namespace

void rows_any(RowOp op, const RowArguments& a, int64_t m, cudaStream_t stream) {
  const int64_t shared = a.d * static_cast<int64_t>(sizeof(float));
  const int64_t most = device().shared_per_block - 1024;
  if (shared > most)
    reject("rows", "got " + std::to_string(a.d) + " columns at an odd size or address, expected at most " +
                       std::to_string(most / 4));
  if (shared > 40'000)
    check(cudaFuncSetAttribute(rows_any_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
          "rows");
  rows_any_kernel<<<static_cast<unsigned>(m), kThreads, static_cast<size_t>(shared), stream>>>(op, a);
}

void check_rows(const char* name, const RowArguments& a, int64_t m) {
  constexpr int64_t kMaxColumns = 3 * kMaxRowThreads * 16;
  if (m < 0 || m > 0x7fffffff || a.d < 1 || a.d > kMaxColumns)
    reject(name, "got " + std::to_string(m) + " rows of " + std::to_string(a.d) + " columns, expected 1 to " +
                     std::to_string(kMaxColumns) + " columns");
  if (a.type != Elem::f32 && a.type != Elem::bf16) reject(name, "got 8-bit input, expected f32 or bf16");
  const int64_t r = a.out.rotation;
  if (r != 0 && r != 16 && r != 64 && r != 256)
    reject(name, "got a rotation of " + std::to_string(r) + " columns, expected 0, 16, 64 or 256");
  if (r != 0 && a.d % r != 0)
    reject(name, "got " + std::to_string(a.d) + " columns, expected a multiple of the rotation's " + std::to_string(r));
  if ((a.out.type == Elem::i8 || a.out.type == Elem::e4m3) && a.out.scale == nullptr)
    reject(name, "got no place for the scales of rounded rows");
}

bool rows_are_vectors(const RowArguments& a) {
  return a.d % 8 == 0 && a.x_stride * size_of(a.type) % 16 == 0 && aligned(a.x, 16) && aligned(a.out.y, 16) &&
         aligned(a.scale, 16) && aligned(a.shift, 16);
}

}  // namespace inkling::cuda
