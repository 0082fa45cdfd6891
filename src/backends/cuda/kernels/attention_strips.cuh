// A warp's part of attention: scores, probabilities and results of its query rows, all in registers.
#pragma once

#include <type_traits>

#include "backends/cuda/kernels/attention_tile.cuh"

namespace inkling::cuda::attn {

// What a warp holds of its strips of query rows. Lane l holds rows l / 4 and l / 4 + 8 of a strip and, of every eight
// columns, 2 (l % 4) and the next: the layout of an mma result.
template <Tile T>
struct Strips {
  static constexpr int kSteps = T.key_bytes() / 32;  // of q k^T: 16 bf16 or 32 s8 deep
  static constexpr int kColumns = T.step / 8, kChannels = T.head_dim / 8;
  using Score = std::conditional_t<T.scores == Scores::int8, int, float>;

  uint32_t query[T.query_in_registers ? T.strips : 1][T.query_in_registers ? kSteps : 1][4];
  uint32_t query_at = 0;  // lane's address, where the query stays in shared memory
  float query_scale[T.strips][2];
  Score scores[T.strips][kColumns][4];
  uint32_t p[T.strips][T.step / 16][4];  // probabilities, as the next product's operand
  float out[T.strips][kChannels][4];
  float reference[T.strips][2], sum[T.strips][2];
  uint32_t keys_lane, values_lane;  // the lane's place in a tile

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < T.strips; ++m) {
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) out[m][c][i] = 0.f;
#pragma unroll
      for (int r = 0; r < 2; ++r) reference[m][r] = -1e30f, sum[m][r] = 0.f, query_scale[m][r] = 1.f;
    }
    const int lane = threadIdx.x % 32;
    keys_lane = pinned((lane / 16 * 8 + lane % 8) * T.key_stride() + lane / 8 % 2 * 16);
    values_lane = pinned((lane / 8 % 2 * 8 + lane % 8) * T.value_stride() + lane / 16 * 16);
  }

  // Reads the warp's rows of the query tile, bf16 at `at`.
  __device__ __forceinline__ void load_query(const char* shared, uint32_t at, float scale_log2) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if constexpr (T.scores == Scores::int8) {
      round_query(shared + (warp * T.strips * 16 + lane / 4) * T.value_stride() + lane % 4 * 8, scale_log2);
    } else {
      query_at = pinned(at + (warp * T.strips * 16 + lane % 16) * T.value_stride() + lane / 16 * 16);
      if constexpr (T.query_in_registers)
#pragma unroll
        for (int m = 0; m < T.strips; ++m)
#pragma unroll
          for (int k = 0; k < kSteps; ++k) load_matrices(query[m][k], query_at + m * 16 * T.value_stride() + k * 32);
    }
  }

  // int8, one scale a row; `row`: this lane's first row and channel.
  __device__ __forceinline__ void round_query(const char* row, float scale_log2) {
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const char* at = row + (m * 16 + r * 8) * T.value_stride();
        float most = 1e-30f;
#pragma unroll
        for (int k = 0; k < kSteps * 2; ++k) {
          const uint2 x = *reinterpret_cast<const uint2*>(at + k * 32);
          const float2 a = unpack_bf16(x.x), b = unpack_bf16(x.y);
          most = max_nan(most, max_nan(max_nan(fabsf(a.x), fabsf(a.y)), max_nan(fabsf(b.x), fabsf(b.y))));
        }
        most = max_nan(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = max_nan(most, __shfl_xor_sync(0xffffffffu, most, 2));
        const float inverse = 127.f / most;
        query_scale[m][r] = most * (1.f / 127.f) * scale_log2;
#pragma unroll
        for (int k = 0; k < kSteps * 2; ++k) {
          const uint2 x = *reinterpret_cast<const uint2*>(at + k * 32);
          const float2 a = unpack_bf16(x.x), b = unpack_bf16(x.y);
          query[m][k / 2][k % 2 * 2 + r] = pack_s8(a.x * inverse, a.y * inverse, b.x * inverse, b.y * inverse);
        }
      }
  }

  // scores = q k^T; `keys`: the tile.
  __device__ __forceinline__ void multiply_keys(uint32_t keys) {
    const uint32_t at = keys + keys_lane;
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[m][n][i] = T.scores == Scores::int8 ? static_cast<Score>(kMagic) : Score(0);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint32_t q[T.strips][4];
#pragma unroll
      for (int m = 0; m < T.strips; ++m) {
        if constexpr (T.query_in_registers) {
#pragma unroll
          for (int i = 0; i < 4; ++i) q[m][i] = query[m][k][i];
        } else {
          load_matrices(q[m], query_at + m * 16 * T.value_stride() + k * 32);
        }
      }
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        uint32_t b[4];
        load_matrices(b, at + n * 8 * T.key_stride() + k * 32);
#pragma unroll
        for (int m = 0; m < T.strips; ++m) {
          if constexpr (T.scores == Scores::int8) {
            mma_s8(scores[m][n], q[m], b[0], b[1]);
            mma_s8(scores[m][n + 1], q[m], b[2], b[3]);
          } else {
            mma_bf16(scores[m][n], q[m], b[0], b[1]);
            mma_bf16(scores[m][n + 1], q[m], b[2], b[3]);
          }
        }
      }
    }
  }

  // Hides keys from column `valid` on; with `causal`, also those right of column `diagonal` + the strips' row.
  __device__ __forceinline__ void mask(int valid, bool causal, int diagonal) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = m * 16 + i / 2 * 8 + lane / 4;
        const int limit = causal ? min(valid, diagonal + row + 1) : valid;
