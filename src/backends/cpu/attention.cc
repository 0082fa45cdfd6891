// Attention: one task per sequence, head and block of queries; threads take tasks as they become free. A task
// is computed the same way whoever takes it, so results do not depend on the number of threads.
#include <algorithm>
#include <atomic>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/operands.h"
#include "base/threads.h"
#include "ops/checks.h"

namespace inkling {

namespace {

using kernels::AttentionRun;
using kernels::AttentionTask;

struct Sequence {
  std::vector<AttentionRun> runs;  // pointers to head 0
  int64_t rows = 0;
};

struct Heads {
  int64_t query, kv, dim;
};

void attend(const std::vector<Sequence>& sequences, Heads heads, float scale, bool causal, int64_t query_block,
            Storage& workspace) {
  struct Item {
    const Sequence* sequence;
    int64_t head, begin, end;
  };
  std::vector<Item> items;
  for (const Sequence& s : sequences)
    for (int64_t head = 0; head < heads.query; ++head)
      for (int64_t begin = 0; begin < s.rows; begin += query_block)
        items.push_back({&s, head, begin, std::min(begin + query_block, s.rows)});
  if (items.empty()) return;
  const int64_t threads = std::min<int64_t>(thread_count(), static_cast<int64_t>(items.size()));
  const int64_t scratch_bytes = workspace.bytes() / thread_count();
  std::atomic<size_t> next{0};
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    std::vector<AttentionRun> runs;
    for (int64_t thread = first; thread < last; ++thread) {
      float* scratch = reinterpret_cast<float*>(workspace.data() + thread * scratch_bytes);
      for (size_t i = next++; i < items.size(); i = next++) {
        const Item& item = items[i];
        const int64_t kv_head = item.head * heads.kv / heads.query;
        runs = item.sequence->runs;
        for (AttentionRun& run : runs) {
          run.q += item.head * heads.dim;
          run.out += item.head * heads.dim;
          run.k += kv_head * heads.dim;
          run.v += kv_head * heads.dim;
        }
        kernels::attention({runs.data(), static_cast<int64_t>(runs.size()), heads.query * heads.dim,
                            heads.kv * heads.dim, heads.dim, scale, causal, item.begin, item.end},
                           scratch);
      }
    }
  });
}

void add_run(Sequence& sequence, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& out, int64_t begin,
             int64_t end, std::string_view op) {
  if (end == begin) return;
  const int64_t q_at = begin * q.channels(), kv_at = begin * k.channels();
  sequence.runs.push_back(
      {floats(op, q) + q_at, floats(op, k) + kv_at, floats(op, v) + kv_at, floats(out) + q_at, end - begin});
  sequence.rows += end - begin;
}

int64_t longest(const std::vector<Sequence>& sequences) {
  int64_t most = 0;
  for (const Sequence& s : sequences) most = std::max(most, s.rows);
  return most;
}

}  // namespace

Tensor CpuOps::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) {
  Tensor out = allocate(checks::attention(q, k, v, spec));
  std::vector<Sequence> sequences(static_cast<size_t>(spec.segments.count()));
  for (int64_t i = 0; i < spec.segments.count(); ++i)
    add_run(sequences[i], q, k, v, out, spec.segments.offsets[i], spec.segments.offsets[i + 1], "attention");
  const Heads heads{spec.heads, spec.kv_heads, q.channels() / spec.heads};
  const int64_t rows = longest(sequences);
  const auto space = workspace(OpCall{
      .kind = OpKind::attention, .rows = q.rows(), .heads = heads.query, .head_dim = heads.dim, .longest = rows});
  attend(sequences, heads, spec.scale, spec.causal, kernels::attention_query_block(heads.dim, rows), *space);
  return out;
}

std::pair<Tensor, Tensor> CpuOps::joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                                  const Segments& image_segments, int64_t heads, float scale) {
  checks::joint_attention(text, text_segments, image, image_segments, heads);
  constexpr std::string_view op = "joint_attention";
  Tensor text_out = allocate(text.q.shape());
  Tensor image_out = allocate(image.q.shape());
  std::vector<Sequence> sequences(static_cast<size_t>(text_segments.count()));
  for (int64_t i = 0; i < text_segments.count(); ++i) {
    add_run(sequences[i], text.q, text.k, text.v, text_out, text_segments.offsets[i], text_segments.offsets[i + 1], op);
    add_run(sequences[i], image.q, image.k, image.v, image_out, image_segments.offsets[i],
            image_segments.offsets[i + 1], op);
  }
  const int64_t dim = image.q.channels() / heads, rows = longest(sequences);
  const auto space =
      workspace(OpCall{.kind = OpKind::joint_attention, .heads = heads, .head_dim = dim, .longest = rows});
  attend(sequences, {heads, heads, dim}, scale, false, kernels::attention_query_block(dim, rows), *space);
  return {text_out, image_out};
}

}  // namespace inkling
