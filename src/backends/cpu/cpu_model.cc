#include "backends/cpu/cpu_model.h"

#include <algorithm>

#include "backends/cpu/kernels.h"
#include "backends/cpu/prepared_weight.h"
#include "base/error.h"
#include "base/threads.h"
#include "formats/int_quant.h"

namespace inkling {

namespace {

// Elements of an unpacked panel, 8 MiB as floats. Smaller ones would stay in the L2, but every panel wakes all threads
// twice, and where they sleep between (OMP_WAIT_POLICY=passive) that took most of the time at 1 MiB.
constexpr int64_t kPanelElements = 2048 * 1024;

int64_t aligned(int64_t bytes) {
  constexpr int64_t a = CountingAllocator::kAlignment;
  return (bytes + a - 1) / a * a;
}

IntegerMatrix integer_matrix(const Weight& weight, WeightForm form) {
  return {form == WeightForm::w4, weight.out_features(), weight.in_features()};
}

bool multiplies_bf16() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16; }

}  // namespace

CpuModel::CpuModel(CpuOptions options)
    : options_(options),
      bf16_compute_(options.precision != Precision::f32 && multiplies_bf16()),
      int8_isa_(kernels::best_int8_isa(options.int8_isa)),
      dnnl_(std::make_unique<DnnlCache>()) {}

CpuModel::~CpuModel() = default;

// The defaults of these compose operations that are fused already.
bool CpuModel::fuses(OpKind op) const {
  return op != OpKind::joint_qkv && op != OpKind::joint_finish && op != OpKind::upsample_conv2d &&
         op != OpKind::conv2d_add;
}

DType CpuModel::output_type(OpKind op, DType operand) const {
  const bool copies = op == OpKind::concat_rows || op == OpKind::slice_channels || op == OpKind::gather_rows;
  return copies ? operand : DType::f32;
}

WeightForm CpuModel::form(const Weight& weight) const {
  if (weight.shape.rank() == 4) return WeightForm::convolution;
  if (weight.embedding) return WeightForm::table;
  const LowBit kind = weight.low_bit.kind;
  if (!weight.sensitive && integers_can_multiply(weight.in_features())) {
    if (kind == LowBit::w8a8 && options_.stored_integers) return WeightForm::w8;
    if (kind == LowBit::w4a8 && options_.stored_integers) return WeightForm::w4;
    if (kind == LowBit::none && options_.precision == Precision::w8a8) return WeightForm::w8;
    if (kind == LowBit::none && options_.precision == Precision::w4a8) return WeightForm::w4;
  }
  if (kind != LowBit::none || is_block_quantized(weight.stored))
    return weight.sensitive ? WeightForm::dots : WeightForm::panels;
  if (options_.precision == Precision::f32) return WeightForm::f32;
  if (bf16_compute_) return WeightForm::bf16;
  return weight.stored == DType::f32 ? WeightForm::f32 : WeightForm::panels;
}

int64_t CpuModel::rotation(const Weight& weight) const {
  return weight.low_bit.kind == LowBit::none ? default_rotation(weight.in_features()) : weight.low_bit.rotation;
}

RoundedRows CpuModel::rounded_rows(const Weight& weight, int64_t rows) const {
  return {rows, weight.in_features(), kernels::int8_kernels(int8_isa_).chunk};
}

int64_t CpuModel::prepared_bytes(const Weight& weight) const {
  const WeightForm form = this->form(weight);
  switch (form) {
    case WeightForm::f32: return weight.stored == DType::f32 ? 0 : weight.shape.elements() * 4;
    case WeightForm::bf16: return weight.stored == DType::bf16 ? 0 : weight.shape.elements() * 2;
    case WeightForm::w8:
    case WeightForm::w4: return integer_matrix(weight, form).bytes;
    case WeightForm::convolution: {
      const Shape& s = weight.shape;
      return static_cast<int64_t>(dnnl_->convolution_weights(s[0], s[1], s[2], s[3]).get_size());
    }
    case WeightForm::panels:
    case WeightForm::dots:
    case WeightForm::table: return 0;
  }
  return 0;
}

int64_t CpuModel::prepare_workspace_bytes(const Weight& weight) const {
  switch (form(weight)) {
    case WeightForm::convolution: return weight.stored == DType::f32 ? 0 : weight.shape.elements() * 4;
    case WeightForm::bf16:  // a row per thread, on its way from the stored type
      return weight.stored == DType::bf16 ? 0 : thread_count() * aligned(weight.in_features() * 4);
    case WeightForm::w8:
    case WeightForm::w4:
      return weight.low_bit.kind == LowBit::none ? thread_count() * pack_scratch_bytes(weight.in_features()) : 0;
    default: return 0;
  }
}

