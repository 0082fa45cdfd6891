// Attention with a streaming softmax (Dao et al., FlashAttention), transposed: a tile of 2 vectors of queries
// lies across the lanes, so that the softmax needs no horizontal operation and rows of K and V are broadcast operands.
// One task is a block of queries of one head; its scratch stays in L2:
//   per tile   Q^T [head_dim, tile] and O^T [head_dim, tile]
//   reused     K and V [kKeys, head_dim], copied together (rows of all heads lie a multiple of 4 KiB apart, which is
//              one set of the L1); S^T [kKeys, tile], and maximum, sum and rescale factor per query of every tile.
#include "backends/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/attention_kernels.cc"
// clang-format off: must come before all that follows
#include "hwy/foreach_target.h"
// clang-format on

#include <algorithm>
#include <limits>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd-inl.h"

// Independent of the instruction set, so that plans are: 2 vectors of AVX-512.
#ifndef INKLING_ATTENTION_CONSTANTS
#define INKLING_ATTENTION_CONSTANTS
namespace inkling::kernels {
constexpr int64_t kTile = 32;  // queries
constexpr int64_t kKeys = 64;  // keys and values of one step
}  // namespace inkling::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace inkling::HWY_NAMESPACE {

using kernels::kKeys;
using kernels::kTile;

// Rows of the register tile: 2 vectors x kMr accumulators and two operands must fit the register file.
constexpr int64_t kMr = HWY_TARGET <= HWY_AVX3 ? 8 : 4;

// C[i][:] = sum_k a(i, k) B[k][:], for a group of two vectors of columns, i < Rows. `Step` 0: row i of A starts at
// a + i * stride and k runs along it (scores = K Q^T); 1: A is read column by column, a[k * stride + i] (V^T P).
template <int64_t Rows, bool Columns>
HWY_INLINE void multiply_tile(const float* HWY_RESTRICT a, int64_t stride, const float* HWY_RESTRICT b, int64_t depth,
                              Vf (&acc)[2 * kMr]) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k = 0; k < depth; ++k, b += kTile) {
    const Vf b0 = hn::Load(d, b), b1 = hn::Load(d, b + lanes);
    HWY_UNROLL(8)
    for (int64_t i = 0; i < Rows; ++i) {
      const Vf v = hn::Set(d, Columns ? a[k * stride + i] : a[i * stride + k]);
      acc[2 * i] = hn::MulAdd(v, b0, acc[2 * i]);
      acc[2 * i + 1] = hn::MulAdd(v, b1, acc[2 * i + 1]);
    }
  }
}

// scores[j][:] = key j . queries
template <int64_t Rows>
HWY_INLINE void score_rows(const float* k, int64_t stride, const float* qt, int64_t head_dim, float* scores) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < kTile; c += 2 * lanes) {
    Vf acc[2 * kMr];
    for (int64_t i = 0; i < 2 * Rows; ++i) acc[i] = hn::Zero(d);
    multiply_tile<Rows, false>(k, stride, qt + c, head_dim, acc);
    for (int64_t i = 0; i < Rows; ++i) {
      hn::Store(acc[2 * i], d, scores + i * kTile + c);
      hn::Store(acc[2 * i + 1], d, scores + i * kTile + c + lanes);
    }
  }
}

// ot[x][:] = ot[x][:] * rescale[:] + sum_j v[j][x] p[j][:]
template <int64_t Rows>
HWY_INLINE void value_rows(const float* v, int64_t stride, const float* p, int64_t keys, const float* rescale,
                           float* ot) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < kTile; c += 2 * lanes) {
    Vf acc[2 * kMr];
    const Vf r0 = hn::Load(d, rescale + c), r1 = hn::Load(d, rescale + c + lanes);
    for (int64_t i = 0; i < Rows; ++i) {
      acc[2 * i] = hn::Mul(hn::Load(d, ot + i * kTile + c), r0);
      acc[2 * i + 1] = hn::Mul(hn::Load(d, ot + i * kTile + c + lanes), r1);
    }
    multiply_tile<Rows, true>(v, stride, p + c, keys, acc);
    for (int64_t i = 0; i < Rows; ++i) {
      hn::Store(acc[2 * i], d, ot + i * kTile + c);
      hn::Store(acc[2 * i + 1], d, ot + i * kTile + c + lanes);
    }
  }
}

// One step of the streaming softmax over scores [keys, tile]; leaves the weights in place of the scores.
HWY_INLINE void softmax_step(float* scores, int64_t keys, float* maximum, float* sum, float* rescale) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < kTile; c += lanes) {
    const Vf old = hn::Load(d, maximum + c);
    Vf top = old;
    for (int64_t j = 0; j < keys; ++j) top = hn::Max(top, hn::Load(d, scores + j * kTile + c));
    const Vf factor = hn::Exp(d, hn::Sub(old, top));
    Vf total = hn::Mul(hn::Load(d, sum + c), factor);
    for (int64_t j = 0; j < keys; ++j) {
      float* s = scores + j * kTile + c;
      const Vf p = hn::Exp(d, hn::Sub(hn::Load(d, s), top));
      hn::Store(p, d, s);
      total = hn::Add(total, p);
    }
    hn::Store(top, d, maximum + c);
    hn::Store(total, d, sum + c);
    hn::Store(factor, d, rescale + c);
  }
}

// Row `row` of the sequence: which run, and where in it.
struct Cursor {
  const kernels::AttentionRun* run;
  int64_t index;
  Cursor(const kernels::AttentionTask& task, int64_t row) : run(task.runs), index(row) {
    while (index >= run->rows) index -= (run++)->rows;
  }
};

struct Tiles {
  float *queries, *outputs;        // [count][head_dim][kTile]
  float *keys, *values;            // [kKeys][head_dim]
  float* scores;                   // [kKeys][kTile]
  float *maximum, *sum, *rescale;  // [count][kTile]
};

