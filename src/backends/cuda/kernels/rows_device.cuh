// Device code that the row kernels share: 16-byte loads and stores as f32, activations, sums over warps and blocks.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>

#include "backends/cuda/kernels/launch.h"

namespace inkling::cuda {

using bf16 = __nv_bfloat16;

constexpr unsigned kFullWarp = 0xffffffffu;

// One memory access of `N` elements of T, kept as it was loaded until it is needed: bf16 takes half the registers.
template <typename T, int N>
struct Raw;
template <>
struct Raw<float, 4> {
  float4 v;
  __device__ void get(float* x) const { x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w; }
};
template <>
struct Raw<bf16, 4> {
  uint2 v;
  __device__ void get(float* x) const {
    x[0] = __uint_as_float(v.x << 16), x[1] = __uint_as_float(v.x & 0xffff0000u);
    x[2] = __uint_as_float(v.y << 16), x[3] = __uint_as_float(v.y & 0xffff0000u);
  }
};
template <>
struct Raw<bf16, 8> {
  uint4 v;
  __device__ void get(float* x) const {
    Raw<bf16, 4>{{v.x, v.y}}.get(x);
    Raw<bf16, 4>{{v.z, v.w}}.get(x + 4);
  }
};

template <typename T, int N>
__device__ Raw<T, N> load(const T* p) {
  return {*reinterpret_cast<const decltype(Raw<T, N>::v)*>(p)};
}
// What is read once must not drive tables out of L1. load_stream: a warp's instruction reads whole sectors, nothing is
// kept; load_piece: later instructions read the rest of the sectors, which are kept, but go first.
#define INKLING_LOAD(name, hint)                                                                                   \
  template <int N>                                                                                                 \
  __device__ inline Raw<float, N> name(const float* p) {                                                           \
    Raw<float, N> r;                                                                                               \
    asm volatile("ld.global.L1::" hint ".v4.f32 {%0,%1,%2,%3}, [%4];"                                              \
                 : "=f"(r.v.x), "=f"(r.v.y), "=f"(r.v.z), "=f"(r.v.w)                                              \
                 : "l"(p)                                                                                          \
                 : "memory");                                                                                      \
    return r;                                                                                                      \
  }                                                                                                                \
  template <int N>                                                                                                 \
  __device__ inline Raw<bf16, N> name(const bf16* p) {                                                             \
    Raw<bf16, N> r;                                                                                                \
    if constexpr (N == 8)                                                                                          \
      asm volatile("ld.global.L1::" hint ".v4.u32 {%0,%1,%2,%3}, [%4];"                                            \
                   : "=r"(r.v.x), "=r"(r.v.y), "=r"(r.v.z), "=r"(r.v.w)                                            \
                   : "l"(p)                                                                                        \
                   : "memory");                                                                                    \
    else                                                                                                           \
      asm volatile("ld.global.L1::" hint ".v2.u32 {%0,%1}, [%2];" : "=r"(r.v.x), "=r"(r.v.y) : "l"(p) : "memory"); \
    return r;                                                                                                      \
  }
INKLING_LOAD(load_stream, "no_allocate")
INKLING_LOAD(load_piece, "evict_first")
#undef INKLING_LOAD

__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <int N>
__device__ void store(float* p, const float* x) {
#pragma unroll
  for (int i = 0; i < N; i += 4) reinterpret_cast<float4*>(p)[i / 4] = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
}
template <int N>
__device__ void store(bf16* p, const float* x) {
  static_assert(N == 4 || N == 8);
  if constexpr (N == 4) {
    *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]));
  } else {
    *reinterpret_cast<uint4*>(p) =
        make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
  }
}

// Single elements of a type known at run time: odd sizes and addresses.
__device__ inline float load_any(const void* p, Elem type, int64_t i) {
  return type == Elem::f32 ? static_cast<const float*>(p)[i] : __bfloat162float(static_cast<const bf16*>(p)[i]);
}
__device__ inline void store_any(void* p, Elem type, int64_t i, float x) {
  if (type == Elem::f32)
    static_cast<float*>(p)[i] = x;
  else
    static_cast<bf16*>(p)[i] = __float2bfloat16_rn(x);
}