LinearPlan CpuModel::linear_plan(const Weight& weight, int64_t rows, int activation) const {
  const int64_t in = weight.in_features(), out = weight.out_features();
  LinearPlan plan{.form = form(weight), .panel_rows = out, .rows = rows};
  if (plan.form == WeightForm::convolution || plan.form == WeightForm::table)
    throw RuntimeError("linear: got weight '{}' {} made for another operation, expected [out, in]", weight.name,
                       weight.shape.str());
  if (plan.form == WeightForm::w8 || plan.form == WeightForm::w4) {
    if (rows == 0) return plan;
    plan.x_bytes = rounded_rows(weight, rows).bytes;
    const int64_t multiply = multiply_scratch_bytes(rows, integer_matrix(weight, plan.form));
    plan.panel_bytes = thread_count() * std::max(round_scratch_bytes(in), multiply);
    return plan;
  }
  if (plan.form == WeightForm::dots) {
    plan.panel_rows = kernels::kDotRows;
    plan.panel_bytes = thread_count() * aligned(plan.panel_rows * in * 4);
    return plan;
  }
  plan.bf16 = bf16_compute_;
  if (plan.bf16 && rows == 1) plan.rows = 2;
  if (plan.bf16) plan.x_bytes = aligned(plan.rows * in * 2);
  if (plan.form == WeightForm::panels) {
    const int64_t fitting = kPanelElements / in / 64 * 64;
    plan.panel_rows = std::min(out, std::max<int64_t>(64, fitting));
    plan.panel_bytes = aligned(plan.panel_rows * in * (plan.bf16 ? 2 : 4));
    // In bfloat16 a row per thread of floats, on its way from the blocks.
    if (plan.bf16) plan.panel_bytes += thread_count() * aligned(in * 4);
  }
  if (plan.rows != rows) plan.y_bytes = aligned(plan.rows * plan.panel_rows * 4);
  if (rows == 0) return plan;
  for (const int64_t n : {plan.panel_rows, out % plan.panel_rows}) {
    if (n == 0) continue;
    const MatmulKey key{plan.rows, in, n, plan.rows == rows ? out : n, plan.bf16, weight.has_bias, activation};
    plan.scratch_bytes = std::max(plan.scratch_bytes, aligned(dnnl_->matmul(key)->scratch_bytes));
  }
  return plan;
}

ProductFormats CpuModel::formats(const OpCall& call) const {
  const bool convolves = call.kind == OpKind::conv2d || call.kind == OpKind::upsample_conv2d;
  if (convolves || call.weights[0] == nullptr) return {};  // attention
  const WeightForm form = this->form(*call.weights[0]);
  NumberFormat f = bf16_compute_ ? NumberFormat::bf16 : NumberFormat::f32;
  if (form == WeightForm::w8 || form == WeightForm::w4) f = NumberFormat::int8;
  if (form == WeightForm::dots) f = NumberFormat::f32;
  return {f, f};
}

int64_t CpuModel::workspace_bytes(const OpCall& call) const {
  switch (call.kind) {
    case OpKind::linear:
    case OpKind::linear_add:
    case OpKind::linear_gated_add: return linear_plan(*call.weights[0], call.rows).total();
    case OpKind::linear_act: return linear_plan(*call.weights[0], call.rows, static_cast<int>(call.activation)).total();
    case OpKind::swiglu: {  // the second projection beside the first, which is the result
      const int64_t up = aligned(call.rows * call.weights[1]->out_features() * 4);
      return up + std::max(linear_plan(*call.weights[0], call.rows).total(),
                           linear_plan(*call.weights[1], call.rows).total());
    }
    case OpKind::qkv: {
      int64_t most = 0;
      for (const Weight* w : call.weights)
        if (w != nullptr) most = std::max(most, linear_plan(*w, call.rows).total());
      return most;
    }
    case OpKind::conv2d: {
      const Shape& w = call.weights[0]->shape;
      const ConvSpec& c = call.conv;
      return dnnl_
          ->convolution({call.map[0], call.map[1], w[1], w[0], w[2], w[3], c.stride, c.pad_top, c.pad_left,
                         c.pad_bottom, c.pad_right, call.weights[0]->has_bias})
          ->scratch_bytes;
    }
    case OpKind::attention:
    case OpKind::joint_attention: {
      if (call.longest == 0) return 0;
      const int64_t block = kernels::attention_query_block(call.head_dim, call.longest);
      return thread_count() * aligned(kernels::attention_scratch_floats(call.head_dim, block) * 4);
    }
    default: return 0;
  }
}

}  // namespace inkling
