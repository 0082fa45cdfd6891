// Rounding of weight rows, to the bit as formats/int_quant.cc: one block a row, which lies in shared memory as f32.
// Every operation is an explicitly rounded intrinsic, so that nothing is fused whatever the compiler's flags are.
#include <cuda_bf16.h>

#include <algorithm>
#include <string>

#include "backends/cuda/kernels/pack.h"

namespace inkling::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32, kGroup = 64;
constexpr unsigned kInfinity = 0x7f800000u;
constexpr float kZeroRow = 0x1p-100f;  // formats/int_quant.h

template <bool kBf16>
__device__ void load_row(const void* rows, int64_t at, int k, float* row) {
  for (int c = threadIdx.x; c < k; c += kThreads) {
    if constexpr (kBf16) {
      row[c] = __bfloat162float(static_cast<const __nv_bfloat16*>(rows)[at + c]);
    } else {
      row[c] = static_cast<const float*>(rows)[at + c];
    }
  }
  __syncthreads();
}

__device__ void rotate(float* row, int k, int rotation) {
  for (int stride = 1; stride < rotation; stride *= 4) {
    for (int i = threadIdx.x; i < k / 4; i += kThreads) {
      float* p = row + i / stride * 4 * stride + i % stride;
      const float a = p[0], b = p[stride], c = p[2 * stride], d = p[3 * stride];
      const float sum = __fadd_rn(a, b), difference = __fsub_rn(a, b);
      p[0] = __fmul_rn(0.5f, __fsub_rn(__fadd_rn(sum, c), d));
      p[stride] = __fmul_rn(0.5f, __fadd_rn(__fsub_rn(sum, c), d));
      p[2 * stride] = __fmul_rn(0.5f, __fadd_rn(__fadd_rn(difference, c), d));
      p[3 * stride] = __fmul_rn(0.5f, __fadd_rn(__fadd_rn(__fsub_rn(b, a), c), d));
    }
    __syncthreads();
  }
}

// The largest |x| as bits: magnitudes order like their bits, NaN above infinity.
__device__ unsigned largest_bits(const float* row, int k, unsigned* partial) {
  unsigned most = 0;
  for (int c = threadIdx.x; c < k; c += kThreads) most = max(most, __float_as_uint(row[c]) & 0x7fffffffu);
  most = __reduce_max_sync(~0u, most);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = most;
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) most = max(most, partial[i]);
  return most;
}

template <bool kBf16>
__global__ void __launch_bounds__(kThreads)
    quantize_w8_kernel(const void* rows, int k, int rotation, int8_t* q, float* scale) {
  extern __shared__ float row[];
  __shared__ unsigned partial[kWarps];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * k;
  load_row<kBf16>(rows, at, k, row);
  rotate(row, k, rotation);
  const unsigned bits = largest_bits(row, k, partial);
  const float largest = __uint_as_float(bits);
  if (bits >= kInfinity || largest < kZeroRow) {
    for (int c = threadIdx.x; c < k; c += kThreads) q[at + c] = 0;
    if (threadIdx.x == 0) scale[blockIdx.x] = bits >= kInfinity ? __uint_as_float(0x7fc00000u) : 1.f;
    return;
  }
  const float s = __fdiv_rn(largest, 127.f), inverse = __fdiv_rn(1.f, s);
  for (int c = threadIdx.x; c < k; c += kThreads)
    q[at + c] = static_cast<int8_t>(__float2int_rn(__fmul_rn(row[c], inverse)));
  if (threadIdx.x == 0) scale[blockIdx.x] = s;
}

// rint(v * inverse) in -8..7.
__device__ float step_of(float v, float inverse) {
  return rintf(fminf(fmaxf(__fmul_rn(v, inverse), -8.f), 7.f));
}

// The squared error of a group whose column i + 16 j is v[j] of lane i of a half warp; in its lane 0.
__device__ float group_error(const float (&v)[4], float s) {
  const float inverse = __fdiv_rn(1.f, s);
  float sum = 0.f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float e = __fsub_rn(v[j], __fmul_rn(s, step_of(v[j], inverse)));
    sum = j == 0 ? __fmul_rn(e, e) : __fadd_rn(sum, __fmul_rn(e, e));
  }
