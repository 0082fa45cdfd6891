// Kept for comparison, the first version: fragments one group of columns ahead, addresses from scratch in every slice.
// See README.md.
#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/kernels/gemm_args.h"

namespace inkling::cuda::gemm::step1 {

template <Kind kKind>
struct Product {
  using Acc = float;
};
template <>
struct Product<Kind::w8a8> {
  using Acc = int;
};
template <>
struct Product<Kind::w4a8> {
  using Acc = int;
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies kBytes (4, 8 or 16) to shared memory; zeros where !valid. 16 bytes go round L1.
template <int kBytes>
__device__ __forceinline__ void copy_async(uint32_t shared, const void* global, bool valid = true) {
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void load_matrix(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared)
               : "memory");
}
__device__ __forceinline__ void load_shared(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared)
               : "memory");
}
__device__ __forceinline__ void load_shared(uint32_t (&r)[2], uint32_t shared) {
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared) : "memory");
}
__device__ __forceinline__ uint32_t load_shared_u16(uint32_t shared) {
  uint32_t r;
  asm volatile("ld.shared.u16 %0, [%1];" : "=r"(r) : "r"(shared) : "memory");
  return r;
}

// d += a b. a: 16 rows x 32 bytes, b: 32 bytes x 8 columns.
template <Kind kKind>
__device__ __forceinline__ void multiply_add(typename Product<kKind>::Acc (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  if constexpr (kKind == Kind::w8a8) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (kKind == Kind::w4a8) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Eight 4-bit codes -> eight bytes code * s + (128 - 8 s) in 0..240, which is the weight plus 128. No byte carries into
// its neighbour, so that one multiplication serves four. offset: 128 - 8 s in every byte.
__device__ __forceinline__ void unpack_codes(uint32_t codes, uint32_t s, uint32_t offset, uint32_t& b0, uint32_t& b1) {
  b0 = (codes & 0x0f0f0f0fu) * s + offset;
  b1 = ((codes >> 4) & 0x0f0f0f0fu) * s + offset;
}

// --- the end of a tile

// Operands of the end that are read once a tile, in shared memory behind the stages.
template <class T>
struct EndShared {
  static constexpr int kBytes = 8 * T::kBM + 8 * T::kBN;
  static constexpr int kRowSum = 4 * T::kBM, kColumnScale = 8 * T::kBM, kBias = kColumnScale + 4 * T::kBN;

  __device__ __forceinline__ static void fetch(const Args& args, uint32_t to, int m0, int n0) {
    for (int i = threadIdx.x; i < T::kBM; i += T::kThreads) {
      const int row = min(m0 + i, args.m - 1);
      if (args.x_scale) copy_async<4>(to + 4 * i, args.x_scale + row);
      if (args.x_sum) copy_async<4>(to + kRowSum + 4 * i, args.x_sum + row);
    }
    for (int i = threadIdx.x; i < T::kBN; i += T::kThreads) {
      const int column = min(n0 + i, args.n - 1);
      if (args.w_scale) copy_async<4>(to + kColumnScale + 4 * i, args.w_scale + column);
      if (args.end.bias) copy_async<4>(to + kBias + 4 * i, args.end.bias + column);
    }
  }
};

// x sigmoid(c1 x + c3 x^3), the three activations that are of this form (gelu_tanh: 1 + tanh u = 2 sigmoid(2 u)). The
// constants carry -log2 e.
__device__ __forceinline__ float gated(float x, float c1, float c3) {
  const float z = x * (c1 + c3 * x * x);
  float e;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(z));
  return __fdividef(x, 1.f + e);
}

// Abramowitz & Stegun 7.1.26 (1.5e-7 in erf), as erfc so that the negative tail keeps its digits.
__device__ __forceinline__ float gelu_erf(float x) {
  const float z = fabsf(x) * 0.70710678f;
  const float t = __fdividef(1.f, fmaf(0.3275911f, z, 1.f));
  float p = fmaf(1.061405429f, t, -1.453152027f);
  p = fmaf(p, t, 1.421413741f);
  p = fmaf(p, t, -0.284496736f);
  p = fmaf(p, t, 0.254829592f) * t;
  float e;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(z * z * -1.44269504f));
  const float half = 0.5f * p * e;  // Phi(-|x|)
  return x * (x >= 0.f ? 1.f - half : half);
}

