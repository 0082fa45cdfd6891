// Kept for comparison, running pointers to the tiles; the maximum of every step. See README.md.
//
// One kernel for flash and int8 attention: a block owns a tile of query rows of one head and walks over the keys of its
// sequence with the online softmax (Dao 2023, FlashAttention-2). Scores, probabilities and results stay in registers.
//
// Shared memory holds tiles of keys and values, rows padded to an odd number of 16-byte chunks: the eight rows that one
// ldmatrix phase reads then lie in distinct banks, and every address is a lane's base plus a compile-time constant.
//
// The maximum that the exponentials refer to is raised only when it grew by more than kSlack, which skips nearly all
// rescaling of the result after the first tiles. Probabilities are then at most 2^kSlack instead of 1.
#pragma once

#include <type_traits>

#include "backends/cuda/kernels/attention_kernels.h"
#include "backends/cuda/kernels/attention_mma.cuh"

namespace inkling::cuda::step3 {

using namespace attn;

enum class Scores : uint8_t { bf16, int8 };

struct Tile {
  int head_dim;
  int strips;  // of 16 query rows a warp
  int warps;
  int keys;    // of a tile in shared memory
  int step;    // keys whose scores are held at a time
  int blocks;  // per multiprocessor, for the register budget
  Scores scores = Scores::bf16;
  Values values = Values::bf16;
  bool query_in_registers = true;
  int stages = 2;  // 1: keys and values take turns to be loaded

  constexpr int rows() const { return strips * 16 * warps; }
  constexpr int threads() const { return warps * 32; }
  constexpr int key_bytes() const { return scores == Scores::int8 ? head_dim : head_dim * 2; }
  static constexpr int padded(int bytes) { return bytes + (bytes / 16 % 2 == 0 ? 16 : 0); }
  constexpr int key_stride() const { return padded(key_bytes()); }
  constexpr int value_stride() const { return padded(head_dim * 2); }
  constexpr int query_bytes() const { return rows() * value_stride(); }
  // Values, then keys with stage 0 last: the query tile is read through the room before it while keys 0 arrive.
  constexpr int shared_bytes() const {
    const int tiles = stages * keys * (value_stride() + key_stride());
    const int with_query = query_bytes() + keys * key_stride();
    if (!query_in_registers) return tiles + query_bytes();
    return tiles > with_query ? tiles : with_query;
  }
};

constexpr int kKeyGroup = 64;     // keys that share one int8 scale, rows of a tile in the workspace
constexpr float kSlack = 8.f;     // log2; f16 sums of 64 keys stay below 64 * 2^8 = 16384
constexpr int kMagic = 0x4b400000;  // 1.5 * 2^23: adding |s| < 2^22 to these bits gives the float 1.5 * 2^23 + s
constexpr float kMagicValue = 12582912.f;

struct Problem {
  AttentionPart parts[2];
  const int32_t* offsets = nullptr;
  int sequences = 0, heads = 0, kv_heads = 0;
  float scale_log2 = 0.f;  // scale * log2(e)
  bool causal = false;
  // int8: the workspace, in groups of kKeyGroup rows. Group (sequence s of part p): first_group[p] + offset / 64 + s,
  // which leaves room for every sequence's last, partial group without counting them.
  int groups = 0, first_group[2] = {0, 0};
  const int8_t* keys = nullptr;         // [kv_heads, groups, 64, head_dim]
  const float* key_scale = nullptr;     // [kv_heads, groups]
  const __half* values = nullptr;       // as keys
  const float* value_scale = nullptr;   // [sequences, kv_heads, head_dim]
};

inline Problem problem_of(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second) {
  Problem p;
  p.parts[0] = first, p.parts[1] = second;
  p.offsets = shape.offsets;
  p.sequences = shape.sequences, p.heads = shape.heads, p.kv_heads = shape.kv_heads;
  p.scale_log2 = shape.scale * 1.4426950408889634f;
  p.causal = shape.causal;
  return p;
}

// Makes the workspace and what attend() needs of it.
Problem int8_problem(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second,
                     Values values, void* workspace, cudaStream_t stream);

// Rows [first, first + count) of each part.
struct Span {
  int first_0, count_0, first_1, count_1;  // no arrays: a run-time index would move them to local memory
  __device__ __forceinline__ int first(int part) const { return part ? first_1 : first_0; }
  __device__ __forceinline__ int count(int part) const { return part ? count_1 : count_0; }
};
__device__ __forceinline__ Span sequence_span(const Problem& p, int s) {
  const int32_t* second = p.offsets + p.sequences + 1;
  return {p.offsets[s], p.offsets[s + 1] - p.offsets[s], second[s], second[s + 1] - second[s]};
}

// A thread copies the same columns of several rows: `kAcross` threads a row, `kStep` rows a pass.
template <int Bytes, int Threads>
struct Copier {
  static constexpr int kChunks = Bytes / 16;
  static constexpr int kAcross = kChunks % 16 == 0 ? 16 : kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  static constexpr int kStep = Threads / kAcross;
  static_assert(kChunks % kAcross == 0);
  __device__ __forceinline__ static int row() { return threadIdx.x / kAcross; }
  __device__ __forceinline__ static int column() { return threadIdx.x % kAcross * 16; }

