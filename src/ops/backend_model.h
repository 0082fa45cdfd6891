// What a plan needs to know about a backend: which fused operations it has, what type it returns, and how
// many bytes of workspace each call takes. The backend's own operations ask the very same object, so a plan
// (backends/plan) is exact by construction.
//
// The contract of every operation that a backend implements itself: it allocates its outputs in the order in
// which they are returned, then at most one workspace of workspace_bytes(), which it frees before it returns;
// nothing else. A fused operation that the backend lacks runs the composed default, here as there.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "ops/ops.h"

namespace inkling {

enum class OpKind : uint8_t {
  linear,
  embedding,
  add,
  multiply,
  activate,
  axpby,
  rms_norm,
  layer_norm,
  modulate,
  gated_add,
  head_norm_rope,
  attention,
  concat_rows,
  slice_channels,
  gather_rows,
  conv2d,
  upsample2x,
  channel_norm,
  guide,
  // fused
  linear_act,
  linear_add,
  linear_gated_add,
  swiglu,
  modulated_norm,
  qkv,
  joint_attention,
  joint_qkv,
  joint_finish,
  upsample_conv2d,
  conv2d_add,
  channel_norm_silu,
};

// What the products of a call are made in.
enum class NumberFormat : uint8_t { f32, bf16, int8, fp8 };
inline constexpr size_t kNumberFormats = 4;
constexpr std::string_view name(NumberFormat format) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "int8", "fp8"};
  return kNames[static_cast<size_t>(format)];
}

// Attention may make its scores and its sums of values in different formats; otherwise both halves are alike.
struct ProductFormats {
  NumberFormat first = NumberFormat::f32, second = NumberFormat::f32;
};

// One call as the backend's workspace depends on it; unused fields stay at their defaults.
struct OpCall {
  OpKind kind;
  int64_t rows = 0;                          // rows of the first operand; joint_*: of the image stream
  int64_t text_rows = 0;                     // joint_*: of the text stream
  DType operand = DType::f32;                // type of the first operand; joint_finish: of `attention`
  std::array<const Weight*, 6> weights{};    // in the order of the signature; joint_*: image, then text
  Activation activation = Activation::silu;  // linear_act
  Shape map{};                               // conv2d: the input, [H, W, Cin]
  ConvSpec conv{};                           // conv2d
  int64_t heads = 0, head_dim = 0;           // attention, joint_attention, joint_qkv
  int64_t kv_heads = 0;                      // attention, qkv
  bool causal = false;                       // attention
  DType value_type = DType::f32;             // attention: type of v; q and k are of type `operand`
  int64_t longest = 0;                       // attention: rows of the longest sequence
  const Segments *segments = nullptr, *text_segments = nullptr;  // attention, joint_attention
};

class BackendModel {
 public:
  virtual ~BackendModel() = default;

  virtual bool fuses(OpKind op) const = 0;
  // Element type of the result; `operand` is the type of the first operand (of the residual, if there is one).
  virtual DType output_type(OpKind op, DType operand) const = 0;
  virtual int64_t workspace_bytes(const OpCall& call) const = 0;
  // Of a call that multiplies: matrix products, convolutions, attention.
  virtual ProductFormats formats(const OpCall& call) const = 0;
  // What prepare() allocates for good (0: the stored form is used in place), and what it needs meanwhile.
  virtual int64_t prepared_bytes(const Weight& weight) const = 0;
  virtual int64_t prepare_workspace_bytes(const Weight& weight) const = 0;
};

}  // namespace inkling