template <int kCount>
__device__ __forceinline__ void activate(float (&v)[kCount], Act act) {
  if (act == Act::none) return;
  if (act == Act::gelu_erf) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = gelu_erf(v[i]);
    return;
  }
  constexpr float kLog2e = 1.44269504f, kTanh = 2.f * 0.79788456f;
  const float c1 = act == Act::gelu_tanh ? -kTanh * kLog2e : act == Act::silu ? -kLog2e : -1.702f * kLog2e;
  const float c3 = act == Act::gelu_tanh ? -kTanh * 0.044715f * kLog2e : 0.f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = gated(v[i], c1, c3);
}

__device__ __forceinline__ int table_row(const RowTable& table, int row) {
  int i = 0;
  while (i + 1 < table.count && row >= table.end[i]) ++i;
  return table.table_row[i];
}

__device__ __forceinline__ uint32_t pack_bf16(float a, float b) {
  const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
  return reinterpret_cast<const uint32_t&>(v);
}

template <Kind kKind, class T, bool kResidual>
__device__ __forceinline__ void finish(const Args& args, typename Product<kKind>::Acc (&acc)[T::kMI][2 * T::kNU][4],
                                       const char* shared, int m0, int n0) {
  constexpr int kRows = 2 * T::kMI, kGroups = T::kNU;
  const GemmEnd& end = args.end;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_in = warp % T::kWarpsM * T::kWM + lane / 4;
  const int column_in = warp / T::kWarpsM * T::kWN + lane % 4 * 4;
  auto row_of = [&](int r) { return row_in + r / 2 * 16 + r % 2 * 8; };
  const float* row_scale = reinterpret_cast<const float*>(shared);
  const int32_t* row_sum = reinterpret_cast<const int32_t*>(shared + EndShared<T>::kRowSum);
  const float* column_scale = reinterpret_cast<const float*>(shared + EndShared<T>::kColumnScale);
  const float* column_bias = reinterpret_cast<const float*>(shared + EndShared<T>::kBias);
  const int64_t y_stride = end.y_stride;

  // The residual of a group of columns is read before the group before it is stored.
  float4 residual[kResidual ? kRows : 1];
  auto load_residual = [&](int u) {
    const int column = n0 + column_in + u * 16;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = m0 + row_of(r);
      if (row < args.m && column < args.n)
        residual[r] = *reinterpret_cast<const float4*>(end.residual + static_cast<int64_t>(row) * args.n + column);
    }
  };
  if constexpr (kResidual) load_residual(0);
#pragma unroll
  for (int u = 0; u < kGroups; ++u) {
    const int column = n0 + column_in + u * 16;
    float v[4 * kRows];
    float4 scale = {1.f, 1.f, 1.f, 1.f}, bias = {0.f, 0.f, 0.f, 0.f};
    if constexpr (kKind != Kind::bf16) scale = *reinterpret_cast<const float4*>(column_scale + column_in + u * 16);
    if (end.bias) bias = *reinterpret_cast<const float4*>(column_bias + column_in + u * 16);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float rs = 1.f;
      if constexpr (kKind != Kind::bf16) rs = row_scale[row_of(r)];
      int shift = 0;
      if constexpr (kKind == Kind::w4a8) shift = 128 * row_sum[row_of(r)];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float sum;
        if constexpr (kKind == Kind::w4a8) {
          sum = static_cast<float>(acc[r / 2][2 * u + e / 2][r % 2 * 2 + e % 2] - shift);
        } else {
          sum = static_cast<float>(acc[r / 2][2 * u + e / 2][r % 2 * 2 + e % 2]);
        }
        const float s = e == 0 ? scale.x : e == 1 ? scale.y : e == 2 ? scale.z : scale.w;
        const float b = e == 0 ? bias.x : e == 1 ? bias.y : e == 2 ? bias.z : bias.w;
        v[4 * r + e] = kKind == Kind::bf16 ? sum + b : fmaf(sum * rs, s, b);
      }
    }
    activate(v, end.act);
    if constexpr (kResidual) {
      float4 gate = {1.f, 1.f, 1.f, 1.f};
      if (end.gate && end.groups.count == 1 && column < args.n)
        gate = *reinterpret_cast<const float4*>(end.gate + static_cast<int64_t>(end.groups.table_row[0]) * args.n + column);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int row = m0 + row_of(r);
        if (end.gate && end.groups.count > 1 && row < args.m && column < args.n)
          gate = *reinterpret_cast<const float4*>(end.gate + static_cast<int64_t>(table_row(end.groups, row)) * args.n +
                                                  column);
        const float4 add = residual[r];
        v[4 * r] = fmaf(gate.x, v[4 * r], add.x);
        v[4 * r + 1] = fmaf(gate.y, v[4 * r + 1], add.y);
        v[4 * r + 2] = fmaf(gate.z, v[4 * r + 2], add.z);
        v[4 * r + 3] = fmaf(gate.w, v[4 * r + 3], add.w);
      }
      if (u + 1 < kGroups) load_residual(u + 1);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = m0 + row_of(r);
      if (row >= args.m || column >= args.n) continue;
      if (end.type == Elem::f32) {
        *reinterpret_cast<float4*>(static_cast<float*>(end.y) + row * y_stride + column) =
            make_float4(v[4 * r], v[4 * r + 1], v[4 * r + 2], v[4 * r + 3]);
      } else {
        *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(end.y) + row * y_stride + column) =
            make_uint2(pack_bf16(v[4 * r], v[4 * r + 1]), pack_bf16(v[4 * r + 2], v[4 * r + 3]));
      }
    }
  }
}

