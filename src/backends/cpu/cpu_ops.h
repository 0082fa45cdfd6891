// The CPU backend: the oracle that other backends are compared with, and the engine of machines without a GPU.
// Activations are float. All tensors and workspaces come from one counting allocator, so memory() is exact;
// weights that are used in place (mapped files) are not in it. Not for several threads at once.
//
// Results are the same bytes on every run, for any number of threads, and for a row or a sequence whatever stands
// beside it in the batch (tests/ops/numerics_test.cc; measured of oneDNN, whose documentation does not promise it;
// without AVX-512 its products may depend on the number of rows). An exception: products in bfloat16 of rows shorter
// than 128 or longer than about 1,000 values are summed in an order that depends on the number of rows (AMX).
#pragma once

#include <initializer_list>

#include "backends/cpu/cpu_model.h"
#include "backends/cpu/pool_allocator.h"
#include "ops/ops.h"

namespace inkling {

struct CpuWeight;

class CpuOps : public Ops {
 public:
  explicit CpuOps(CpuOptions options = {});

  const BackendModel& model() const { return model_; }  // for PlanOps

  void prepare(Weight& weight) override;
  // A copy: the result never changes with the host tensor.
  Tensor upload(const Tensor& host) override;
  Tensor download(const Tensor& tensor) override;
  MemoryStats memory() const override { return allocator_.stats(); }
  void reset_peak() override { allocator_.reset_peak(); }

  // linear.cc
  Tensor linear(const Tensor& x, const Weight& w) override;
  Tensor linear_act(const Tensor& x, const Weight& w, Activation f) override;
  Tensor linear_add(const Tensor& x, const Weight& w, const Tensor& residual) override;
  Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                          const RowGroups& groups) override;
  Tensor swiglu(const Tensor& x, const Weight& gate, const Weight& up) override;
  QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
          const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) override;
  // elementwise.cc
  Tensor add(const Tensor& a, const Tensor& b) override;
  Tensor multiply(const Tensor& a, const Tensor& b) override;
  Tensor activate(const Tensor& x, Activation f) override;
  Tensor axpby(float a, const Tensor& x, float b, const Tensor& y) override;
  Tensor modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) override;
  Tensor gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) override;
  // norm.cc
  Tensor rms_norm(const Tensor& x, const Tensor& gamma, float eps) override;
  Tensor layer_norm(const Tensor& x, float eps) override;
  Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                        float eps) override;
  Tensor channel_norm(const Tensor& x, const Tensor& gamma) override;
  Tensor channel_norm_silu(const Tensor& x, const Tensor& gamma) override;
  Tensor head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) override;
  Tensor guide(const Tensor& positive, const Tensor& negative, float scale) override;
  // attention.cc
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) override;
  std::pair<Tensor, Tensor> joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                            const Segments& image_segments, int64_t heads, float scale) override;
  // rows.cc
  Tensor embedding(const Tensor& ids, const Weight& w) override;
  Tensor concat_rows(const std::vector<Tensor>& parts) override;
  Tensor slice_channels(const Tensor& x, int64_t begin, int64_t end) override;
  Tensor gather_rows(const Tensor& x, const Tensor& index) override;
  Tensor upsample2x(const Tensor& x) override;
  // convolution.cc
  Tensor conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) override;

 private:
  Tensor allocate(const Shape& shape, DType type = DType::f32);
  // Null storage for no bytes: an allocation of nothing would still be counted.
  std::shared_ptr<Storage> workspace(int64_t bytes);
  std::shared_ptr<Storage> workspace(const OpCall& call) { return workspace(model_.workspace_bytes(call)); }
  void prepare_convolution(Weight& weight, CpuWeight& result);
  void prepare_integers(Weight& weight, CpuWeight& result);
  void prepare_matrix(Weight& weight, CpuWeight& result);
  // Projections y = act(x W^T + b) of one x, one after another, row-major and dense; `workspace` as planned for the
  // largest. x is converted once for all that want it in the same form.
  struct Projection {
    const Weight* weight;
    float* y;
    int activation = kNoActivation;
  };
  void run_linear(const Tensor& x, std::initializer_list<Projection> projections, std::byte* workspace);
  void multiply_dots(const Tensor& x, const Projection& p, const LinearPlan& plan, std::byte* workspace);
  void multiply_bf16_or_f32(const Tensor& x, const Projection& p, const LinearPlan& plan, std::byte* workspace);

  CpuModel model_;
  PoolAllocator allocator_;
};

}  // namespace inkling