// The special function unit's exp2 and reciprocal, denormals flushed: one instruction each.
__device__ inline float exp2_fast(float x) {
  asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
}
__device__ inline float reciprocal(float x) {
  asm("rcp.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
}
constexpr float kLog2e = 1.4426950408889634f;
// 1 / (1 + exp(-x)), from -x log2(e).
__device__ inline float sigmoid_exp2(float t) { return reciprocal(1.f + exp2_fast(t)); }

// x Phi(x) with Phi(x) = erfc(-x / sqrt 2) / 2. With t = |x| / sqrt 2, erfc(t) = exp(-t^2) P(1/(1 + t/2)) to 4e-8
// relative: a minimax fit of degree 9 on t in [0, 10]. No cancellation for negative x. As backends/cpu does.
__device__ inline float gelu_erf(float x) {
  const float t = fabsf(x) * 0.70710678118654752f;
  const float u = reciprocal(fmaf(t, 0.5f, 1.f));
  float p = -0.0550454475f;
  p = fmaf(p, u, 0.26387519f);
  p = fmaf(p, u, -0.441420306f);
  p = fmaf(p, u, 0.221124473f);
  p = fmaf(p, u, 0.0171255824f);
  p = fmaf(p, u, 0.181227649f);
  p = fmaf(p, u, 0.249800139f);
  p = fmaf(p, u, 0.281097201f);
  p = fmaf(p, u, 0.282221505f);
  p = fmaf(p, u, -6.01701127e-06f);
  const float half_tail = 0.5f * p * exp2_fast(t * t * -kLog2e);  // Phi(-|x|)
  return x * (x < 0.f ? half_tail : 1.f - half_tail);
}

template <Act act>
__device__ float activated(float x) {
  if constexpr (act == Act::gelu_tanh)  // x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    return x * sigmoid_exp2(x * fmaf(x * x, -kLog2e * 0.07135481282f, -kLog2e * 1.5957691216f));
  else if constexpr (act == Act::gelu_erf)
    return gelu_erf(x);
  else if constexpr (act == Act::silu)
    return x * sigmoid_exp2(-kLog2e * x);
  else if constexpr (act == Act::quick_gelu)
    return x * sigmoid_exp2(-kLog2e * 1.702f * x);
  else
    return x;
}
// The switch is outside the loop, so that it costs nothing.
template <int N>
__device__ void activate_all(Act act, float (&x)[N]) {
  switch (act) {
    case Act::none: return;
    case Act::gelu_tanh:
#pragma unroll
      for (float& v : x) v = activated<Act::gelu_tanh>(v);
      return;
    case Act::gelu_erf:
#pragma unroll
      for (float& v : x) v = activated<Act::gelu_erf>(v);
      return;
    case Act::silu:
#pragma unroll
      for (float& v : x) v = activated<Act::silu>(v);
      return;
    case Act::quick_gelu:
#pragma unroll
      for (float& v : x) v = activated<Act::quick_gelu>(v);
      return;
  }
}

__device__ inline int table_row(const RowTable& groups, int64_t row) {
  int g = 0;
  while (g + 1 < groups.count && row >= groups.end[g]) ++g;
  return groups.table_row[g];
}

// Larger of two magnitudes, or NaN if one is: fmaxf would hide it.
__device__ inline float max_or_nan(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// Reductions. The result is the same in every lane; the order of the operations is fixed.
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
  __device__ int operator()(int a, int b) const { return a + b; }
};
struct Max {
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return max(a, b); }
};

// width: a power of 2.
template <class Op, typename T>
__device__ T over_lanes(T v, int width = 32) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    if (step < width) v = Op()(v, __shfl_xor_sync(kFullWarp, v, step));
  return v;
}
template <class Op>
__device__ float over_warp(float v) {
  return over_lanes<Op>(v);
}
template <class Op>
__device__ int over_warp(int v) {
  return __reduce_add_sync(kFullWarp, v);
}
template <class Op>
__device__ uint32_t over_warp(uint32_t v) {
  return __reduce_max_sync(kFullWarp, v);
}
// part: 32 values of shared memory that no other reduction of this kernel uses. All threads of the block call it.
template <class Op, typename T>
__device__ T over_block(T v, T* part) {
  v = over_warp<Op>(v);
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (warps == 1) return v;
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  if (warps <= 4) {
    v = Op()(part[0], part[1]);
    if (warps > 2) v = Op()(v, part[2]);
    if (warps > 3) v = Op()(v, part[3]);
    return v;
  }
  const int lane = threadIdx.x % 32;
  return over_warp<Op>(lane < warps ? part[lane] : T(0));
}

inline bool aligned(const void* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

}  // namespace inkling::cuda