// --- the kernel

// kBK: bytes of k a stage, 64, 128 or 256. kMinBlocks: CTAs an SM that registers must allow.
template <int kBM_, int kBN_, int kWarpsM_, int kWarpsN_, int kBK_, int kStages_, int kMinBlocks_>
struct Tile {
  static constexpr int kBM = kBM_, kBN = kBN_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kBK = kBK_, kStages = kStages_,
                       kMinBlocks = kMinBlocks_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kWM = kBM / kWarpsM, kWN = kBN / kWarpsN;
  static constexpr int kMI = kWM / 16, kNU = kWN / 16;  // fragments of 16 rows and of 16 columns of a warp
  static constexpr int kSteps = kBK / 32;
  static_assert(kWM % 16 == 0 && kWN % 16 == 0 && kBK % 64 == 0 && kStages >= 3);
};

template <Kind kKind, class T>
struct Stage {  // bytes
  static constexpr int kA = T::kBM * T::kBK;
  static constexpr int kB = kKind == Kind::w4a8 ? T::kBN * T::kBK / 2 : T::kBN * T::kBK;
  static constexpr int kS = kKind == Kind::w4a8 ? T::kBN * T::kBK / 64 : 0;  // group scales
  static constexpr int kBytes = kA + kB + kS;
  static constexpr int kAtom = kKind == Kind::w4a8 ? 256 : 512;  // 16 rows of W x 32 bytes of a row of x
  static constexpr int kShared = kBytes * T::kStages + EndShared<T>::kBytes;
};

// Where chunk c (16 bytes) of row r lies.
template <int kBK>
__device__ __forceinline__ uint32_t swizzle(uint32_t r, uint32_t c) {
  if constexpr (kBK == 64) {
    return (r >> 1) * 128 + (((r & 1) * 4 + (c ^ ((r >> 1) & 3))) << 4);
  } else {
    return r * kBK + ((c ^ (r & 7)) << 4);
  }
}

// From the place of a chunk of step 0 to that of step s; low bits of `at` count from a multiple of 128.
template <int kBK>
__device__ __forceinline__ uint32_t step_address(uint32_t at, int s) {
  return (at ^ (s % (kBK == 64 ? 2 : 4) * 32)) + s / (kBK == 64 ? 2 : 4) * 128;
}