  // `Rows` rows, `from`: the thread's place in the first pass, `pass_bytes` apart; left where the next tile begins.
  // Rows from `valid` on become zeros; `from` is then of no further use.
  template <int Rows, int Stride>
  __device__ __forceinline__ static void copy(uint32_t to, const char*& from, uint32_t pass_bytes, int valid) {
    const uint32_t t = to + row() * Stride + column();
    if (valid >= Rows) {
#pragma unroll
      for (int i = 0; i < Rows; i += kStep, from += pass_bytes) {
        if (Rows % kStep != 0 && row() + i >= Rows) break;
#pragma unroll
        for (int c = 0; c < kChunks; c += kAcross) copy16(t + i * Stride + c * 16, from + c * 16);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < Rows; i += kStep) {
        if (Rows % kStep != 0 && row() + i >= Rows) break;
        const bool exists = row() + i < valid;
        const char* p = from + (exists ? static_cast<int64_t>(i / kStep) * pass_bytes : -static_cast<int64_t>(row()) * (pass_bytes / kStep));
#pragma unroll
        for (int c = 0; c < kChunks; c += kAcross) copy16_or_zero(t + i * Stride + c * 16, p + c * 16, exists);
      }
    }
  }
};

// The key tiles of one sequence and kv head, in the order in which they are loaded; no tile spans both parts.
template <Tile T>
struct KeyStream {
  using Keys = Copier<T.key_bytes(), T.threads()>;
  using ValueRows = Copier<T.head_dim * 2, T.threads()>;
  static constexpr int kKeyStage = T.keys * T.key_stride(), kValueStage = T.keys * T.value_stride();

  const Problem& p;
  const char *k = nullptr, *v = nullptr;  // the thread's place in the next tile
  uint32_t k_pass = 0, v_pass = 0;        // bytes between two passes
  const float* scale = nullptr;           // of the next tile, int8
  int left = 0;                           // rows of the part that were not loaded

