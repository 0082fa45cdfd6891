// What happens to a tile of sums before it is stored: scales, bias, activation, gate and residual (GemmEnd).
#pragma once

#include "backends/cuda/kernels/gemm_mma.cuh"

namespace inkling::cuda::gemm {

// Shared memory behind the stages: the origin of the next tile and the operands of the end that are read
// once a tile.
template <Kind kKind, class T>
struct EndShared {
  static constexpr int kScales = kKind == Kind::bf16 ? 0 : 4, kSums = kKind == Kind::w4a8 ? 4 : 0;  // bytes a row
  static constexpr int kNextTile = 8, kRowScale = 16, kRowSum = kRowScale + kScales * T::kBM, kColumnScale = kRowSum + kSums * T::kBM,
                       kBias = kColumnScale + kScales * T::kBN, kBytes = kBias + 4 * T::kBN;

  __device__ __forceinline__ static void fetch(const Args& args, uint32_t to, int m0, int n0) {
    for (int i = threadIdx.x; i < T::kBM; i += T::kThreads) {
      const int row = min(m0 + i, args.m - 1);
      if constexpr (kScales > 0) copy_async<4>(to + kRowScale + 4 * i, args.x_scale + row);
      if constexpr (kSums > 0) copy_async<4>(to + kRowSum + 4 * i, args.x_sum + row);
    }
    for (int i = threadIdx.x; i < T::kBN; i += T::kThreads) {
      const int column = min(n0 + i, args.n - 1);
      if constexpr (kScales > 0) copy_async<4>(to + kColumnScale + 4 * i, args.w_scale + column);
      if (args.end.bias) copy_async<4>(to + kBias + 4 * i, args.end.bias + column);
    }
    if (args.end.residual) {  // to L2 while the product is computed
      constexpr int kLines = T::kBN * 4 / 128 > 0 ? T::kBN * 4 / 128 : 1;
      for (int i = threadIdx.x; i < T::kBM * kLines; i += T::kThreads) {
        const int row = m0 + i / kLines, column = n0 + i % kLines * 32;
        if (row < args.m && column < args.n)
          asm volatile("prefetch.global.L2 [%0];" ::"l"(args.end.residual + static_cast<int64_t>(row) * args.n + column));
      }
    }
  }
};

// x sigmoid(c1 x + c3 x^3) of four values, the three activations that are of this form (gelu_tanh: 1 + tanh u =
// 2 sigmoid(2 u)). The constants carry -log2 e. One reciprocal serves four: the special function unit is what limits
// this. Clamped so that the product of the four denominators stays finite, which costs 1e-9 |x|.
__device__ __forceinline__ void gated(float* x, float c1, float c3) {
  float d[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(fminf(x[i] * fmaf(c3 * x[i], x[i], c1), 30.f)));
    d[i] = 1.f + e;
  }
  const float d01 = d[0] * d[1], d23 = d[2] * d[3], r = __fdividef(1.f, d01 * d23);
  const float r01 = r * d23, r23 = r * d01;
  x[0] *= r01 * d[1];
  x[1] *= r01 * d[0];
  x[2] *= r23 * d[3];
  x[3] *= r23 * d[2];
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
  for (int i = 0; i < kCount; i += 4) gated(v + i, c1, c3);
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

// A group of 16 columns (four of them this thread's) and up to 8 of the thread's rows at a time.
template <Kind kKind, class T, bool kResidual>
__device__ __forceinline__ void finish(const Args& args, typename Product<kKind>::Acc (&acc)[T::kMI][2 * T::kNU][4],
                                       const char* shared, int m0, int n0) {
  using End = EndShared<kKind, T>;
  constexpr int kRows = T::kMI % 2 == 1 ? 2 * T::kMI : 4, kBlocks = 2 * T::kMI / kRows;
  static_assert(2 * T::kMI % kRows == 0);
  const GemmEnd& end = args.end;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_in = warp % T::kWarpsM * T::kWM + lane / 4, column_in = warp / T::kWarpsM * T::kWN + lane % 4 * 4;
  auto row_of = [&](int r) { return row_in + r / 2 * 16 + r % 2 * 8; };
  auto there = [&](int row, int column) { return row < args.m && column < args.n; };
  auto floats = [&](int at) { return reinterpret_cast<const float*>(shared + at); };

  // The residual of a block is read before the block before it is stored.
  float4 residual[kResidual ? kRows : 1];
  auto load_residual = [&](int block) {
    const int column = n0 + column_in + block / kBlocks * 16;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = m0 + row_of(block % kBlocks * kRows + r);
      if (there(row, column))
        {
        const float4* from = reinterpret_cast<const float4*>(end.residual + static_cast<int64_t>(row) * args.n + column);
        residual[r] = *from;
      }
    }
  };
  if constexpr (kResidual) load_residual(0);
#pragma unroll
  for (int block = 0; block < T::kNU * kBlocks; ++block) {
    const int u = block / kBlocks, first = block % kBlocks * kRows, column = n0 + column_in + u * 16;
    float v[4 * kRows];
    float4 scale = {1.f, 1.f, 1.f, 1.f}, bias = {0.f, 0.f, 0.f, 0.f};
    if constexpr (kKind != Kind::bf16)
      scale = *reinterpret_cast<const float4*>(floats(End::kColumnScale) + column_in + u * 16);
    if (end.bias) bias = *reinterpret_cast<const float4*>(floats(End::kBias) + column_in + u * 16);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float row_scale = 1.f;
      if constexpr (kKind != Kind::bf16) row_scale = floats(End::kRowScale)[row_of(first + r)];
      int shift = 0;  // the weights are 128 too large
      if constexpr (kKind == Kind::w4a8)
        shift = 128 * reinterpret_cast<const int32_t*>(shared + End::kRowSum)[row_of(first + r)];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        auto sum = acc[(first + r) / 2][2 * u + e / 2][r % 2 * 2 + e % 2];
        if constexpr (kKind == Kind::w4a8) sum -= shift;
        const float s = e == 0 ? scale.x : e == 1 ? scale.y : e == 2 ? scale.z : scale.w;
        const float b = e == 0 ? bias.x : e == 1 ? bias.y : e == 2 ? bias.z : bias.w;
        const float f = static_cast<float>(sum);
        v[4 * r + e] = kKind == Kind::bf16 ? f + b : fmaf(f * row_scale, s, b);
      }
    }
    activate(v, end.act);
    if constexpr (kResidual) {
      float4 gate = {1.f, 1.f, 1.f, 1.f};
      auto load_gate = [&](int table_row) {
        gate = *reinterpret_cast<const float4*>(end.gate + static_cast<int64_t>(table_row) * args.n + column);
      };
      if (end.gate && end.groups.count == 1 && column < args.n) load_gate(end.groups.table_row[0]);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int row = m0 + row_of(first + r);
        if (end.gate && end.groups.count > 1 && there(row, column)) load_gate(table_row(end.groups, row));
        const float4 add = residual[r];
        v[4 * r] = fmaf(gate.x, v[4 * r], add.x);
        v[4 * r + 1] = fmaf(gate.y, v[4 * r + 1], add.y);
        v[4 * r + 2] = fmaf(gate.z, v[4 * r + 2], add.z);
        v[4 * r + 3] = fmaf(gate.w, v[4 * r + 3], add.w);
      }
      if (block + 1 < T::kNU * kBlocks) load_residual(block + 1);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = m0 + row_of(first + r);
      if (!there(row, column)) continue;
      const int64_t at = row * end.y_stride + column;
      if (end.type == Elem::f32) {
        float4* to = reinterpret_cast<float4*>(static_cast<float*>(end.y) + at);
        const float4 f = make_float4(v[4 * r], v[4 * r + 1], v[4 * r + 2], v[4 * r + 3]);
        *to = f;
      } else {
        *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(end.y) + at) =
            make_uint2(pack_bf16(v[4 * r], v[4 * r + 1]), pack_bf16(v[4 * r + 2], v[4 * r + 3]));
      }
    }
  }
}

}  // namespace inkling::cuda::gemm