#pragma unroll
  for (int half = 8; half > 0; half /= 2) sum = __fadd_rn(sum, __shfl_down_sync(~0u, sum, half, 16));
  return sum;
}

// The step that takes a group's largest values to the ends of -8..7; in every lane of the half warp.
__device__ float group_reach(const float* x, int lane) {
  float up = 0.f, down = 0.f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    up = fmaxf(up, x[lane + 16 * j]);
    down = fmaxf(down, -x[lane + 16 * j]);
  }
#pragma unroll
  for (int half = 8; half > 0; half /= 2) {
    up = fmaxf(up, __shfl_xor_sync(~0u, up, half));
    down = fmaxf(down, __shfl_xor_sync(~0u, down, half));
  }
  return fmaxf(__fmul_rn(up, 1.f / 7.f), __fmul_rn(down, 0.125f));
}

template <bool kBf16>
__global__ void __launch_bounds__(kThreads) quantize_w4_kernel(const void* rows, int k, int rotation, uint8_t* codes,
                                                              uint8_t* group_scale, float* scale) {
  extern __shared__ float row[];
  __shared__ unsigned partial[kWarps];
  __shared__ float row_error[3];
  const int groups = k / kGroup, pair = threadIdx.x / 32, lane = threadIdx.x % 16;
  float* reach = row + k;         // [groups]
  float* errors = reach + groups;  // [3][groups]: of the candidates for the row's scale
  uint8_t* tried = reinterpret_cast<uint8_t*>(errors + 3 * groups);  // [3][groups]
  const int64_t at = static_cast<int64_t>(blockIdx.x) * k;
  codes += at / 2;
  group_scale += static_cast<int64_t>(blockIdx.x) * groups;
  load_row<kBf16>(rows, at, k, row);
  rotate(row, k, rotation);
  const unsigned bits = largest_bits(row, k, partial);
  if (bits >= kInfinity || __uint_as_float(bits) < kZeroRow) {
    for (int i = threadIdx.x; i < k / 2; i += kThreads) codes[i] = 0x88;
    for (int i = threadIdx.x; i < groups; i += kThreads) group_scale[i] = 1;
    if (threadIdx.x == 0) scale[blockIdx.x] = bits >= kInfinity ? __uint_as_float(0x7fc00000u) : 1.f;
    return;
  }

  // A half warp a group; both halves take part in every shuffle, the last group twice where their number is odd.
  auto group_of = [&](int first) { return min(first + static_cast<int>(threadIdx.x % 32 / 16), groups - 1); };
  float furthest = 0.f;
  for (int first = 2 * pair; first < groups; first += 2 * kWarps) {
    const int g = group_of(first);
    const float r = group_reach(row + g * kGroup, lane);
    if (lane == 0) reach[g] = r;
    furthest = fmaxf(furthest, r);
  }
  __syncthreads();  // `partial` has been read by all
  furthest = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(furthest)));
  if (threadIdx.x % 32 == 0) partial[pair] = __float_as_uint(furthest);
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) furthest = fmaxf(furthest, __uint_as_float(partial[i]));

  constexpr float kSteps[3] = {16.f, 17.f, 18.f};
#pragma unroll
  for (int candidate = 0; candidate < 3; ++candidate) {
    const float inverse = __fdiv_rn(1.f, __fdiv_rn(furthest, kSteps[candidate]));
    for (int first = 2 * pair; first < groups; first += 2 * kWarps) {
      const int g = group_of(first);
      float v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = __fmul_rn(row[g * kGroup + lane + 16 * j], inverse);
      const float middle = fminf(fmaxf(rintf(__fmul_rn(reach[g], inverse)), 1.f), 16.f);
      float best = __uint_as_float(kInfinity), kept = 1.f;
#pragma unroll
      for (int i = -2; i <= 1; ++i) {
        const float s = middle + i;
        const float e = group_error(v, fminf(fmaxf(s, 1.f), 16.f));
        if (e < best && s >= 1.f && s <= 16.f) {
          best = e;
          kept = s;
        }
      }
      if (lane == 0) {
        errors[candidate * groups + g] = best;
        tried[candidate * groups + g] = static_cast<uint8_t>(kept);
      }
    }
  }
  __syncthreads();
  if (threadIdx.x < 3) {  // in order of the groups, as the CPU adds
    float sum = 0.f;
    for (int g = 0; g < groups; ++g) sum = __fadd_rn(sum, errors[threadIdx.x * groups + g]);
    row_error[threadIdx.x] = sum;
  }
  __syncthreads();
  int chosen = 0;
  float smallest = __uint_as_float(kInfinity), s = 1.f;