  __device__ __forceinline__ void start(int part) {
    const int head = blockIdx.y * p.kv_heads / p.heads, sequence = blockIdx.z;
    const int32_t* offsets = p.offsets + part * (p.sequences + 1) + sequence;
    const int first = offsets[0];
    left = offsets[1] - first;
    const AttentionPart& from = p.parts[part];
    const int64_t bytes = from.kv_stride * 2, head_at = head * T.head_dim * 2 + ValueRows::column();
    const int64_t group = static_cast<int64_t>(head) * p.groups + p.first_group[part] + first / kKeyGroup + sequence;
    if constexpr (T.scores == Scores::int8) {
      static_assert(T.keys == kKeyGroup);
      k = reinterpret_cast<const char*>(p.keys) + (group * kKeyGroup + Keys::row()) * T.head_dim + Keys::column();
      k_pass = Keys::kStep * T.head_dim;
      scale = p.key_scale + group;
    } else {
      k = static_cast<const char*>(from.k) + (first + Keys::row()) * bytes + head_at;
      k_pass = Keys::kStep * bytes;
    }
    if constexpr (T.values == Values::f16) {
      v = reinterpret_cast<const char*>(p.values) + (group * kKeyGroup + ValueRows::row()) * T.head_dim * 2 +
          ValueRows::column();
      v_pass = ValueRows::kStep * T.head_dim * 2;
    } else {
      v = static_cast<const char*>(from.v) + (first + ValueRows::row()) * bytes + head_at;
      v_pass = ValueRows::kStep * bytes;
    }
  }
  // Loads keys, then values, then goes on to the next tile.
  __device__ __forceinline__ int valid() const { return min(T.keys, left); }
  __device__ __forceinline__ void load_keys(uint32_t to) {
    if (left <= 0) start(1);
    Keys::template copy<T.keys, T.key_stride()>(to, k, k_pass, T.scores == Scores::int8 ? T.keys : left);
  }
  __device__ __forceinline__ void load_values(uint32_t to) {
    ValueRows::template copy<T.keys, T.value_stride()>(to, v, v_pass, T.values == Values::f16 ? T.keys : left);
  }
  __device__ __forceinline__ void next() { left -= T.keys, scale += T.scores == Scores::int8; }
};

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
  float factor[T.strips][2], shift[T.strips][2];  // of the current step: p = 2^(score * factor - shift)

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < T.strips; ++m) {
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) out[m][c][i] = 0.f;
#pragma unroll
      for (int r = 0; r < 2; ++r) reference[m][r] = -INFINITY, sum[m][r] = 0.f, query_scale[m][r] = 1.f;
    }
  }

  // Reads the warp's rows of the query tile, bf16 at `at`.
  __device__ __forceinline__ void load_query(const char* shared, uint32_t at, float scale_log2) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if constexpr (T.scores == Scores::int8) {
      round_query(shared + (warp * T.strips * 16 + lane / 4) * T.value_stride() + lane % 4 * 8, scale_log2);
    } else {
      query_at = at + (warp * T.strips * 16 + lane % 16) * T.value_stride() + lane / 16 * 16;
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
    const int lane = threadIdx.x % 32;
    const uint32_t at = keys + (lane / 16 * 8 + lane % 8) * T.key_stride() + lane / 8 % 2 * 16;
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

  // Raises the reference where the tile's maximum asks for it. `scale`: of the tile's scores, log2.
  __device__ __forceinline__ void raise(float scale) {
    float most[T.strips][2];
    bool raised = false;
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float x = fmaxf(score(scores[m][0][r * 2]), score(scores[m][0][r * 2 + 1]));
#pragma unroll
        for (int n = 1; n < kColumns; ++n)
          x = fmaxf(x, fmaxf(score(scores[m][n][r * 2]), score(scores[m][n][r * 2 + 1])));
        factor[m][r] = T.scores == Scores::int8 ? scale * query_scale[m][r] : scale;
        most[m][r] = (quad_max(x) - (T.scores == Scores::int8 ? kMagicValue : 0.f)) * factor[m][r];
        raised |= most[m][r] > reference[m][r] + kSlack;
      }
    if (__any_sync(0xffffffffu, raised)) {
#pragma unroll
      for (int m = 0; m < T.strips; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          // Rows that stay below the slack are left as they are: a row's result must not depend on its neighbours.
          const float next = most[m][r] > reference[m][r] + kSlack ? most[m][r] : reference[m][r];
          const float alpha = exp2_fast(reference[m][r] - next);
          reference[m][r] = next;
          sum[m][r] *= alpha;
#pragma unroll
          for (int c = 0; c < kChannels; ++c) out[m][c][r * 2] *= alpha, out[m][c][r * 2 + 1] *= alpha;
        }
    }
#pragma unroll
    for (int m = 0; m < T.strips; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        shift[m][r] = T.scores == Scores::int8 ? fmaf(kMagicValue, factor[m][r], reference[m][r]) : reference[m][r];
  }

  // Probabilities of 16 keys.
  __device__ __forceinline__ void exponentiate(int step) {
#pragma unroll
    for (int m = 0; m < T.strips; ++m) {
      float x[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int r = i / 2 % 2;
        x[i] = exp2_fast(fmaf(score(scores[m][step * 2 + i / 4][i % 4]), factor[m][r], -shift[m][r]));
        sum[m][r] += x[i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        p[m][step][i] = T.values == Values::f16 ? pack_f16(x[i * 2], x[i * 2 + 1]) : pack_bf16(x[i * 2], x[i * 2 + 1]);
    }
  }

  // out += p v, in steps of 16 keys (f32 sums) or 32 channels (f16 sums, added to `out` at the step's end).
  static constexpr int kValueSteps = T.values == Values::f16 ? T.head_dim / 32 : T.step / 16;
  __device__ __forceinline__ void multiply_values(uint32_t values, int step) {
    const int lane = threadIdx.x % 32;
    const uint32_t at = values + (lane / 8 % 2 * 8 + lane % 8) * T.value_stride() + lane / 16 * 16;
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

// Grid: [query tiles of the longest sequence, heads, sequences]. C names a tile: nvcc's host stubs cannot spell a Tile.
template <class C>
__global__ void __launch_bounds__(C::kTile.threads(), C::kTile.blocks) attend(const __grid_constant__ Problem p) {
  constexpr Tile T = C::kTile;
  extern __shared__ __align__(16) char shared[];
  const int sequence = blockIdx.z, head = blockIdx.y, kv_head = head * p.kv_heads / p.heads;
  const Span span = sequence_span(p, sequence);

  // The query tile: no tile spans both parts. Causal sequences start with their last, longest tile.
  const int first_tiles = (span.count(0) + T.rows() - 1) / T.rows();
  const int all_tiles = first_tiles + (span.count(1) + T.rows() - 1) / T.rows();
  if (static_cast<int>(blockIdx.x) >= all_tiles) return;
  int tile = p.causal ? all_tiles - 1 - blockIdx.x : blockIdx.x;
  const int query_part = tile >= first_tiles;
  const AttentionPart& part = p.parts[query_part];
  const int query_row = (tile - (query_part ? first_tiles : 0)) * T.rows();
  const int query_rows = min(T.rows(), span.count(query_part) - query_row);
  const int64_t q_stride = part.q_stride * 2, global_row = span.first(query_part) + query_row;

  const uint32_t base = shared_address(shared);
  const uint32_t values_at = base + (T.query_in_registers ? 0 : T.query_bytes());
  const uint32_t keys_end = base + T.shared_bytes();
  const auto keys_of = [&](int t) { return keys_end - (t % T.stages + 1) * KeyStream<T>::kKeyStage; };
  const auto values_of = [&](int t) { return values_at + t % T.stages * KeyStream<T>::kValueStage; };
  int count = (span.count_0 + T.keys - 1) / T.keys + (span.count_1 + T.keys - 1) / T.keys;
  if (p.causal) count = min(count, (query_row + query_rows + T.keys - 1) / T.keys);

  using QueryRows = Copier<T.head_dim * 2, T.threads()>;
  const char* q = static_cast<const char*>(part.q) + (global_row + QueryRows::row()) * q_stride +
                  head * T.head_dim * 2 + QueryRows::column();
  QueryRows::template copy<T.rows(), T.value_stride()>(base, q, QueryRows::kStep * q_stride, query_rows);
  KeyStream<T> stream{p};
  stream.start(span.count_0 > 0 ? 0 : 1);
  int valid = stream.valid();
  float scale = T.scores == Scores::int8 ? *stream.scale : p.scale_log2;
  stream.load_keys(keys_of(0));
  if constexpr (T.stages > 1 && !T.query_in_registers) {
    stream.load_values(values_of(0));
    stream.next();
  }
  commit_copies();
  wait_copies<0>();
  __syncthreads();

  Strips<T> strips;
  strips.clear();
  strips.load_query(shared, base, p.scale_log2);
  if constexpr (T.stages > 1 && T.query_in_registers) {
    __syncthreads();  // values take the query's place
    stream.load_values(values_of(0));
    stream.next();
    commit_copies();
  }

  const int warp_row = query_row + threadIdx.x / 32 * T.strips * 16;
#pragma unroll 1
  for (int t = 0; t < count; ++t) {
    const int tile_valid = valid;
    const float tile_scale = scale;
    wait_copies<0>();
    __syncthreads();
    if constexpr (T.stages == 1) {
      stream.load_values(values_of(t));
      stream.next();
    } else if (t + 1 < count) {
      stream.load_keys(keys_of(t + 1));
      valid = stream.valid();
      if constexpr (T.scores == Scores::int8) scale = *stream.scale;
      stream.load_values(values_of(t + 1));
      stream.next();
    }
    commit_copies();
#pragma unroll
    for (int step = 0; step < T.keys; step += T.step) {
      if (step > 0 && step >= tile_valid) break;
      strips.multiply_keys(keys_of(t) + step * T.key_stride());
      const int left = tile_valid - step, diagonal = warp_row - t * T.keys - step;
      if (left < T.step || (p.causal && T.step > diagonal + 1)) strips.mask(left, p.causal, diagonal);
      strips.raise(tile_scale);
#pragma unroll
      for (int k = 0; k < T.step / 16; ++k) strips.exponentiate(k);
      if constexpr (T.stages == 1) {
        static_assert(T.stages > 1 || T.step == T.keys);
        wait_copies<0>();
        __syncthreads();
        if (t + 1 < count) {
          stream.load_keys(keys_of(t + 1));
          valid = stream.valid();
        }
        commit_copies();
      }
#pragma unroll
      for (int k = 0; k < Strips<T>::kValueSteps; ++k)
        strips.multiply_values(values_of(t) + step * T.value_stride(), k);
    }
  }

  __syncthreads();  // the tiles are free for the result
  const int warp_rows = min(T.strips * 16, query_rows - static_cast<int>(threadIdx.x) / 32 * T.strips * 16);
  const float* value_scale =
      T.values == Values::f16 ? p.value_scale + (static_cast<int64_t>(sequence) * p.kv_heads + kv_head) * T.head_dim
                              : nullptr;
  strips.store(shared, static_cast<char*>(part.y) + (global_row + warp_row - query_row) * part.y_stride * 2 +
                           head * T.head_dim * 2,
               part.y_stride * 2, warp_rows, value_scale);
}

template <class C>
void launch_attend(const Problem& p, int tiles, cudaStream_t stream) {
  constexpr Tile T = C::kTile;
  check(cudaFuncSetAttribute(attend<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, T.shared_bytes()), "attention");
  attend<C><<<dim3(tiles, p.heads, p.sequences), T.threads(), T.shared_bytes(), stream>>>(p);
  check_launch("attention");
}

}  // namespace inkling::cuda::step3