// Fetches slices of x and W: what a thread must know to copy its chunks.
template <Kind kKind, class T>
struct Fetch {
  using S = Stage<kKind, T>;
  static constexpr unsigned kT = T::kThreads;
  static constexpr unsigned kRowChunks = T::kBK / 16;
  static constexpr unsigned kChunksA = S::kA / 16, kChunksB = S::kB / 16, kChunksS = S::kS / 8;
  static constexpr int kNA = (kChunksA + kT - 1) / kT, kNB = (kChunksB + kT - 1) / kT, kNS = (kChunksS + kT - 1) / kT;
  static constexpr int kCount = kNA + kNB + kNS;
  // A slice may reach beyond k: only with long slices or with k a multiple of 16 bytes alone.
  static constexpr bool kTail = T::kBK > 64 || kKind == Kind::bf16;
  static constexpr bool kRows = kKind == Kind::bf16;                  // W as rows, not packed
  static constexpr unsigned kGroupChunks = S::kAtom / 16 * T::kSteps;  // of 16 packed rows
  static constexpr unsigned kBytesB = kRows ? 1 : S::kAtom / 32;       // bytes of W in a group a byte of k
  static_assert(kT % kRowChunks == 0);

  const char *x, *w, *s;  // at the slice to be fetched next
  uint32_t x_off[kNA], w_off[kNB], s_off[kNS > 0 ? kNS : 1];

  __device__ __forceinline__ void set_tile(const Args& args, int m0, int n0) {
    const unsigned tid = threadIdx.x, kb = args.k_bytes;
    x = static_cast<const char*>(args.x) + static_cast<int64_t>(m0) * kb;
    const unsigned last_row = args.m - 1 - m0;
#pragma unroll
    for (int i = 0; i < kNA; ++i) {
      const unsigned q = tid + i * kT;
      x_off[i] = min(q / kRowChunks, last_row) * kb + q % kRowChunks * 16;
    }
    const unsigned last_group = (args.n + 15) / 16 - 1 - n0 / 16, last_column = args.n - 1 - n0;
    w = static_cast<const char*>(args.w) + static_cast<int64_t>(n0 / 16) * kb * (kRows ? 16 : kBytesB);
    s = reinterpret_cast<const char*>(args.group_scale) + static_cast<int64_t>(n0 / 16) * (kb / 4);
#pragma unroll
    for (int i = 0; i < kNB; ++i) {
      const unsigned q = tid + i * kT;
      if constexpr (kRows) {
        w_off[i] = min(q / kRowChunks, last_column) * kb + q % kRowChunks * 16;
      } else {
        w_off[i] = min(q / kGroupChunks, last_group) * kb * kBytesB + q % kGroupChunks * 16;
      }
    }
#pragma unroll
    for (int i = 0; i < kNS; ++i) {
      const unsigned q = tid + i * kT;
      s_off[i] = min(q / T::kSteps, last_group) * (kb / 4) + q % T::kSteps * 8;
    }
  }
  __device__ __forceinline__ void advance() {
    x += T::kBK;
    w += T::kBK * kBytesB;
    s += T::kBK / 4;
  }

  // Chunk c of the thread's kCount. left: bytes of k from the slice's begin.
  __device__ __forceinline__ void copy(int c, uint32_t stage, unsigned left) const {
    const unsigned tid = threadIdx.x;
    if (c < kNA) {
      const unsigned q = tid + c * kT;
      const bool valid = !kTail || q % kRowChunks * 16 < left;
      if (kChunksA % kT == 0 || q < kChunksA)
        copy_async<16>(stage + place(tid / kRowChunks, c * (kT / kRowChunks)), valid ? x + x_off[c] : x, valid);
    } else if (c < kNA + kNB) {
      const unsigned i = c - kNA, q = tid + i * kT;
      uint32_t to = q * 16;
      unsigned k = q % kGroupChunks / (S::kAtom / 16) * 32;
      if constexpr (kRows) {
        const unsigned r = q / kRowChunks;  // W's row within the tile -> its place in fragment order
        to = swizzle<T::kBK>((r & ~15u) | ((r >> 1 & 1) << 3) | ((r >> 2 & 3) << 1) | (r & 1), q % kRowChunks);
        k = q % kRowChunks * 16;
      }
      const bool valid = !kTail || k < left;
      if (kChunksB % kT == 0 || q < kChunksB) copy_async<16>(stage + S::kA + to, valid ? w + w_off[i] : w, valid);
    } else {
      const unsigned i = c - kNA - kNB, q = tid + i * kT;
      const bool valid = !kTail || q % T::kSteps / 2 * 64 < left;
      if (kChunksS % kT == 0 || q < kChunksS)
        copy_async<8>(stage + S::kA + S::kB + q * 8, valid ? s + s_off[i] : s, valid);
    }
  }

