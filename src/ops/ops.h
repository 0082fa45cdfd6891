// What a model may ask of a backend: every tensor operation of the program, one line each.
//
// Calls are eager and functional: they return new tensors and change no argument. Activations are float
// tensors of shape [rows, channels]; feature maps are [height, width, channels]. Several samples of a batch
// are packed one after another along the rows, without padding; Segments name their borders. A backend
// chooses the element type of activations; models never name one.
//
// Primitive operations are pure virtual. A fused operation has a composed default (in one file of this
// folder) that states its meaning; a backend overrides it for speed and never adds meaning.
// Every operation checks its operands and throws RuntimeError with its name, what it got and what it expected.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/mark.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace inkling {

enum class Activation { gelu_tanh, gelu_erf, silu, quick_gelu };

// Borders of packed sequences: segment i is rows [offsets[i], offsets[i+1]). offsets[0] = 0.
struct Segments {
  std::vector<int64_t> offsets{0};
  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t rows() const { return offsets.back(); }
  int64_t length(int64_t i) const { return offsets[i + 1] - offsets[i]; }
  void add(int64_t length) { offsets.push_back(offsets.back() + length); }
  static Segments single(int64_t rows) { return Segments{{0, rows}}; }
};

// Which row of a modulation table [G, D] applies to which rows of an activation: rows
// [segments.offsets[i], segments.offsets[i+1]) use table row table_row[i].
struct RowGroups {
  Segments segments;
  std::vector<int64_t> table_row;
  static RowGroups single(int64_t rows) { return {Segments::single(rows), {0}}; }
};

// Rotary position embedding. cos and sin are f32 [rows, head_dim / 2], made on the host (see
// models/rope.h) and uploaded. interleaved: pairs (2p, 2p+1), as the DiT; rotate_half: pairs
// (p, p + head_dim/2), as Qwen2.5-VL.
struct Rope {
  enum class Style { interleaved, rotate_half };
  Tensor cos, sin;
  Style style = Style::interleaved;
};

struct AttentionSpec {
  int64_t heads = 1;     // query heads; head_dim = q.channels() / heads
  int64_t kv_heads = 1;  // query head j reads key/value head j * kv_heads / heads
  float scale = 1.f;
  bool causal = false;  // within each segment
  Segments segments;    // attention never crosses a segment
};

struct QKV {
  Tensor q, k, v;  // [rows, heads * head_dim]
};

// What one stream (text or image) of a two-stream block brings to joint attention. x is normalized and modulated,
// then projected. Without wq nothing reads the stream's queries, and its keys stand in for them.
struct StreamProjection {
  Tensor x;             // [M, D]; undefined: the stream is absent
  Tensor scale, shift;  // [G, D]
  const RowGroups* groups = nullptr;
  const Weight *wq = nullptr, *wk = nullptr, *wv = nullptr;  // [D, D]
  Tensor gamma_q, gamma_k;                                   // [head_dim]
  Rope rope;
};

// What one stream does with the result of attention: project, gate, add; then its gated MLP.
struct StreamFinish {
  Tensor x, attention;                  // [M, D]; x undefined: the stream is absent
  Tensor gate1, scale2, shift2, gate2;  // [G, D]
  const RowGroups* groups = nullptr;
  const Weight *out = nullptr, *mlp_in = nullptr, *mlp_out = nullptr;  // [D, D], [F, D], [D, F]
  Activation activation = Activation::gelu_tanh;
};

// 2-D convolution: kernel and channels come from the weight. Padding is zeros, per side.
struct ConvSpec {
  int64_t stride = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  static ConvSpec same3x3() { return {1, 1, 1, 1, 1}; }
};

class WeightMover;

class Ops {
 public:
  virtual ~Ops() = default;

  // --- weights and memory -------------------------------------------------------------------------------
  // Converts a loaded weight into the form that the kernels want. Idempotent.
  virtual void prepare(Weight& weight) = 0;
  virtual Tensor upload(const Tensor& host) = 0;      // f32/i32/u8 host tensor -> backend memory, same type
  virtual Tensor download(const Tensor& tensor) = 0;  // -> f32 host tensor
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak() = 0;
  // Null where weights live in host memory anyway.
  virtual WeightMover* weight_mover() { return nullptr; }