#pragma unroll
  for (int candidate = 0; candidate < 3; ++candidate) {
    const float error = __fmul_rn(row_error[candidate], 16.f * 16.f / (kSteps[candidate] * kSteps[candidate]));
    if (error < smallest) {
      smallest = error;
      chosen = candidate;
      s = __fdiv_rn(furthest, kSteps[candidate]);
    }
  }
  const float inverse = __fdiv_rn(1.f, s);
  for (int i = threadIdx.x; i < k / 2; i += kThreads) {
    const float step = __fdiv_rn(1.f, static_cast<float>(tried[chosen * groups + i / (kGroup / 2)]));
    const int even = static_cast<int>(step_of(__fmul_rn(row[2 * i], inverse), step)) + 8;
    const int odd = static_cast<int>(step_of(__fmul_rn(row[2 * i + 1], inverse), step)) + 8;
    codes[i] = static_cast<uint8_t>(even | odd << 4);
  }
  for (int i = threadIdx.x; i < groups; i += kThreads) group_scale[i] = tried[chosen * groups + i];
  if (threadIdx.x == 0) scale[blockIdx.x] = s;
}

int prepare(const char* what, const void* kernel, Elem type, int64_t n, int64_t k, int64_t rotation, int64_t shared) {
  const bool rotations = rotation == 0 || ((rotation == 16 || rotation == 64 || rotation == 256) && k % rotation == 0);
  if ((type != Elem::f32 && type != Elem::bf16) || n < 1 || n > INT32_MAX || k < 64 || k % 64 != 0 || !rotations ||
      shared > device().shared_per_block - 1024) {
    check(cudaErrorInvalidValue,
          (std::string(what) + ": got f32 or bf16 rows of " + std::to_string(k) + " with a rotation of " +
           std::to_string(rotation) + ", expected a multiple of 64 that fits into shared memory and a rotation of 0, " +
           "16, 64 or 256 that divides it")
              .c_str());
  }
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), what);
  return static_cast<int>(shared);
}

}  // namespace

void quantize_w8(const void* rows, Elem type, int64_t n, int64_t k, int64_t rotation, int8_t* q, float* scale,
                 cudaStream_t stream) {
  auto* kernel = type == Elem::bf16 ? quantize_w8_kernel<true> : quantize_w8_kernel<false>;
  const int shared = prepare("quantize_w8", reinterpret_cast<const void*>(kernel), type, n, k, rotation, 4 * k);
  kernel<<<static_cast<int>(n), kThreads, shared, stream>>>(rows, static_cast<int>(k), static_cast<int>(rotation), q,
                                                            scale);
  check_launch("quantize_w8");
}

void quantize_w4(const void* rows, Elem type, int64_t n, int64_t k, int64_t rotation, uint8_t* codes,
                 uint8_t* group_scale, float* scale, cudaStream_t stream) {
  auto* kernel = type == Elem::bf16 ? quantize_w4_kernel<true> : quantize_w4_kernel<false>;
  const int shared = prepare("quantize_w4", reinterpret_cast<const void*>(kernel), type, n, k, rotation,
                             4 * k + k / 64 * (4 + 3 * 4 + 3));
  kernel<<<static_cast<int>(n), kThreads, shared, stream>>>(rows, static_cast<int>(k), static_cast<int>(rotation),
                                                            codes, group_scale, scale);
  check_launch("quantize_w4");
}

}  // namespace inkling::cuda