HWY_INLINE void load_queries(const kernels::AttentionTask& task, int64_t tiles, const Tiles& t) {
  const int64_t dim = task.head_dim;
  std::fill_n(t.queries, tiles * dim * kTile, 0.f);
  std::fill_n(t.outputs, tiles * dim * kTile, 0.f);
  std::fill_n(t.maximum, tiles * kTile, std::numeric_limits<float>::lowest());
  std::fill_n(t.sum, tiles * kTile, 0.f);
  for (int64_t row = task.begin; row < task.end; ++row) {
    const Cursor at(task, row);
    const float* q = at.run->q + at.index * task.q_stride;
    const int64_t local = row - task.begin;
    float* column = t.queries + local / kTile * dim * kTile + local % kTile;
    for (int64_t i = 0; i < dim; ++i) column[i * kTile] = q[i] * task.scale;
  }
}

HWY_INLINE void store_outputs(const kernels::AttentionTask& task, const Tiles& t) {
  const int64_t dim = task.head_dim;
  for (int64_t row = task.begin; row < task.end; ++row) {
    const Cursor at(task, row);
    float* out = at.run->out + at.index * task.q_stride;
    const int64_t local = row - task.begin;
    const float* column = t.outputs + local / kTile * dim * kTile + local % kTile;
    const float factor = 1.f / t.sum[local];
    for (int64_t i = 0; i < dim; ++i) out[i] = column[i * kTile] * factor;
  }
}

// Keys [first, first + keys) of the sequence, at t.keys and t.values, against one tile of queries that starts at
// `query`.
HWY_INLINE void attend(const kernels::AttentionTask& task, int64_t first, int64_t keys, int64_t query, int64_t tile,
                       const Tiles& t) {
  const float *k = t.keys, *v = t.values;
  const int64_t dim = task.head_dim, stride = dim;
  const float* qt = t.queries + tile * dim * kTile;
  float* ot = t.outputs + tile * dim * kTile;
  int64_t j = 0;
  for (; j + kMr <= keys; j += kMr) score_rows<kMr>(k + j * stride, stride, qt, dim, t.scores + j * kTile);
  for (; j < keys; ++j) score_rows<1>(k + j * stride, stride, qt, dim, t.scores + j * kTile);
  if (task.causal)  // query q sees keys <= q; key 0 comes first, so every maximum is finite from the first step on
    for (j = std::max<int64_t>(0, query + 1 - first); j < keys; ++j)
      std::fill_n(t.scores + j * kTile, std::min<int64_t>(kTile, first + j - query),
                  -std::numeric_limits<float>::infinity());
  softmax_step(t.scores, keys, t.maximum + tile * kTile, t.sum + tile * kTile, t.rescale + tile * kTile);
  int64_t x = 0;
  const float* rescale = t.rescale + tile * kTile;
  for (; x + kMr <= dim; x += kMr) value_rows<kMr>(v + x, stride, t.scores, keys, rescale, ot + x * kTile);
  for (; x < dim; ++x) value_rows<1>(v + x, stride, t.scores, keys, rescale, ot + x * kTile);
}

void attention(const kernels::AttentionTask& task, float* scratch) {
  const int64_t dim = task.head_dim;
  const int64_t tiles = (task.end - task.begin + kTile - 1) / kTile;
  Tiles t{};
  t.queries = scratch;
  t.outputs = t.queries + tiles * dim * kTile;
  t.keys = t.outputs + tiles * dim * kTile;
  t.values = t.keys + kKeys * dim;
  t.scores = t.values + kKeys * dim;
  t.maximum = t.scores + kKeys * kTile;
  t.sum = t.maximum + tiles * kTile;
  t.rescale = t.sum + tiles * kTile;
  load_queries(task, tiles, t);
  const int64_t last = task.causal ? task.end : std::numeric_limits<int64_t>::max();
  int64_t first = 0;  // of the block, in the sequence
  for (int64_t r = 0; r < task.run_count; ++r) {
    const kernels::AttentionRun& run = task.runs[r];
    for (int64_t j = 0; j < run.rows && first < last; j += kKeys) {
      const int64_t keys = std::min(kKeys, run.rows - j);
      for (int64_t i = 0; i < keys; ++i) {
        std::copy_n(run.k + (j + i) * task.kv_stride, dim, t.keys + i * dim);
        std::copy_n(run.v + (j + i) * task.kv_stride, dim, t.values + i * dim);
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t query = task.begin + tile * kTile;
        if (task.causal && first >= query + kTile) continue;
        attend(task, first, keys, query, tile, t);
      }
      first += keys;
    }
  }
  store_outputs(task, t);
}

}  // namespace inkling::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace inkling::kernels {

HWY_EXPORT(attention);

// As many tiles as leave half of a 1 MiB L2 for keys and values.
int64_t attention_query_block(int64_t head_dim, int64_t longest) {
  constexpr int64_t kBudget = 512 * 1024;
  const int64_t tile_bytes = 2 * head_dim * kTile * static_cast<int64_t>(sizeof(float));
  const int64_t tiles = std::clamp<int64_t>(kBudget / tile_bytes, 1, 8);
  return std::min(tiles, std::max<int64_t>(1, (longest + kTile - 1) / kTile)) * kTile;
}

int64_t attention_scratch_floats(int64_t head_dim, int64_t query_block) {
  return query_block * (2 * head_dim + 3) + kKeys * (2 * head_dim + kTile);
}

void attention(const AttentionTask& task, float* scratch) { HWY_DYNAMIC_DISPATCH(attention)(task, scratch); }

}  // namespace inkling::kernels
#endif  // HWY_ONCE