  // --- primitives ---------------------------------------------------------------------------------------
  // y = x W^T + b.  x [M, in], W [out, in] -> [M, out].
  virtual Tensor linear(const Tensor& x, const Weight& w) = 0;
  // Rows of an embedding table. ids: host i32 [M], W [vocab, D] -> [M, D].
  virtual Tensor embedding(const Tensor& ids, const Weight& w) = 0;
  virtual Tensor add(const Tensor& a, const Tensor& b) = 0;  // same shape
  virtual Tensor multiply(const Tensor& a, const Tensor& b) = 0;
  virtual Tensor activate(const Tensor& x, Activation f) = 0;
  // a*x + b*y, elementwise; the sampler's step.
  virtual Tensor axpby(float a, const Tensor& x, float b, const Tensor& y) = 0;
  // y = x / sqrt(mean(x^2) + eps) * gamma over channels. gamma f32 [D].
  virtual Tensor rms_norm(const Tensor& x, const Tensor& gamma, float eps) = 0;
  // Layer normalization without affine, over channels.
  virtual Tensor layer_norm(const Tensor& x, float eps) = 0;
  // x * (1 + scale[g]) + shift[g], g the row's group. scale, shift [G, D].
  virtual Tensor modulate(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) = 0;
  // residual + gate[g] * y. gate [G, D].
  virtual Tensor gated_add(const Tensor& residual, const Tensor& y, const Tensor& gate, const RowGroups& groups) = 0;
  // RMS norm of each head with gamma [head_dim] (undefined gamma: no norm), then rotation (undefined
  // rope.cos: none). x [M, heads*head_dim].
  virtual Tensor head_norm_rope(const Tensor& x, const Tensor& gamma, float eps, const Rope& rope, int64_t heads) = 0;
  // softmax(q k^T * scale) v within segments. q [M, heads*hd], k, v [M, kv_heads*hd] -> [M, heads*hd].
  virtual Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec) = 0;
  virtual Tensor concat_rows(const std::vector<Tensor>& parts) = 0;
  // Columns [begin, end) of every row.
  virtual Tensor slice_channels(const Tensor& x, int64_t begin, int64_t end) = 0;
  // y[i] = x[index[i]]. index: host i32 [N].
  virtual Tensor gather_rows(const Tensor& x, const Tensor& index) = 0;
  // x [H, W, Cin], w [Cout, Cin, kh, kw] -> [H', W', Cout].
  virtual Tensor conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec) = 0;
  // [H, W, C] -> [2H, 2W, C], nearest.
  virtual Tensor upsample2x(const Tensor& x) = 0;
  // The VAE's norm: y = x / max(|x|_2, 1e-12) * sqrt(C) * gamma over the channels of a pixel. gamma f32 [C].
  virtual Tensor channel_norm(const Tensor& x, const Tensor& gamma) = 0;
  // True-CFG combination per row (reference/qwen-image.md 7.2): c = n + s (p - n); c * |p| / |c|, 0 where |c| = 0.
  virtual Tensor guide(const Tensor& positive, const Tensor& negative, float scale) = 0;

  // --- fused, with composed defaults ----------------------------------------------------------------------
  virtual Tensor linear_act(const Tensor& x, const Weight& w, Activation f);
  virtual Tensor linear_add(const Tensor& x, const Weight& w, const Tensor& residual);
  virtual Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                                  const RowGroups& groups);
  // silu(x G^T) * (x U^T).
  virtual Tensor swiglu(const Tensor& x, const Weight& gate, const Weight& up);
  // layer_norm, then modulate.
  virtual Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups,
                                float eps);
  // Three projections, then head_norm_rope on q and k.
  virtual QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
                  const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads);
  // Attention over the joint sequence [text_i, image_i] of each sample i; returns {text, image} rows.
  virtual std::pair<Tensor, Tensor> joint_attention(const QKV& text, const Segments& text_segments, const QKV& image,
                                                    const Segments& image_segments, int64_t heads, float scale);
  // Of both streams: modulated_norm, then qkv. Returns {text, image}.
  virtual std::pair<QKV, QKV> joint_qkv(const StreamProjection& text, const StreamProjection& image, float eps,
                                        int64_t heads);
  // Of both streams: a = x + gate1 * out(attention); a + gate2 * mlp_out(f(mlp_in(modulated_norm(a)))). Returns
  // {text, image}, an absent one undefined.
  virtual std::pair<Tensor, Tensor> joint_finish(StreamFinish text, StreamFinish image, float eps);
  // conv2d of upsample2x(x).
  virtual Tensor upsample_conv2d(const Tensor& x, const Weight& w, const ConvSpec& spec);
  // conv2d(x) + residual.
  virtual Tensor conv2d_add(const Tensor& x, const Weight& w, const ConvSpec& spec, const Tensor& residual);
  // silu(channel_norm(x)).
  virtual Tensor channel_norm_silu(const Tensor& x, const Tensor& gamma);

  // --- observation ----------------------------------------------------------------------------------------
  // Models report intermediate results under the reference implementation's names; nothing happens unless
  // a hook is set (parity tests, debugging).
  using TraceHook = std::function<void(std::string_view name, const Tensor& value)>;
  void set_trace(TraceHook hook) { trace_hook_ = std::move(hook); }
  // Replaces the hook and returns the old one, to observe a part of a run only.
  TraceHook exchange_trace(TraceHook hook) { return std::exchange(trace_hook_, std::move(hook)); }
  bool tracing() const { return static_cast<bool>(trace_hook_); }
  void trace(std::string_view name, const Tensor& value) {
    if (trace_hook_) trace_hook_(name, value);
  }

  // --- measuring ------------------------------------------------------------------------------------------
  // The point that is reached when all work given so far is done.
  virtual std::unique_ptr<Mark> mark();

  // --- stopping -------------------------------------------------------------------------------------------
  // Models call check_stop() at the beginning of every block; the hook throws to end the run there.
  using StopHook = std::function<void()>;
  void set_stop_hook(StopHook hook) { stop_hook_ = std::move(hook); }
  void check_stop() const {
    if (stop_hook_) stop_hook_();
  }

 private:
  TraceHook trace_hook_;
  StopHook stop_hook_;
};

}  // namespace inkling
