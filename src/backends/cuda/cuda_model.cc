#include "backends/cuda/cuda_model.h"

#include <algorithm>

#include "backends/cuda/kernels/conv.h"
#include "base/error.h"
#include "formats/int_quant.h"

namespace inkling {

using cuda::Elem;

namespace {

// Rows of f32 that prepare() works on at a time take about this much.
constexpr int64_t kPrepareBytes = int64_t{32} << 20;

bool is_hopper_library(const cuda::Device& d) {
#ifdef INKLING_CUBLASLT
  return d.sm >= 90 && d.sm < 100;
#else
  (void)d;
  return false;
#endif
}

int64_t aligned(int64_t bytes) { return (bytes + Layout::kAlignment - 1) / Layout::kAlignment * Layout::kAlignment; }

}  // namespace

cuda::ConvShape packing_shape(const Weight& w) {
  if (w.shape[2] != w.shape[3])
    throw RuntimeError("conv2d: got weight '{}' {}, expected a square kernel", w.name, w.shape.str());
  cuda::ConvShape s;
  s.h = s.w = 16;
  s.cout = w.shape[0];
  s.cin = w.shape[1];
  s.kernel = w.shape[2];
  s.upsample = w.doubled_input;
  // The four small kernels of a doubled map depend on its padding, which is that of a convolution of equal size.
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = s.kernel / 2;
  return s;
}

CudaModel::CudaModel(CudaOptions options, const cuda::Device& device) : options_(options), device_(device) {
  if (options_.precision == CudaPrecision::fp8 && !(options_.libraries && is_hopper_library(device_)))
    throw ArgumentError(
        "precision fp8 needs a Hopper GPU, a build that found cublasLt, and a budget of 24 GiB or more; use w8a8, "
        "which is as exact, or w4a8");
}

bool CudaModel::fuses(OpKind) const { return true; }

DType CudaModel::output_type(OpKind op, DType operand) const {
  switch (op) {
    case OpKind::linear:
    case OpKind::linear_add:
    case OpKind::linear_gated_add:
    case OpKind::joint_finish:
    case OpKind::embedding:
    case OpKind::rms_norm:
    case OpKind::layer_norm:
    case OpKind::modulated_norm:
    case OpKind::guide: return DType::f32;
    case OpKind::linear_act:
    case OpKind::swiglu:
    case OpKind::qkv:
    case OpKind::joint_qkv:
    case OpKind::head_norm_rope:
    case OpKind::attention:
    case OpKind::joint_attention:
    case OpKind::conv2d:
    case OpKind::conv2d_add:
    case OpKind::upsample_conv2d: return DType::bf16;
    default: return operand;
  }
}

CudaForm CudaModel::form(const Weight& w) const {
  if (w.shape.rank() == 4) return CudaForm::convolution;
  if (w.embedding) return CudaForm::table;
  const int64_t n = w.out_features(), k = w.in_features();
  if (n % 8 != 0 || k % 8 != 0) return CudaForm::bf16;
  const bool plain = w.low_bit.kind == LowBit::none;
  if (!w.sensitive && k % 64 == 0 && n % 16 == 0) {  // as gemm.h wants for integers
    if (w.low_bit.kind == LowBit::w8a8) return CudaForm::w8;
    if (w.low_bit.kind == LowBit::w4a8) return CudaForm::w4;
    if (options_.precision == CudaPrecision::w8a8) return CudaForm::w8;
    if (options_.precision == CudaPrecision::w4a8) return CudaForm::w4;
    if (options_.precision == CudaPrecision::fp8) return CudaForm::e4m3;
  }
  if (options_.precision == CudaPrecision::bf16) return CudaForm::bf16;
  if (w.low_bit.kind == LowBit::nf4) return CudaForm::nf4;
  return plain && is_block_quantized(w.stored) ? CudaForm::stored : CudaForm::bf16;
}

int64_t CudaModel::rotation(const Weight& w) const {
  const CudaForm f = form(w);
  if (f != CudaForm::w8 && f != CudaForm::w4) return 0;
  // Codes of the file are used as they are; everything else is rounded here.
  const bool as_is =
      (f == CudaForm::w8 && w.low_bit.kind == LowBit::w8a8) || (f == CudaForm::w4 && w.low_bit.kind == LowBit::w4a8);
  return as_is ? w.low_bit.rotation : default_rotation(w.in_features());
}

WeightParts CudaModel::parts(const Weight& w) const {
  WeightParts p;
  const CudaForm f = form(w);
  if (f == CudaForm::table) return p;
  Layout layout;
  const auto part = [&](int64_t bytes) { return WeightParts::Part{bytes > 0 ? layout.add(bytes) : 0, bytes}; };
  const int64_t n = w.shape[0], elements = w.shape.elements();
  switch (f) {
    case CudaForm::bf16: p.codes = part(padded(n) * padded(w.in_features()) * 2); break;
    case CudaForm::e4m3:
      p.codes = part(elements);
      p.scale = part(n * 4);
      break;
    case CudaForm::w8:
      p.codes = part(elements);
      p.scale = part(n * 4);
      break;
    case CudaForm::w4:
      p.codes = part(elements / 2);
      p.group_scale = part(elements / kInt4Group);
      p.scale = part(n * 4);
      break;
    case CudaForm::stored: p.codes = part(n * row_bytes(w.stored, w.in_features())); break;
    case CudaForm::nf4:
      p.codes = part(elements / 2);
      p.scale = part(elements / 64 * 4);
      break;
    case CudaForm::convolution: p.codes = part(cuda::conv_packed_bytes(packing_shape(w))); break;
    case CudaForm::table: break;
  }
  if (w.has_bias) {
    p.bias = part(padded(n) * 4);
    if (uses_cublas(f)) p.bias16 = part(padded(n) * 2);
  }
  p.total = layout.total();
  return p;
}

int64_t CudaModel::prepared_bytes(const Weight& weight) const { return parts(weight).total; }

int64_t CudaModel::prepare_rows(const Weight& w) {
  const int64_t fitting = kPrepareBytes / (w.in_features() * 4) / 256 * 256;
  return std::min(w.out_features(), std::max<int64_t>(256, fitting));
}

int64_t CudaModel::prepare_workspace_bytes(const Weight& w) const {
  const CudaForm f = form(w);
  if (f == CudaForm::table || f == CudaForm::stored || f == CudaForm::nf4) return 0;
  if (f == CudaForm::convolution) return aligned(w.shape.elements() * 4);
  const int64_t n = w.out_features(), k = w.in_features(), rows = prepare_rows(w);
  const LowBit kind = w.low_bit.kind;
  Layout layout;
  const bool codes_given = (f == CudaForm::w8 && kind == LowBit::w8a8) || (f == CudaForm::w4 && kind == LowBit::w4a8);
  if (f == CudaForm::w8) layout.add(n * k);
  if (f == CudaForm::w4) {
    layout.add(n * k / 2);
    layout.add(n * k / kInt4Group);
  }
  if (codes_given) return layout.total();
  if (f == CudaForm::bf16 && kind == LowBit::none && w.stored == DType::bf16) return 0;
  layout.add(kind == LowBit::none ? rows * row_bytes(w.stored, k) : rows * k * 4);  // as stored, or made dense
  layout.add(rows * k * 4);
  if (f == CudaForm::bf16) layout.add(rows * k * 2);
  return layout.total();
}

OperandKey CudaModel::operand(const Weight& w) const {
  switch (form(w)) {
    case CudaForm::w8:
    case CudaForm::w4: return {Elem::i8, rotation(w)};
    case CudaForm::e4m3: return {Elem::e4m3, 0};
    case CudaForm::convolution:
    case CudaForm::table:
      throw RuntimeError("linear: got weight '{}' {} made for another operation, expected [out, in]", w.name,
                         w.shape.str());
    default: return {};
  }
}

bool CudaModel::uses_cublas(CudaForm f) const {
  return options_.libraries && is_hopper_library(device_) &&
         (f == CudaForm::bf16 || f == CudaForm::e4m3 || f == CudaForm::stored || f == CudaForm::nf4);
}

int64_t CudaModel::operand_bytes(const OperandKey& key, DType x, int64_t rows, int64_t columns) const {
  if (key.type == Elem::bf16)
    return (x == DType::bf16 ? 0 : aligned(rows * columns * 2)) +
           (columns % 8 == 0 ? 0 : aligned(rows * padded(columns) * 2));
  return aligned(rows * columns) + aligned(rows * 4) + (key.type == Elem::i8 ? aligned(rows * 4) : 0);
}

int64_t CudaModel::product_bytes(const Weight& w, int64_t rows, End end) const {
  const CudaForm f = form(w);
  int64_t bytes = f == CudaForm::stored || f == CudaForm::nf4 ? aligned(w.shape.elements() * 2) : 0;
  if (uses_cublas(f) && (end == End::added || end == End::activated))
    bytes += aligned(rows * padded(w.out_features()) * 2);
  if (w.out_features() % 8 != 0) bytes += aligned(rows * padded(w.out_features()) * 4);
  return bytes;
}

std::vector<OperandKey> distinct_operands(const CudaModel& model, std::span<const Weight* const> weights) {
  std::vector<OperandKey> keys;
  for (const Weight* w : weights) {
    if (w == nullptr) continue;
    const OperandKey key = model.operand(*w);
    if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

cuda::AttentionShape attention_shape(int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, bool causal,
                                     const Segments& first, const Segments* second, std::vector<int32_t>& offsets) {
  cuda::AttentionShape s;
  s.heads = static_cast<int>(heads);
  s.kv_heads = static_cast<int>(kv_heads);
  s.head_dim = static_cast<int>(head_dim);
  s.scale = scale;
  s.causal = causal;
  s.sequences = static_cast<int>(first.count());
  offsets.clear();
  for (int64_t o : first.offsets) offsets.push_back(static_cast<int32_t>(o));
  for (int64_t i = 0; i <= first.count(); ++i)
    offsets.push_back(second != nullptr ? static_cast<int32_t>(second->offsets[i]) : 0);
  s.host_offsets = offsets.data();
  return s;
}

cuda::AttentionKernel CudaModel::attention_kernel(const cuda::AttentionShape& shape) const {
  using cuda::AttentionKernel;
  int64_t longest = 0;
  for (int i = 0; i < shape.sequences; ++i) longest = std::max(longest, shape.length(i));
  if (options_.libraries && longest >= 512 && cuda::attention_available(AttentionKernel::cudnn, shape))
    return AttentionKernel::cudnn;
  if (options_.int8_attention && longest >= 1024 && cuda::attention_available(AttentionKernel::int8, shape))
    return AttentionKernel::int8;
  return AttentionKernel::flash;
}

int64_t CudaModel::attention_bytes(const OpCall& c) const {
  std::vector<int32_t> offsets;
  const bool joint = c.kind == OpKind::joint_attention;
  const cuda::AttentionShape shape =
      joint ? attention_shape(c.heads, c.kv_heads, c.head_dim, 1, false, *c.text_segments, c.segments, offsets)
            : attention_shape(c.heads, c.kv_heads, c.head_dim, 1, c.causal, *c.segments, nullptr, offsets);
  const int64_t rows = c.rows + c.text_rows;
  Layout layout;
  if (c.operand != DType::bf16) {
    layout.add(rows * c.heads * c.head_dim * 2);
    layout.add(rows * c.kv_heads * c.head_dim * 2);
  }
  if (c.value_type != DType::bf16) layout.add(rows * c.kv_heads * c.head_dim * 2);
  layout.add(rows > 0 ? cuda::attention_workspace(attention_kernel(shape), shape) : 0);
  return layout.total();
}

int64_t CudaModel::joint_qkv_bytes(const OpCall& c) const {
  int64_t bytes = 0;
  for (int stream = 0; stream < 2; ++stream) {
    const std::span<const Weight* const> weights(c.weights.data() + stream * 3, 3);
    const int64_t rows = stream == 0 ? c.rows : c.text_rows;
    // Normalized rows always go through the workspace, so x's own type does not matter.
    for (const OperandKey& key : distinct_operands(*this, weights))
      bytes += operand_bytes(key, DType::f32, rows, weights[1]->in_features());
    for (const Weight* w : weights)
      if (w != nullptr) bytes += product_bytes(*w, rows, End::plain);
  }
  return bytes;
}

int64_t CudaModel::joint_finish_bytes(const OpCall& c) const {
  int64_t bytes = 0;
  for (int stream = 0; stream < 2; ++stream) {
    const Weight *out = c.weights[stream * 3], *in = c.weights[stream * 3 + 1], *down = c.weights[stream * 3 + 2];
    if (out == nullptr) continue;
    const int64_t rows = stream == 0 ? c.rows : c.text_rows, chunk = std::min(rows, kMlpRows);
    const int64_t first =
        operand_bytes(operand(*out), c.operand, rows, out->in_features()) + product_bytes(*out, rows, End::added);
    const int64_t mlp = operand_bytes(operand(*in), DType::f32, chunk, in->in_features()) +
                        aligned(chunk * in->out_features() * 2) + product_bytes(*in, chunk, end_of(c.activation)) +
                        operand_bytes(operand(*down), DType::bf16, chunk, down->in_features()) +
                        product_bytes(*down, chunk, End::added);
    bytes += std::max(first, mlp);
  }
  return bytes;
}

ProductFormats CudaModel::formats(const OpCall& c) const {
  constexpr NumberFormat kBf16 = NumberFormat::bf16;
  if (c.kind == OpKind::attention || c.kind == OpKind::joint_attention) {
    std::vector<int32_t> offsets;
    const bool joint = c.kind == OpKind::joint_attention;
    const cuda::AttentionShape shape =
        joint ? attention_shape(c.heads, c.kv_heads, c.head_dim, 1, false, *c.text_segments, c.segments, offsets)
              : attention_shape(c.heads, c.kv_heads, c.head_dim, 1, c.causal, *c.segments, nullptr, offsets);
    // Of f16 products there is no ceiling of their own: with f32 sums they are as fast as bf16.
    const bool int8 = attention_kernel(shape) == cuda::AttentionKernel::int8;
    return {int8 ? NumberFormat::int8 : kBf16, kBf16};
  }
  if (c.weights[0] == nullptr) return {kBf16, kBf16};
  const CudaForm f = form(*c.weights[0]);
  const NumberFormat format = f == CudaForm::w8 || f == CudaForm::w4 ? NumberFormat::int8
                              : f == CudaForm::e4m3                  ? NumberFormat::fp8
                                                                     : kBf16;
  return {format, format};
}

int64_t CudaModel::workspace_bytes(const OpCall& c) const {
  const auto one = [&](const Weight& w, End end) {
    return operand_bytes(operand(w), c.operand, c.rows, w.in_features()) + product_bytes(w, c.rows, end);
  };
  switch (c.kind) {
    case OpKind::linear: return one(*c.weights[0], End::plain);
    case OpKind::linear_act: return one(*c.weights[0], end_of(c.activation));
    case OpKind::linear_add:
    case OpKind::linear_gated_add: return one(*c.weights[0], End::added);
    case OpKind::swiglu: {
      const std::span<const Weight* const> weights(c.weights.data(), 2);
      int64_t bytes = aligned(c.rows * c.weights[1]->out_features() * 2);
      for (const OperandKey& key : distinct_operands(*this, weights))
        bytes += operand_bytes(key, c.operand, c.rows, c.weights[0]->in_features());
      return bytes + std::max(product_bytes(*c.weights[0], c.rows, End::plain),
                              product_bytes(*c.weights[1], c.rows, End::plain));
    }
    case OpKind::qkv: {
      const std::span<const Weight* const> weights(c.weights.data(), 3);
      int64_t bytes = 0;
      for (const OperandKey& key : distinct_operands(*this, weights))
        bytes += operand_bytes(key, c.operand, c.rows, c.weights[0]->in_features());
      for (const Weight* w : weights) bytes += product_bytes(*w, c.rows, End::plain);
      return bytes;
    }
    case OpKind::joint_qkv: return joint_qkv_bytes(c);
    case OpKind::joint_finish: return joint_finish_bytes(c);
    case OpKind::attention:
    case OpKind::joint_attention: return attention_bytes(c);
    case OpKind::embedding: return 0;
    default: return 0;
  }
}

}  // namespace inkling
