// Attention through cuDNN's frontend: one graph execution a sequence. cuDNN wants a sequence in one piece, so the parts
// of q, k, v or the result that do not already follow each other in memory are copied through the workspace.
#include <algorithm>

#include "backends/cuda/kernels/attention_kernels.h"
#include "base/error.h"

#ifdef INKLING_CUDNN
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#endif

namespace inkling::cuda::attn {

#ifndef INKLING_CUDNN

bool cudnn_available(const AttentionShape&) { return false; }
int64_t cudnn_workspace(const AttentionShape&) { throw RuntimeError("attention: this build has no cuDNN"); }
void cudnn(const AttentionShape&, const AttentionPart&, const AttentionPart&, void*, cudaStream_t) {
  throw RuntimeError("attention: this build has no cuDNN");
}

#else

namespace {

namespace fe = cudnn_frontend;

enum Uid : int64_t { kQ = 1, kK, kV, kY, kScale };
constexpr size_t kMaxPlans = 128;  // a plan is some 100 KB of host memory

// Strides in elements between rows.
struct PlanKey {
  int heads, kv_heads, head_dim;
  int64_t rows, q_stride, k_stride, v_stride, y_stride;
  bool causal;
  auto tie() const { return std::tie(heads, kv_heads, head_dim, rows, q_stride, k_stride, v_stride, y_stride, causal); }
  bool operator<(const PlanKey& o) const { return tie() < o.tie(); }
};

void check_graph(fe::error_t e, const char* what) {
  if (e.is_bad()) throw RuntimeError("attention: cuDNN, {}: {}", what, e.get_message());
}

// One device's handle and plans. Used under its mutex: a handle serves one stream at a time.
class Library {
 public:
  Library() {
    if (cudnnCreate(&handle_) != CUDNN_STATUS_SUCCESS) handle_ = nullptr;
  }
  bool ready() const { return handle_ != nullptr; }
  std::mutex& mutex() { return mutex_; }

  fe::graph::Graph& plan(const PlanKey& key) {
    if (const auto found = plans_.find(key); found != plans_.end()) {
      found->second.last_use = ++uses_;
      return *found->second.graph;
    }
    if (plans_.size() >= kMaxPlans)
      plans_.erase(std::min_element(plans_.begin(), plans_.end(), [](const auto& a, const auto& b) {
        return a.second.last_use < b.second.last_use;
      }));
    return *(plans_[key] = {build(key), ++uses_}).graph;
  }

  void execute(const PlanKey& key, const void* q, const void* k, const void* v, void* y, float scale, void* workspace,
               int64_t workspace_bytes, cudaStream_t stream) {
    fe::graph::Graph& graph = plan(key);
    if (bytes(graph) > workspace_bytes)
      throw RuntimeError("attention: cuDNN wants {} bytes of workspace, {} were planned", bytes(graph),
                         workspace_bytes);
    if (cudnnSetStream(handle_, stream) != CUDNN_STATUS_SUCCESS) throw RuntimeError("attention: cudnnSetStream failed");
    std::unordered_map<int64_t, void*> operands = {
        {kQ, const_cast<void*>(q)}, {kK, const_cast<void*>(k)}, {kV, const_cast<void*>(v)}, {kY, y}, {kScale, &scale}};
    check_graph(graph.execute(handle_, operands, workspace), "execute");
  }

  static int64_t bytes(const fe::graph::Graph& graph) {
    int64_t size = 0;
    check_graph(graph.get_workspace_size(size), "workspace");
    return size;
  }

 private:
  struct Plan {
    std::shared_ptr<fe::graph::Graph> graph;
    uint64_t last_use = 0;
  };

  std::shared_ptr<fe::graph::Graph> build(const PlanKey& key) {
    const auto graph = std::make_shared<fe::graph::Graph>();
    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const auto dim = [&](int heads) { return std::vector<int64_t>{1, heads, key.rows, key.head_dim}; };
    const auto strides = [&](int64_t row) { return std::vector<int64_t>{row * key.rows, key.head_dim, row, 1}; };
    const auto tensor = [&](const char* name, Uid uid, int heads, int64_t row) {
      return graph->tensor(
          fe::graph::Tensor_attributes().set_name(name).set_uid(uid).set_dim(dim(heads)).set_stride(strides(row)));
    };
    const auto q = tensor("q", kQ, key.heads, key.q_stride);
    const auto k = tensor("k", kK, key.kv_heads, key.k_stride), v = tensor("v", kV, key.kv_heads, key.v_stride);
    auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(false);
    // An operand, so that a plan serves every scale.
    options.set_attn_scale(graph->tensor(fe::graph::Tensor_attributes()
                                             .set_name("scale")
                                             .set_uid(kScale)
                                             .set_dim({1, 1, 1, 1})
                                             .set_stride({1, 1, 1, 1})
                                             .set_is_pass_by_value(true)
                                             .set_data_type(fe::DataType_t::FLOAT)));
    if (key.causal) options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    const auto [y, statistics] = graph->sdpa(q, k, v, options);
    y->set_output(true).set_uid(kY).set_dim(dim(key.heads)).set_stride(strides(key.y_stride));
    check_graph(graph->build(handle_, {fe::HeurMode_t::A}), "build");
    return graph;
  }

