// int8 attention: two kernels that make the workspace, then attend().
//   sum_keys    sums of the keys over chunks of rows; for f16 values also the largest |value| of each channel
//   round_keys  (k - mean) / scale as int8, one scale for kKeyGroup rows and one head; v / largest as f16
// Softmax does not see a vector added to all keys of a sequence, so the mean (where most of the size of keys lies:
// SageAttention, Zhang 2024) is taken off before rounding and never put back. Nor need it be exact: long sequences take
// the mean of every fourth key.
#include <algorithm>

#include "backends/cuda/kernels/attention_core.cuh"
#include "backends/cuda/kernels/attention_kernels.h"

namespace inkling::cuda::attn {

namespace {

constexpr int kChunk = 256, kThreads = 256;  // kChunk: fewest rows of a chunk

// Every how manieth key counts for the mean; a chunk has kChunk of those.
__device__ __forceinline__ int spread(const Span& span) { return span.count_0 + span.count_1 > 2048 ? 4 : 1; }

struct Workspace {
  int8_t* keys;
  float* key_scale;
  float* sums;    // [chunks, kv_heads, head_dim]
  __half* values;  // f16 values only, as are the next two
  float* largest;  // as sums
  float* value_scale;
  int groups, first_group_1, first_chunk_1;
  int64_t bytes;
};

Workspace layout(const AttentionShape& shape, Values values, void* memory) {
  Workspace w{};
  const int64_t a = shape.total_rows(0), b = shape.total_rows(1);
  w.first_group_1 = static_cast<int>(a / kKeyGroup) + shape.sequences;
  w.groups = w.first_group_1 + (b ? static_cast<int>(b / kKeyGroup) + shape.sequences : 0);
  w.first_chunk_1 = static_cast<int>(a / kChunk) + shape.sequences;
  const int64_t chunks = w.first_chunk_1 + (b ? b / kChunk + shape.sequences : 0);
  const int64_t elements = static_cast<int64_t>(shape.kv_heads) * w.groups * kKeyGroup * shape.head_dim;
  char* base = static_cast<char*>(memory);
  const auto take = [&](int64_t bytes) {
    char* p = base + w.bytes;
    w.bytes += (bytes + 255) / 256 * 256;
    return p;
  };
  w.keys = reinterpret_cast<int8_t*>(take(elements));
  w.key_scale = reinterpret_cast<float*>(take(int64_t{4} * shape.kv_heads * w.groups));
  const int64_t partial = chunks * shape.kv_heads * shape.head_dim * 4;
  w.sums = reinterpret_cast<float*>(take(partial));
  if (values == Values::f16) {
    w.values = reinterpret_cast<__half*>(take(elements * 2));
    w.largest = reinterpret_cast<float*>(take(partial));
    w.value_scale = reinterpret_cast<float*>(take(int64_t{4} * shape.sequences * shape.kv_heads * shape.head_dim));
  }
  return w;
}

__device__ __forceinline__ void unpack8(const uint4& x, float (&y)[8]) {
  const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 v = unpack_bf16(words[i]);
    y[i * 2] = v.x, y[i * 2 + 1] = v.y;
  }
}

// Grid: [chunks of the longest part, kv_heads, 2 * sequences].
template <int D, bool WithValues>
__global__ void __launch_bounds__(kThreads) sum_keys(const __grid_constant__ Problem p, Workspace w) {
  constexpr int kAcross = D / 8, kDown = kThreads / kAcross;
  const int sequence = blockIdx.z / 2, part = blockIdx.z % 2, head = blockIdx.y;
  const Span span = sequence_span(p, sequence);
  const int every = spread(span);
  const int row_0 = blockIdx.x * kChunk * every, rows = min(kChunk * every, span.count(part) - row_0);
  if (rows <= 0) return;
  const AttentionPart& from = p.parts[part];
  const int row = threadIdx.x / kAcross, column = threadIdx.x % kAcross * 8;
  const int64_t at = (span.first(part) + row_0) * from.kv_stride + head * D + column;
  const __nv_bfloat16* k = static_cast<const __nv_bfloat16*>(from.k) + at;
  const __nv_bfloat16* v = static_cast<const __nv_bfloat16*>(from.v) + at;
  float sum[8] = {}, most[8] = {};
#pragma unroll 4
  for (int r = row * every; r < rows; r += kDown * every) {
    float x[8];
    unpack8(*reinterpret_cast<const uint4*>(k + r * from.kv_stride), x);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += x[i];
  }
  if constexpr (WithValues) {
#pragma unroll 4
    for (int r = row; r < rows; r += kDown) {
      float x[8];
      unpack8(*reinterpret_cast<const uint4*>(v + r * from.kv_stride), x);
#pragma unroll
      for (int i = 0; i < 8; ++i) most[i] = max_nan(most[i], fabsf(x[i]));
    }
  }
  __shared__ float sums[kDown][D], largest[WithValues ? kDown : 1][D];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sums[row][column + i] = sum[i];
    if constexpr (WithValues) largest[row][column + i] = most[i];
  }
  __syncthreads();
  if (threadIdx.x >= D) return;
  const int channel = threadIdx.x;
  float total = 0.f, top = 0.f;
#pragma unroll
  for (int r = 0; r < kDown; ++r) {
    total += sums[r][channel];
    if constexpr (WithValues) top = max_nan(top, largest[r][channel]);
  }
  const int chunk = (part ? w.first_chunk_1 : 0) + span.first(part) / kChunk + sequence + blockIdx.x;
  const int64_t to = (static_cast<int64_t>(chunk) * p.kv_heads + head) * D + channel;
  w.sums[to] = total;
  if constexpr (WithValues) w.largest[to] = top;
}

