// The GPU backend. Activations are bf16 inside a block and f32 along the residual stream; every tensor, weight and
// workspace comes from one arena, so memory() is exact and a budget holds. Work is enqueued on one stream (and side
// lanes inside an operation) and runs while the host goes on; download() waits for it. Not for several threads at once.
//
// Results are the same bytes on every run with the same options and device.
#pragma once

#include <memory>

#include "backends/cuda/context.h"
#include "backends/cuda/cuda_model.h"
#include "backends/cuda/kernels/gemm.h"
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/weight_mover.h"
#include "ops/ops.h"

namespace inkling {

struct CudaWeight;
class CublasLt;

class CudaOps : public Ops {
 public:
  CudaOps(std::shared_ptr<CudaContext> context, CudaOptions options);
  ~CudaOps() override;

  const CudaModel& model() const { return model_; }  // for PlanOps
  CudaContext& context() { return *context_; }
  // Benchmarks: weights without a value are filled with random numbers by prepare().
  void fill_missing_weights(bool fill) { fill_missing_ = fill; }
  void synchronize();
  std::unique_ptr<Mark> mark() override;  // mark.cc

  // prepare.cc
  void prepare(Weight& weight) override;
  Tensor upload(const Tensor& host) override;
  Tensor download(const Tensor& tensor) override;
  MemoryStats memory() const override { return context_->arena().stats(); }
  void reset_peak() override { context_->arena().reset_peak(); }
  WeightMover* weight_mover() override { return &mover_; }

  // linear.cc
  Tensor linear(const Tensor& x, const Weight& w) override;
  Tensor linear_act(const Tensor& x, const Weight& w, Activation f) override;
  Tensor linear_add(const Tensor& x, const Weight& w, const Tensor& residual) override;
  Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                          const RowGroups& groups) override;
  Tensor swiglu(const Tensor& x, const Weight& gate, const Weight& up) override;
  QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
          const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) override;
  // joint.cc
  std::pair<QKV, QKV> joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                int64_t heads) override;
  std::pair<Tensor, Tensor> joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                            const Segments& image_segments, int64_t heads, float scale) override;
  std::pair<Tensor, Tensor> joint_finish(StreamFinish text, StreamFinish image, float eps) override;
  // attention.cc
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) override;
  // rowwise.cc
  Tensor add(const Tensor& a, const Tensor& b) override;
  Tensor multiply(const Tensor& a, const Tensor& b) override;
  Tensor activate(const Tensor& x, Activation f) override;
  Tensor axpby(float a, const Tensor& x, float b, const Tensor& y) override;
  Tensor rms_norm(const Tensor& x, const Tensor& gamma, float eps) override;
  Tensor layer_norm(const Tensor& x, float eps) override;
  Tensor modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) override;
  Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                        float eps) override;
  Tensor gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) override;
  Tensor head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) override;
  Tensor channel_norm(const Tensor& x, const Tensor& gamma) override;
  Tensor channel_norm_silu(const Tensor& x, const Tensor& gamma) override;
  Tensor guide(const Tensor& positive, const Tensor& negative, float scale) override;
  Tensor embedding(const Tensor& ids, const Weight& w) override;
  Tensor concat_rows(const std::vector<Tensor>& parts) override;
  Tensor slice_channels(const Tensor& x, int64_t begin, int64_t end) override;
  Tensor gather_rows(const Tensor& x, const Tensor& index) override;
  // convolution.cc
  Tensor conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) override;
  Tensor conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual) override;
  Tensor upsample2x(const Tensor& x) override;
  Tensor upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) override;

 private:
  // An activation as one product wants it.
  struct Operand {
    OperandKey key;
    const void* data = nullptr;
    const float* scale = nullptr;
    const int32_t* sum = nullptr;
  };
  // The operands of one activation, one for each kind of weight that multiplies it.
  struct Operands {
    std::vector<Operand> each;
    const Operand& of(const CudaWeight& w) const;
  };
  class Space;  // cuts a workspace into parts

  Tensor allocate(const Shape& shape, DType type);
  Tensor result(OpKind op, const Shape& shape, const Tensor& operand) {
    return allocate(shape, model_.output_type(op, operand.dtype()));
  }
  std::shared_ptr<Storage> workspace(const OpCall& call);
  void fill_random(Weight& weight, CudaWeight& w);
  void prepare_matrix(const Weight& weight, CudaWeight& w);
  void prepare_convolution(const Weight& weight, CudaWeight& w);

  // Makes the operands of `weights` out of what `produce` writes (rows.h), in `space`.
  template <typename Produce>
  Operands make_operands(std::span<const Weight* const> weights, int64_t rows, int64_t columns, Space& space,
                         const Produce& produce);
  Operands convert(const Tensor& x, std::span<const Weight* const> weights, Space& space, int lane);
  Operands convert(const void* x, cuda::Elem type, int64_t rows, int64_t columns,
                   std::span<const Weight* const> weights, Space& space, int lane);
  // end.bias is filled in here.
  void product(const Operands& x, const Weight& weight, int64_t rows, cuda::GemmEnd end, Space& space, int lane);
  const float* as_f32(const Tensor& residual, Tensor& y, int lane = 0);
  void multiply_rows(const Operand& x, const Weight& weight, const CudaWeight& w, int64_t rows, int64_t n, int64_t k,
                     cuda::GemmEnd end, Space& space, int lane);
  void norm_rope(Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads, int lane);
  void project_stream(const StreamProjection& s, float eps, int64_t heads, QKV& to, Space& space, int first_lane,
                      bool spread);
  void finish_stream(const StreamFinish& s, float eps, Tensor& y, std::byte* space, int lane);
  void run_attention(const cuda::AttentionShape& shape, const cuda::AttentionPart& first,
                     const cuda::AttentionPart& second, const std::vector<int32_t>& offsets, void* space);
  Tensor convolve(OpKind op, const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual,
                  bool upsample);

  std::shared_ptr<CudaContext> context_;
  CudaModel model_;
  std::unique_ptr<CublasLt> cublas_;
  CudaWeightMover mover_;
  bool fill_missing_ = false;
  uint64_t next_seed_ = 1;
};

// The element type of a tensor on the device; throws where kernels have none.
cuda::Elem elem(std::string_view op, const Tensor& t);
cuda::Act act(Activation f);
// Groups of rows [begin, end) as the kernels take them, counted from `begin`.
cuda::RowTable row_table(std::string_view op, const RowGroups& groups, int64_t begin, int64_t end);
const float* f32_or_null(std::string_view op, const Tensor& t);

}  // namespace inkling
