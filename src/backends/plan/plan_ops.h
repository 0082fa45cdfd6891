// A backend that computes nothing: it checks operands, makes tensors of the right shape without memory, and
// counts. Because the real backend asks the same BackendModel for its workspaces, the peak of a sequence of
// calls here equals its peak there, to the byte.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ops/backend_model.h"
#include "ops/ops.h"
#include "tensor/storage.h"

namespace inkling {

struct PlannedWeightUse {
  std::string name;
  int64_t bytes = 0;  // as prepared (in place: as stored), each time
  int64_t uses = 0;
};

struct PlanPhase {
  std::string name;
  int64_t start_bytes = 0;  // held when the phase began
  int64_t peak_bytes = 0;
  int64_t calls = 0;
  int64_t flops = 0;                               // of matrix products, convolutions and attention, 2 per multiply-add
  std::array<int64_t, kNumberFormats> flops_in{};  // the same by what they are made in (NumberFormat)
  int64_t written_bytes = 0;                       // results and workspaces
  int64_t weight_bytes = 0;                        // read by the calls; a weight used twice counts twice
  std::vector<PlannedWeightUse> weights;           // in the order of first use: the order to stream them in
};

class PlanOps : public Ops {
 public:
  // `memory` hands out storage without data; by default it counts, as the CPU's allocator does.
  explicit PlanOps(const BackendModel& model, std::unique_ptr<Allocator> memory = nullptr);

  // Closes the current phase. Calls before the first one belong to a phase without a name.
  void begin_phase(std::string name);
  const std::vector<PlanPhase>& phases() const;  // the last one with its peak so far

  // Without a value: sizes follow from shape and stored type. A weight that a real backend prepared is left alone.
  void prepare(Weight& weight) override;
  Tensor upload(const Tensor& host) override;
  Tensor download(const Tensor& tensor) override;  // zeros, not to be written to
  MemoryStats memory() const override;
  void reset_peak() override;

  Tensor linear(const Tensor& x, const Weight& w) override;
  Tensor embedding(const Tensor& ids, const Weight& w) override;
  Tensor add(const Tensor& a, const Tensor& b) override;
  Tensor multiply(const Tensor& a, const Tensor& b) override;
  Tensor activate(const Tensor& x, Activation f) override;
  Tensor axpby(float a, const Tensor& x, float b, const Tensor& y) override;
  Tensor rms_norm(const Tensor& x, const Tensor& gamma, float eps) override;
  Tensor layer_norm(const Tensor& x, float eps) override;
  Tensor modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) override;
  Tensor gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) override;
  Tensor head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) override;
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) override;
  Tensor concat_rows(const std::vector<Tensor>& parts) override;
  Tensor slice_channels(const Tensor& x, int64_t begin, int64_t end) override;
  Tensor gather_rows(const Tensor& x, const Tensor& index) override;
  Tensor conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) override;
  Tensor upsample2x(const Tensor& x) override;
  Tensor channel_norm(const Tensor& x, const Tensor& gamma) override;
  Tensor guide(const Tensor& positive, const Tensor& negative, float scale) override;

  Tensor linear_act(const Tensor& x, const Weight& w, Activation f) override;
  Tensor linear_add(const Tensor& x, const Weight& w, const Tensor& residual) override;
  Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                          const RowGroups& groups) override;
  Tensor swiglu(const Tensor& x, const Weight& gate, const Weight& up) override;
  Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                        float eps) override;
  QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
          const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) override;
  std::pair<Tensor, Tensor> joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                            const Segments& image_segments, int64_t heads, float scale) override;
  std::pair<QKV, QKV> joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                int64_t heads) override;
  std::pair<Tensor, Tensor> joint_finish(StreamFinish text, StreamFinish image, float eps) override;
  Tensor upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) override;
  Tensor conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual) override;
  Tensor channel_norm_silu(const Tensor& x, const Tensor& gamma) override;

 private:
  Tensor allocate(const Shape& shape, DType type);
  Tensor result(OpKind op, const Shape& shape, const Tensor& operand);
  // Takes and frees the workspace of a call, and counts it.
  void work(const OpCall& call, int64_t flops = 0);
  // The one-output operations without weights or floating-point work to speak of.
  Tensor simple(OpKind op, const Shape& shape, const Tensor& operand);
  int64_t weight_bytes(const Weight& weight) const;

  const BackendModel& model_;
  std::unique_ptr<Allocator> allocator_;
  Tensor zeros_;
  int64_t peak_ = 0;  // before the current phase, since reset_peak()
  mutable std::vector<PlanPhase> phases_;
};

}  // namespace inkling