// Grid: [groups of the longest part, kv_heads, 2 * sequences].
template <int D, bool WithValues>
__global__ void __launch_bounds__(kThreads) round_keys(const __grid_constant__ Problem p, Workspace w) {
  constexpr int kAcross = D / 8, kDown = kThreads / kAcross, kRows = kKeyGroup / kDown;
  const int sequence = blockIdx.z / 2, part = blockIdx.z % 2, head = blockIdx.y, warp = threadIdx.x / 32;
  const Span span = sequence_span(p, sequence);
  const int row_0 = blockIdx.x * kKeyGroup, rows = min(kKeyGroup, span.count(part) - row_0);
  if (rows <= 0) return;
  const AttentionPart& from = p.parts[part];
  const int row = threadIdx.x / kAcross, column = threadIdx.x % kAcross * 8;
  const int64_t at = (span.first(part) + row_0 + row) * from.kv_stride + head * D + column;
  uint4 k[kRows], v[WithValues ? kRows : 1];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int64_t offset = at + i * kDown * from.kv_stride;
    const bool valid = row + i * kDown < rows;
    k[i] = valid ? *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(from.k) + offset) : uint4{};
    if constexpr (WithValues)
      v[i] = valid ? *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(from.v) + offset) : uint4{};
  }

  __shared__ float mean[D], inverse[WithValues ? D : 1], largest[kThreads / 32];
  if (threadIdx.x < D) {
    float sum = 0.f, most = 0.f;
    const int every = spread(span), chunk_rows = kChunk * every;
    int counted = 0;
    for (int q = 0; q < 2; ++q) {
      counted += (span.count(q) + every - 1) / every;
      const int chunk = (q ? w.first_chunk_1 : 0) + span.first(q) / kChunk + sequence;
      const int chunks = (span.count(q) + chunk_rows - 1) / chunk_rows;
      const int64_t first = (static_cast<int64_t>(chunk) * p.kv_heads + head) * D + threadIdx.x;
#pragma unroll 4
      for (int c = 0; c < chunks; ++c) {
        const int64_t i = first + static_cast<int64_t>(c) * p.kv_heads * D;
        sum += w.sums[i];
        if constexpr (WithValues) most = max_nan(most, w.largest[i]);
      }
    }
    mean[threadIdx.x] = sum / counted;
    if constexpr (WithValues) {
      inverse[threadIdx.x] = most < 1e-30f ? 0.f : 1.f / most;
      if (blockIdx.x == 0 && (part == 0 || span.count_0 == 0))
        w.value_scale[(static_cast<int64_t>(sequence) * p.kv_heads + head) * D + threadIdx.x] = most;
    }
  }
  __syncthreads();

  float x[kRows][8], most = 1e-30f;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    unpack8(k[i], x[i]);
    const bool valid = row + i * kDown < rows;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      x[i][c] = valid ? x[i][c] - mean[column + c] : 0.f;
      most = max_nan(most, fabsf(x[i][c]));
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) most = max_nan(most, __shfl_xor_sync(0xffffffffu, most, lanes));
  if (threadIdx.x % 32 == 0) largest[warp] = most;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) most = max_nan(most, largest[i]);

  const int64_t group = static_cast<int64_t>(head) * w.groups + (part ? w.first_group_1 : 0) +
                        span.first(part) / kKeyGroup + sequence + blockIdx.x;
  if (threadIdx.x == 0) w.key_scale[group] = most * (1.f / 127.f);
  const float scale = 127.f / most;
  const int64_t to = (group * kKeyGroup + row) * D + column;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const uint2 y = {pack_s8(x[i][0] * scale, x[i][1] * scale, x[i][2] * scale, x[i][3] * scale),
                     pack_s8(x[i][4] * scale, x[i][5] * scale, x[i][6] * scale, x[i][7] * scale)};
    *reinterpret_cast<uint2*>(w.keys + to + i * kDown * D) = y;
    if constexpr (WithValues) {
      float z[8];
      unpack8(v[i], z);
#pragma unroll
      for (int c = 0; c < 8; ++c) z[c] *= inverse[column + c];
      *reinterpret_cast<uint4*>(w.values + to + i * kDown * D) = {pack_f16(z[0], z[1]), pack_f16(z[2], z[3]),
                                                                  pack_f16(z[4], z[5]), pack_f16(z[6], z[7])};
    }
  }
}

