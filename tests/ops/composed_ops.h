// The CPU backend without its fused operations: the composed defaults on the primitives.
#pragma once

#include "backends/cpu/cpu_ops.h"

namespace inkling {

class ComposedOps : public CpuOps {
 public:
  using CpuOps::CpuOps;
  Tensor linear_act(const Tensor& x, const Weight& w, Activation f) override { return Ops::linear_act(x, w, f); }
  Tensor linear_add(const Tensor& x, const Weight& w, const Tensor& r) override { return Ops::linear_add(x, w, r); }
  Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                          const RowGroups& groups) override {
    return Ops::linear_gated_add(x, w, residual, gate, groups);
  }
  Tensor swiglu(const Tensor& x, const Weight& gate, const Weight& up) override { return Ops::swiglu(x, gate, up); }
  Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                        float eps) override {
    return Ops::modulated_norm(x, scale, shift, groups, eps);
  }
  QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
          const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) override {
    return Ops::qkv(x, wq, wk, wv, gamma_q, gamma_k, eps, rope, heads, kv_heads);
  }
  std::pair<Tensor, Tensor> joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                            const Segments& image_segments, int64_t heads, float scale) override {
    return Ops::joint_attention(text, text_segments, image, image_segments, heads, scale);
  }
  Tensor channel_norm_silu(const Tensor& x, const Tensor& gamma) override { return Ops::channel_norm_silu(x, gamma); }
};

class ComposedModel : public CpuModel {
 public:
  using CpuModel::CpuModel;
  bool fuses(OpKind) const override { return false; }
};

}  // namespace inkling