#pragma unroll
        for (int n = 0; n < kColumns; ++n)
          if (n * 8 + lane % 4 * 2 + i % 2 >= limit) {
            if constexpr (T.scores == Scores::int8)
              scores[m][n][i] = __float_as_int(-INFINITY);
            else
              scores[m][n][i] = -INFINITY;
          }
      }
  }

  __device__ __forceinline__ static float score(Score s) {
    if constexpr (T.scores == Scores::int8)
      return __int_as_float(s);
    else
      return s;
  }

  // Probabilities of the step's keys from 16 `First` on, 16 `Count` of them. `scale`: of the scores, log2.
  template <int First, int Count>
  __device__ __forceinline__ void exponentiate(float scale) {
    float part[T.strips][2];
    exponentials<First, Count>(scale, part);
    bool large = false;
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) large |= part[m][r] > kMost;
    if (__any_sync(0xffffffffu, large)) {
      raise<First, Count>(scale, part);
      exponentials<First, Count>(scale, part);
    }
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) sum[m][r] += part[m][r];
  }

  __device__ __forceinline__ float factor(float scale, int m, int r) const {
    return T.scores == Scores::int8 ? scale * query_scale[m][r] : scale;
  }

  template <int First, int Count>
  __device__ __forceinline__ void exponentials(float scale, float (&part)[T.strips][2]) {
#pragma unroll
    for (int m = 0; m < T.strips; ++m) {
      float factors[2], shift[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        factors[r] = factor(scale, m, r);
        shift[r] = T.scores == Scores::int8 ? fmaf(kMagicValue, factors[r], reference[m][r]) : reference[m][r];
      }
#pragma unroll
      for (int k = First; k < First + Count; ++k) {
        float x[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int r = i / 2 % 2;
          x[i] = exp2_fast(fmaf(score(scores[m][k * 2 + i / 4][i % 4]), factors[r], -shift[r]));
          part[m][r] = k == First && i % 4 == r * 2 && i < 4 ? x[i] : part[m][r] + x[i];
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
          p[m][k][i] = T.values == Values::f16 ? pack_f16(x[i * 2], x[i * 2 + 1]) : pack_bf16(x[i * 2], x[i * 2 + 1]);
      }
    }
  }

  // Rows with large probabilities get the maximum of these keys as reference. Others are left as they are: a row's
  // result must not depend on its neighbours.
  template <int First, int Count>
  __device__ __forceinline__ void raise(float scale, const float (&part)[T.strips][2]) {
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float most = -INFINITY;
#pragma unroll
        for (int n = First * 2; n < (First + Count) * 2; ++n)
          most = fmaxf(most, fmaxf(score(scores[m][n][r * 2]), score(scores[m][n][r * 2 + 1])));
        most = (quad_max(most) - (T.scores == Scores::int8 ? kMagicValue : 0.f)) * factor(scale, m, r);
        const float next = quad_max(part[m][r]) > kMost ? most : reference[m][r];
        const float alpha = exp2_fast(reference[m][r] - next);
        reference[m][r] = next;
        sum[m][r] *= alpha;
#pragma unroll
        for (int c = 0; c < kChannels; ++c) out[m][c][r * 2] *= alpha, out[m][c][r * 2 + 1] *= alpha;
      }
  }

  // out += p v, in steps of 16 keys (f32 sums) or 32 channels (f16 sums, added to `out` at the step's end).
  static constexpr int kValueSteps = T.values == Values::f16 ? T.head_dim / 32 : T.step / 16;
  __device__ __forceinline__ void multiply_values(uint32_t values, int step) {
    const uint32_t at = values + values_lane;
    if constexpr (T.values == Values::bf16) {
#pragma unroll
      for (int c = 0; c < kChannels; c += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, at + step * 16 * T.value_stride() + c * 16);
#pragma unroll
        for (int m = 0; m < T.strips; ++m) {
          mma_bf16(out[m][c], p[m][step], b[0], b[1]);
          mma_bf16(out[m][c + 1], p[m][step], b[2], b[3]);
        }
      }
    } else {
      uint32_t partial[T.strips][4][2] = {};
#pragma unroll
      for (int k = 0; k < T.step / 16; ++k)
#pragma unroll
        for (int c = 0; c < 4; c += 2) {
          uint32_t b[4];
          load_matrices_transposed(b, at + k * 16 * T.value_stride() + (step * 4 + c) * 16);
#pragma unroll
          for (int m = 0; m < T.strips; ++m) {
            mma_f16_f16(partial[m][c], p[m][k], b[0], b[1]);
            mma_f16_f16(partial[m][c + 1], p[m][k], b[2], b[3]);
          }
        }
#pragma unroll
      for (int m = 0; m < T.strips; ++m)
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const float2 x = unpack_f16(partial[m][c][r]);
            out[m][step * 4 + c][r * 2] += x.x;
            out[m][step * 4 + c][r * 2 + 1] += x.y;
          }
    }
  }

  // The step's probabilities and their part of the result. f16 sums need all probabilities first; else the
  // exponentials of 16 keys run beside the product of the 16 before.
  template <int Step = 0>
  __device__ __forceinline__ void weigh_values(uint32_t values, float scale) {
    if constexpr (T.stages == 1 || T.values == Values::f16) {
      if constexpr (T.stages > 1) exponentiate<0, T.step / 16>(scale);
#pragma unroll
      for (int k = 0; k < kValueSteps; ++k) multiply_values(values, k);
    } else if constexpr (Step < kValueSteps) {
      exponentiate<Step, 1>(scale);
      multiply_values(values, Step);
      weigh_values<Step + 1>(values, scale);
    }
  }

  // The warp's rows as bf16, through its own part of shared memory; `rows`: of the warp, that exist.
  __device__ __forceinline__ void store(char* shared, char* y, int64_t row_bytes, int rows, const float* value_scale) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    char* mine = shared + warp * T.strips * 16 * T.value_stride();
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float inverse = 1.f / quad_sum(sum[m][r]);
        char* row = mine + (m * 16 + r * 8 + lane / 4) * T.value_stride() + lane % 4 * 4;
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          float2 x = {out[m][c][r * 2] * inverse, out[m][c][r * 2 + 1] * inverse};
          if constexpr (T.values == Values::f16) {
            const float2 s = *reinterpret_cast<const float2*>(value_scale + c * 8 + lane % 4 * 2);
            x.x *= s.x, x.y *= s.y;
          }
          *reinterpret_cast<uint32_t*>(row + c * 16) = pack_bf16(x.x, x.y);
        }
      }
    __syncwarp();
    constexpr int kChunks = T.head_dim / 8;
    for (int i = lane; i < rows * kChunks; i += 32) {
      const int row = i / kChunks, column = i % kChunks * 16;
      *reinterpret_cast<uint4*>(y + row * row_bytes + column) =
          *reinterpret_cast<const uint4*>(mine + row * T.value_stride() + column);
    }
  }
};

}  // namespace inkling::cuda::attn