  cudnnHandle_t handle_ = nullptr;  // lives as long as the process
  std::mutex mutex_;
  std::map<PlanKey, Plan> plans_;
  uint64_t uses_ = 0;
};

Library& library() {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Library> > libraries;
  const std::lock_guard lock(mutex);
  auto& l = libraries[device().index];
  if (!l) l = std::make_unique<Library>();
  return *l;
}

bool two_parts(const AttentionShape& shape) { return shape.total_rows(0) > 0 && shape.total_rows(1) > 0; }

// Room for q, k, v and the result of the longest sequence, where there are two parts; the plan's own comes behind it.
struct Layout {
  int64_t q = 0, k = 0, v = 0, y = 0, plan = 0;
};
Layout layout(const AttentionShape& shape) {
  Layout l;
  if (!two_parts(shape)) return l;
  int64_t rows = 0;
  for (int s = 0; s < shape.sequences; ++s) rows = std::max(rows, shape.length(s));
  const auto bytes = [&](int heads) { return (rows * heads * shape.head_dim * 2 + 255) / 256 * 256; };
  l.k = bytes(shape.heads);
  l.v = l.k + bytes(shape.kv_heads);
  l.y = l.v + bytes(shape.kv_heads);
  l.plan = l.y + bytes(shape.heads);
  return l;
}

PlanKey packed_key(const AttentionShape& shape, int64_t rows) {
  const int64_t q = int64_t{shape.heads} * shape.head_dim, kv = int64_t{shape.kv_heads} * shape.head_dim;
  return {shape.heads, shape.kv_heads, shape.head_dim, rows, q, kv, kv, q, shape.causal};
}

// The most that the plan of any sequence takes. Plans differ only in lengths, most of which are equal.
int64_t plan_bytes(const AttentionShape& shape, Library& l) {
  int64_t most = 0, last = -1;
  for (int s = 0; s < shape.sequences; ++s) {
    const int64_t rows = shape.length(s);
    if (rows == 0 || rows == last) continue;
    most = std::max(most, Library::bytes(l.plan(packed_key(shape, rows))));
    last = rows;
  }
  return most;
}

}  // namespace

bool cudnn_available(const AttentionShape& shape) {
  const int sm = device().sm;  // elsewhere the kernels of this folder are as fast
  return (sm == 90 || sm == 100 || sm == 103) && shape.head_dim == 128 && library().ready();
}

int64_t cudnn_workspace(const AttentionShape& shape) {
  Library& l = library();
  const std::lock_guard lock(l.mutex());
  return layout(shape).plan + plan_bytes(shape, l);
}

void cudnn(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, void* workspace,
           cudaStream_t stream) {
  Library& l = library();
  const std::lock_guard lock(l.mutex());
  const Layout room = layout(shape);
  const int64_t plan_room = plan_bytes(shape, l);
  char* const base = static_cast<char*>(workspace);
  const int32_t *a = shape.host_offsets, *b = a + shape.sequences + 1;
  for (int s = 0; s < shape.sequences; ++s) {
    const int64_t n0 = a[s + 1] - a[s], n1 = b[s + 1] - b[s];
    if (n0 + n1 == 0) continue;
    PlanKey key = packed_key(shape, n0 + n1);
    // The tensor in one piece: in place where it lies so already, else `copy` in the workspace, to which the rows go.
    PartCopy copies[4];
    int count = 0;
    const auto whole = [&](const void* p0, int64_t stride0, const void* p1, int64_t stride1, int heads, int64_t at,
                           int64_t& stride, PartCopy& copy) -> void* {
      char* x0 = static_cast<char*>(const_cast<void*>(p0)) + a[s] * stride0 * 2;
      char* x1 = static_cast<char*>(const_cast<void*>(p1)) + b[s] * stride1 * 2;
      if (n1 == 0 || (n0 > 0 && stride0 == stride1 && x1 == x0 + n0 * stride0 * 2)) return stride = stride0, x0;
      if (n0 == 0) return stride = stride1, x1;
      copy = {{x0, x1}, {stride0, stride1}, {n0, n1}, base + at, heads * shape.head_dim};
      return base + at;
    };
    const auto read = [&](const void* p0, int64_t stride0, const void* p1, int64_t stride1, int heads, int64_t at,
                          int64_t& stride) {
      PartCopy& copy = copies[count];
      copy = {};
      void* x = whole(p0, stride0, p1, stride1, heads, at, stride, copy);
      if (copy.columns) ++count;
      return x;
    };
    const void* q = read(first.q, first.q_stride, second.q, second.q_stride, shape.heads, room.q, key.q_stride);
    const void* k = read(first.k, first.kv_stride, second.k, second.kv_stride, shape.kv_heads, room.k, key.k_stride);
    const void* v = read(first.v, first.kv_stride, second.v, second.kv_stride, shape.kv_heads, room.v, key.v_stride);
    PartCopy result = {};
    void* y = whole(first.y, first.y_stride, second.y, second.y_stride, shape.heads, room.y, key.y_stride, result);
    join_parts(copies, count, stream);
    l.execute(key, q, k, v, y, shape.scale, base + room.plan, plan_room, stream);
    if (result.columns) split_parts(result, stream);
  }
}

#endif

}  // namespace inkling::cuda::attn