 private:
  // Place of the thread's chunk `rows` rows below row r.
  __device__ __forceinline__ static uint32_t place(unsigned r, unsigned rows) {
    const unsigned c = threadIdx.x % kRowChunks;
    if constexpr (kT / kRowChunks % 8 == 0) {
      return swizzle<T::kBK>(r, c) + rows * T::kBK;  // the same swizzle 8 rows further
    } else {
      return swizzle<T::kBK>(r + rows, c);
    }
  }
};

// The fragments of a warp's part of W: 16 columns (u) of a 32-byte step.
template <Kind kKind, class T>
struct Weights {
  using S = Stage<kKind, T>;
  uint32_t b[2][4];    // as the tensor cores take them, of u in b[u % 2]: two n8 fragments
  uint32_t raw[2][2];  // 4-bit codes on their way
  uint32_t scale[2];

  __device__ __forceinline__ static uint32_t lane_offset(int warp_n, int lane) {
    const int first = warp_n * T::kWN;
    if constexpr (kKind == Kind::bf16) {
      return S::kA + swizzle<T::kBK>(first + (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    } else {
      return S::kA + first / 16 * T::kSteps * S::kAtom + lane * (S::kAtom / 32);
    }
  }
  __device__ __forceinline__ static uint32_t scale_offset(int warp_n, int lane) {
    return S::kA + S::kB + warp_n * (T::kWN / 16) * (T::kSteps / 2) * 16 + lane / 4 * 2;
  }
  // buffer: parity of u, counted through the steps.
  __device__ __forceinline__ void load(int buffer, uint32_t at, uint32_t scale_at, int u, int s) {
    if constexpr (kKind == Kind::bf16) {
      load_matrix(b[buffer], step_address<T::kBK>(at + u * 16 * T::kBK, s));
    } else if constexpr (kKind == Kind::w4a8) {
      load_shared(raw[buffer], at + (u * T::kSteps + s) * S::kAtom);
      scale[buffer] = load_shared_u16(scale_at + (u * (T::kSteps / 2) + s / 2) * 16);
    } else {
      load_shared(b[buffer], at + (u * T::kSteps + s) * S::kAtom);
    }
  }
  __device__ __forceinline__ void unpack(int buffer) {
    if constexpr (kKind == Kind::w4a8) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t s = j == 0 ? scale[buffer] & 0xff : scale[buffer] >> 8;
        unpack_codes(raw[buffer][j], s, 0x80808080u - s * 0x08080808u, b[buffer][2 * j], b[buffer][2 * j + 1]);
      }
    }
  }
};

template <class T>
__device__ __forceinline__ void tile_origin(const Args& args, int tile, int& m0, int& n0) {
  const int m_tiles = (args.m + T::kBM - 1) / T::kBM, n_tiles = (args.n + T::kBN - 1) / T::kBN;
  // Groups of group_m tile rows, walked down first: the CTAs that run together share rows of x and of W in L2.
  const int group = tile / (args.group_m * n_tiles), first = group * args.group_m;
  const int rows = min(args.group_m, m_tiles - first), at = tile - first * n_tiles;
  m0 = (first + at % rows) * T::kBM;
  n0 = at / rows * T::kBN;
}

