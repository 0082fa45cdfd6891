// One kernel for flash and int8 attention: a block owns a tile of query rows of one head and walks over the keys of its
// sequence with the online softmax (FlashAttention-2, Dao 2023). Scores, probabilities and results stay in registers.
//
// Shared memory holds tiles of keys and values, rows padded to an odd number of 16-byte chunks: the eight rows that one
// ldmatrix phase reads then lie in distinct banks, and every address is a lane's base plus a compile-time constant.
//
// Exponentials refer to a maximum that is looked for only when needed: probabilities are computed with the reference at
// hand, and only if a lane's sum of them exceeds kMost (always so for the first keys: the reference starts at -1e30) is
// the true maximum found, the result rescaled, and these probabilities computed again. This takes the search for the
// maximum, with its shuffles, off the path of nearly every step, and most rescaling with it.
//
// Row numbers and tile counts go through uniform(), so that the compiler may compute with them once a warp.
#pragma once

#include "backends/cuda/kernels/attention_strips.cuh"

namespace inkling::cuda::attn {

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
  const uint32_t q_stride = static_cast<uint32_t>(part.q_stride * 2);
  const int64_t global_row = span.first(query_part) + query_row;

  const uint32_t base = uniform(shared_address(shared));
  const uint32_t values_at = base + (T.query_in_registers ? 0 : T.query_bytes());
  const uint32_t keys_end = base + T.shared_bytes();
  const auto keys_of = [&](int t) { return keys_end - (t % T.stages + 1) * KeyStream<T>::kKeyStage; };
  const auto values_of = [&](int t) { return values_at + t % T.stages * KeyStream<T>::kValueStage; };
  int count = (span.count_0 + T.keys - 1) / T.keys + (span.count_1 + T.keys - 1) / T.keys;
  if (p.causal) count = min(count, (query_row + query_rows + T.keys - 1) / T.keys);

  using QueryRows = Copier<T.head_dim * 2, T.threads()>;
  const uint32_t keys_thread = pinned(KeyStream<T>::Keys::offset(T.key_stride()));
  const uint32_t values_thread = pinned(QueryRows::offset(T.value_stride()));
  QueryRows::template copy<T.rows(), T.value_stride()>(
      base + values_thread, static_cast<const char*>(part.q) + global_row * q_stride + head * T.head_dim * 2,
      QueryRows::offset(q_stride), q_stride, query_rows);
  KeyStream<T> stream{p};
  stream.start(span, span.count_0 > 0 ? 0 : 1);
  int valid = stream.valid();
  float scale = T.scores == Scores::int8 ? *stream.scale : p.scale_log2;
  const auto load_keys = [&](int t) { stream.load_keys(keys_of(t) + keys_thread); };
  const auto load_values = [&](int t) {
    stream.load_values(values_of(t) + values_thread);
    stream.next(span);
  };
  load_keys(0);
  if constexpr (T.stages > 1 && !T.query_in_registers) load_values(0);
  commit_copies();
  wait_copies<0>();
  __syncthreads();

  Strips<T> strips;
  strips.clear();
  strips.load_query(shared, base, p.scale_log2);
  if constexpr (T.stages > 1 && T.query_in_registers) {
    __syncthreads();  // values take the query's place
    load_values(0);
    commit_copies();
  }

  const int warp_row = query_row + threadIdx.x / 32 * T.strips * 16;
#pragma unroll 1
  for (int t = 0; t < count; ++t) {
    const int tile_valid = valid;
    const float tile_scale = scale;
    wait_copies<0>();
    __syncthreads();
    const auto load_next_keys = [&] {
      load_keys(t + 1);
      valid = stream.valid();
      if constexpr (KeyStream<C::kTile>::kInt8) scale = *stream.scale;
    };
    if constexpr (T.stages == 1) {
      load_values(t);
    } else if (t + 1 < count) {
      if (T.load != Load::late) load_next_keys();
      if (T.load == Load::first) load_values(t + 1);
    }
    if (T.stages == 1 || T.load == Load::first) commit_copies();
#pragma unroll
    for (int step = 0; step < T.keys; step += T.step) {
      if (step > 0 && step >= tile_valid) break;
      strips.multiply_keys(keys_of(t) + step * T.key_stride());
      const int left = tile_valid - step, diagonal = warp_row - t * T.keys - step;
      if (left < T.step || (p.causal && T.step > diagonal + 1)) strips.mask(left, p.causal, diagonal);
      if (T.stages > 1 && T.load != Load::first && step == 0) {
        if (t + 1 < count) {
          if (T.load == Load::late) load_next_keys();
          load_values(t + 1);
        }
        commit_copies();
      }
      if constexpr (T.stages == 1) {
        static_assert(T.stages > 1 || T.step == T.keys);
        __syncthreads();  // all warps are done with the keys
        if (t + 1 < count) load_next_keys();
        commit_copies();
        strips.template exponentiate<0, T.step / 16>(tile_scale);
        wait_copies<1>();
        __syncthreads();
      }
      strips.weigh_values(values_of(t) + step * T.value_stride(), tile_scale);
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

}  // namespace inkling::cuda::attn