struct Int8D64 {
  static constexpr Tile kTile{.head_dim = 64, .strips = 2, .warps = 4, .keys = 64, .step = 32, .blocks = 3,
                              .scores = Scores::int8};
};
struct Int8D64Half {
  static constexpr Tile kTile{.head_dim = 64, .strips = 1, .warps = 4, .keys = 64, .step = 64, .blocks = 3,
                              .scores = Scores::int8, .values = Values::f16};
};
struct Int8D128 {
  static constexpr Tile kTile{.head_dim = 128, .strips = 2, .warps = 4, .keys = 64, .step = 32, .blocks = 2,
                              .scores = Scores::int8, .load = Load::late};
};
// For GeForce, where 100 KB a multiprocessor hold one block: eight warps.
struct Int8D128Half {
  static constexpr Tile kTile{.head_dim = 128, .strips = 1, .warps = 8, .keys = 64, .step = 64, .blocks = 1,
                              .scores = Scores::int8, .values = Values::f16};
};

}  // namespace

Problem int8_problem(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second,
                     Values values, void* workspace, cudaStream_t stream) {
  const Workspace w = layout(shape, values, workspace);
  Problem p = problem_of(shape, first, second);
  p.groups = w.groups, p.first_group[1] = w.first_group_1;
  p.keys = w.keys, p.key_scale = w.key_scale, p.values = w.values, p.value_scale = w.value_scale;
  const int rows = static_cast<int>(std::max(longest(shape, 0), longest(shape, 1)));
  const auto grid = [&](int tile) { return dim3((rows + tile - 1) / tile, shape.kv_heads, 2 * shape.sequences); };
  const auto prepare = [&](auto sums, auto rounds) {
    sums<<<grid(kChunk), kThreads, 0, stream>>>(p, w);
    check_launch("attention: sum_keys");
    rounds<<<grid(kKeyGroup), kThreads, 0, stream>>>(p, w);
    check_launch("attention: round_keys");
  };
  const bool half = values == Values::f16;
  if (shape.head_dim == 128)
    half ? prepare(sum_keys<128, true>, round_keys<128, true>) : prepare(sum_keys<128, false>, round_keys<128, false>);
  else
    half ? prepare(sum_keys<64, true>, round_keys<64, true>) : prepare(sum_keys<64, false>, round_keys<64, false>);
  return p;
}

Values device_values() { return device().sm == 80 || device().sm == 90 ? Values::bf16 : Values::f16; }

int64_t int8_workspace(const AttentionShape& shape, Values values) { return layout(shape, values, nullptr).bytes; }

void int8(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, Values values,
          void* workspace, cudaStream_t stream) {
  const Problem p = int8_problem(shape, first, second, values, workspace, stream);
  const auto launch = [&]<class C>(C) {
    static_assert(C::kTile.shared_bytes() <= 99 * 1024, "must fit every device");
    launch_attend<C>(p, most_tiles(shape, C::kTile.rows()), stream);
  };
  if (shape.head_dim == 128)
    values == Values::f16 ? launch(Int8D128Half{}) : launch(Int8D128{});
  else
    values == Values::f16 ? launch(Int8D64Half{}) : launch(Int8D64{});
}

}  // namespace inkling::cuda::attn