template <Kind kKind, class T>
__global__ void __launch_bounds__(T::kThreads, T::kMinBlocks) gemm_kernel(const __grid_constant__ Args args) {
  using S = Stage<kKind, T>;
  using F = Fetch<kKind, T>;
  using W = Weights<kKind, T>;
  using Acc = typename Product<kKind>::Acc;
  constexpr int kMI = T::kMI, kNU = T::kNU, kSteps = T::kSteps, kStages = T::kStages;
  constexpr int kAhead = kKind == Kind::w4a8 ? 2 : 1;  // column groups of W loaded ahead

  extern __shared__ __align__(128) char shared[];
  const uint32_t shared0 = shared_address(shared);
  const uint32_t shared_end = shared0 + kStages * S::kBytes;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % T::kWarpsM, warp_n = warp / T::kWarpsM;
  const uint32_t a_off = swizzle<T::kBK>(warp_m * T::kWM + lane % 16, lane / 16);
  const uint32_t b_off = W::lane_offset(warp_n, lane), s_off = W::scale_offset(warp_n, lane);
  const unsigned kb = args.k_bytes;
  const int tiles = ((args.m + T::kBM - 1) / T::kBM) * ((args.n + T::kBN - 1) / T::kBN);

  F fetch;
  auto fetch_first = [&] {
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      if (i * T::kBK < kb) {
#pragma unroll
        for (int c = 0; c < F::kCount; ++c) fetch.copy(c, shared0 + i * S::kBytes, kb - i * T::kBK);
        fetch.advance();
      }
      copy_commit();
    }
  };

  int tile = blockIdx.x, m0, n0;
  if (tile >= tiles) return;
  step1::tile_origin<T>(args, tile, m0, n0);
  fetch.set_tile(args, m0, n0);
  fetch_first();

  while (true) {
    Acc acc[kMI][2 * kNU][4] = {};
    uint32_t a[2][kMI][4];  // of this step and of the next
    W w;

    copy_wait<kStages - 2>();
    __syncthreads();
    EndShared<T>::fetch(args, shared_end, m0, n0);  // belongs to the next group committed
#pragma unroll
    for (int i = 0; i < kMI; ++i) load_matrix(a[0][i], shared0 + a_off + i * 16 * T::kBK);
    w.load(0, shared0 + b_off, shared0 + s_off, 0, 0);
    w.unpack(0);
    if constexpr (kAhead == 2) w.load(1, shared0 + b_off, shared0 + s_off, 1 % kNU, 1 / kNU);

    uint32_t stage = shared0, fetch_stage = shared0 + (kStages - 1) * S::kBytes;
    unsigned left = kb;  // bytes of k from this slice on
    do {
      copy_wait<kStages - 3>();
      __syncthreads();  // the next slice is there, and the previous one has been read by all
      const uint32_t next_stage = stage + S::kBytes == shared_end ? shared0 : stage + S::kBytes;
      const bool more = left > (kStages - 1) * T::kBK;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int u = 0; u < kNU; ++u) {
          const int at = s * kNU + u;  // buffers alternate by its parity; kSteps is even
          const int to = (at + kAhead) % (kSteps * kNU);
          const uint32_t from = at + kAhead < kSteps * kNU ? stage : next_stage;
          w.load((at + kAhead) % 2, from + b_off, from + s_off, to % kNU, to / kNU);
#pragma unroll
          for (int i = u * kMI / kNU; i < (u + 1) * kMI / kNU; ++i) {
            const uint32_t base = (s + 1 < kSteps ? stage : next_stage) + i * 16 * T::kBK;
            load_matrix(a[(s + 1) % 2][i], base + step_address<T::kBK>(a_off, (s + 1) % kSteps));
          }
          if (more) {
#pragma unroll
            for (int c = at * F::kCount / (kSteps * kNU); c < (at + 1) * F::kCount / (kSteps * kNU); ++c)
              fetch.copy(c, fetch_stage, left - (kStages - 1) * T::kBK);
          }
#pragma unroll
          for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int i = 0; i < kMI; ++i)
              multiply_add<kKind>(acc[i][2 * u + j], a[s % 2][i], w.b[at % 2][2 * j], w.b[at % 2][2 * j + 1]);
          }
          w.unpack((at + 1) % 2);
        }
      }
      copy_commit();
      fetch.advance();
      stage = next_stage;
      fetch_stage = fetch_stage + S::kBytes == shared_end ? shared0 : fetch_stage + S::kBytes;
      left -= min(left, static_cast<unsigned>(T::kBK));
    } while (left > 0);
    copy_wait<0>();
    __syncthreads();  // all have read the slices; the end's operands are there

    const int m_done = m0, n_done = n0;
    tile += gridDim.x;
    if (tile < tiles) {
      step1::tile_origin<T>(args, tile, m0, n0);
      fetch.set_tile(args, m0, n0);
      fetch_first();
    }
    if (args.end.residual != nullptr) {
      step1::finish<kKind, T, true>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    } else {
      step1::finish<kKind, T, false>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    }
    if (tile >= tiles) return;
  }
}

}  // namespace inkling::cuda::gemm::step1
