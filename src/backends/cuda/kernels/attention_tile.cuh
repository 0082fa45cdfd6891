// How attention is cut into tiles, and how those of a sequence's keys and values reach shared memory.
#pragma once

#include "backends/cuda/kernels/attention_kernels.h"
#include "backends/cuda/kernels/attention_mma.cuh"

namespace inkling::cuda::attn {

enum class Scores : uint8_t { bf16, int8 };

// When the next tile is loaded: before the first scores of this one, or its values or all of it behind them, where the
// registers of the copies are not in the way of the scores' operands.
enum class Load : uint8_t { first, late_values, late };

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
  Load load = Load::first;

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
constexpr float kMost = 256.f;    // of a lane's probabilities of one row; f16 sums of 64 keys stay below 2 * 4 * 256
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
  const int a = uniform(p.offsets[s]), b = uniform(second[s]);
  return {a, uniform(p.offsets[s + 1]) - a, b, uniform(second[s + 1]) - b};
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
  // Of the thread, in a tile of global or shared memory.
  __device__ __forceinline__ static uint32_t offset(uint32_t row_bytes) { return row() * row_bytes + column(); }

  // `Rows` rows from `from` (uniform); those from `valid` on become zeros. from_offset, to: offset() included.
  template <int Rows, int Stride>
  __device__ __forceinline__ static void copy(uint32_t to, const char* from, uint32_t from_offset, uint32_t row_bytes,
                                              int valid) {
    static_assert(Rows % kStep == 0);
    if (valid >= Rows) {
#pragma unroll
      for (int i = 0; i < Rows; i += kStep) {
        const char* pass = from + static_cast<uint64_t>(i) * row_bytes;
#pragma unroll
        for (int c = 0; c < kChunks; c += kAcross) copy16(to + i * Stride + c * 16, pass + from_offset + c * 16);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < Rows; i += kStep) {
        const bool exists = row() + i < valid;
        const char* p = from + (exists ? static_cast<uint64_t>(i) * row_bytes + from_offset : column());
#pragma unroll
        for (int c = 0; c < kChunks; c += kAcross) copy16_or_zero(to + i * Stride + c * 16, p + c * 16, exists);
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
  static constexpr bool kInt8 = T.scores == Scores::int8, kHalf = T.values == Values::f16;

  const Problem& p;
  const char *k = nullptr, *v = nullptr;  // the next tile
  const float* scale = nullptr;           // of its keys, int8
  uint32_t row_bytes = 0, offset = 0;     // of the tensors in place
  int left = 0;                           // rows of the part that were not loaded

  __device__ __forceinline__ void start(const Span& span, int part) {
    const int head = blockIdx.y * p.kv_heads / p.heads, sequence = blockIdx.z;
    const AttentionPart& from = p.parts[part];
    const int first = span.first(part);
    left = span.count(part);
    row_bytes = static_cast<uint32_t>(from.kv_stride * 2);
    offset = ValueRows::offset(row_bytes);
    const int64_t at = first * from.kv_stride * 2 + head * T.head_dim * 2;
    const int64_t group = static_cast<int64_t>(head) * p.groups + p.first_group[part] + first / kKeyGroup + sequence;
    k = kInt8 ? reinterpret_cast<const char*>(p.keys) + group * kKeyGroup * T.head_dim
              : static_cast<const char*>(from.k) + at;
    v = kHalf ? reinterpret_cast<const char*>(p.values) + group * kKeyGroup * T.head_dim * 2
              : static_cast<const char*>(from.v) + at;
    if constexpr (kInt8) {
      static_assert(T.keys == kKeyGroup);
      scale = p.key_scale + group;
    }
  }
  __device__ __forceinline__ int valid() const { return min(T.keys, left); }
  // Keys, then values, then next(). The workspace holds whole groups of rows.
  __device__ __forceinline__ void load_keys(uint32_t to) const {
    const uint32_t bytes = kInt8 ? T.head_dim : row_bytes;
    Keys::template copy<T.keys, T.key_stride()>(to, k, kInt8 ? Keys::offset(bytes) : offset, bytes,
                                                kInt8 ? T.keys : left);
  }
  __device__ __forceinline__ void load_values(uint32_t to) const {
    const uint32_t bytes = kHalf ? T.head_dim * 2 : row_bytes;
    ValueRows::template copy<T.keys, T.value_stride()>(to, v, kHalf ? ValueRows::offset(bytes) : offset, bytes,
                                                       kHalf ? T.keys : left);
  }
  __device__ __forceinline__ void next(const Span& span) {
    left -= T.keys;
    if (left <= 0) return start(span, 1);  // also behind the last tile, where nothing is loaded any more
    k += static_cast<uint64_t>(T.keys) * (kInt8 ? T.head_dim : row_bytes);
    v += static_cast<uint64_t>(T.keys) * (kHalf ? T.head_dim * 2 : row_bytes);
    if constexpr (kInt8) ++scale;
  }
};

}  // namespace inkling::cuda::attn
