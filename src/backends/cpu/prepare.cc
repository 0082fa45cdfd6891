// Weights: from the form of the file to the one that the kernels read.
#include <array>
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/prepared_weight.h"
#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "formats/int_quant.h"

namespace inkling {

namespace {

// 8-bit floats have 256 values: a table made by the tensor library's own conversion.
const float* f8_values(DType type) {
  static const auto make = [](DType t) {
    Tensor codes = host_tensor(Shape{256}, t);
    for (int i = 0; i < 256; ++i) codes.raw()[i] = static_cast<std::byte>(i);
    std::array<float, 256> values{};
    std::memcpy(values.data(), to_f32(codes).raw(), sizeof(values));
    return values;
  };
  static const std::array<float, 256> e4m3 = make(DType::f8_e4m3), e5m2 = make(DType::f8_e5m2);
  return type == DType::f8_e4m3 ? e4m3.data() : e5m2.data();
}

bool convertible(DType type) {
  return type == DType::f32 || type == DType::f8_e4m3 || type == DType::f8_e5m2 || can_dequantize(type);
}

// Typed access needs the element's alignment, which a hand-made file may not give.
bool usable_in_place(const Tensor& value) {
  const int64_t size = info(value.dtype()).block_bytes;
  return is_block_quantized(value.dtype()) || reinterpret_cast<uintptr_t>(value.raw()) % size == 0;
}

// What low-bit parts must hold for a matrix [n, k]; codes as bytes.
void check_low_bit(const Weight& weight) {
  const LowBitParts& parts = weight.low_bit;
  const int64_t n = weight.shape[0], elements = weight.shape.elements(), k = elements / std::max<int64_t>(1, n);
  const bool bytes = parts.kind == LowBit::w8a8, grouped = parts.kind == LowBit::w4a8;
  const auto holds = [](const Tensor& t, bool typed, int64_t count) {
    return t.defined() && t.raw() != nullptr && typed && t.elements() == count;
  };
  const bool codes = holds(weight.value, weight.value.dtype() == (bytes ? DType::i8 : DType::u8),
                           bytes ? elements : (elements + 1) / 2);
  const int64_t scales = parts.kind == LowBit::nf4 ? (elements + kNf4Block - 1) / kNf4Block : n;
  if (!codes || !holds(parts.scale, parts.scale.dtype() == DType::f32, scales) ||
      (grouped && (k % kInt4Group != 0 ||
                   !holds(parts.group_scale, parts.group_scale.dtype() == DType::u8, n * k / kInt4Group))) ||
      (parts.rotation != 0 && k % parts.rotation != 0))
    throw ModelError(
        "prepare: got codes {} {} of the low-bit weight '{}' {} with rotation {}, expected codes and scales "
        "that fit its shape",
        name(weight.value.dtype()), weight.value.shape().str(), weight.name, weight.shape.str(), parts.rotation);
}

}  // namespace

void StoredRows::read(int64_t row, float* out) const {
  if (low_bit == nullptr) return convert_to_f32(type, data + row * row_bytes(type, columns), out, columns);
  const auto* codes = reinterpret_cast<const uint8_t*>(data);
  const auto* scale = low_bit->scale.data<float>();
  switch (low_bit->kind) {
    case LowBit::nf4: return dequantize_nf4(codes, scale, row * columns, columns, out);
    case LowBit::w4a8:
      dequantize_row_i4(codes + row * columns / 2, low_bit->group_scale.data<uint8_t>() + row * (columns / kInt4Group),
                        scale[row], columns, out);
      break;
    case LowBit::w8a8:
    case LowBit::none:
      dequantize_row_i8(reinterpret_cast<const int8_t*>(data) + row * columns, scale[row], columns, out);
  }
  rotate_row(out, columns, low_bit->rotation);  // its own inverse
}

void convert_to_f32(DType type, const std::byte* src, float* dst, int64_t elements) {
  if (type == DType::f32) {
    std::memcpy(dst, src, static_cast<size_t>(elements) * sizeof(float));
  } else if (type == DType::f8_e4m3 || type == DType::f8_e5m2) {
    const float* values = f8_values(type);
    for (int64_t i = 0; i < elements; ++i) dst[i] = values[static_cast<uint8_t>(src[i])];
  } else {
    dequantize_row(type, src, dst, elements);
  }
}

const CpuWeight& prepared(std::string_view op, const Weight& weight) {
  const auto* w = dynamic_cast<const CpuWeight*>(weight.prepared.get());
  if (w == nullptr)
    throw RuntimeError("{}: got weight '{}' as loaded, expected one prepared for the CPU", op, weight.name);
  return *w;
}

void CpuOps::prepare(Weight& weight) {
  if (dynamic_cast<const CpuWeight*>(weight.prepared.get()) != nullptr) return;
  const Tensor& value = weight.value;
  if (!value.defined() || value.raw() == nullptr)
    throw RuntimeError("prepare: got weight '{}' without a value, expected a loaded one", weight.name);
  const bool low_bit = weight.low_bit.kind != LowBit::none;
  if (low_bit)
    check_low_bit(weight);
  else if (value.elements() != weight.shape.elements())
    throw RuntimeError("prepare: got value {} for weight '{}', expected {}", value.shape().str(), weight.name,
                       weight.shape.str());
  if (weight.has_bias &&
      (!weight.bias.defined() || weight.bias.dtype() != DType::f32 || weight.bias.elements() != weight.out_features()))
    throw RuntimeError("prepare: got no f32 bias of weight '{}', expected {} values", weight.name,
                       weight.out_features());
  weight.stored = value.dtype();
  if (!low_bit && !convertible(weight.stored))
    throw ModelError("prepare: got weight '{}' stored as {}, expected a type that can be dequantized", weight.name,
                     name(weight.stored));

  auto result = std::make_shared<CpuWeight>();
  result->form = model_.form(weight);
  result->type = weight.stored;
  if (low_bit && (result->form == WeightForm::convolution || result->form == WeightForm::table))
    throw ModelError("prepare: got low-bit weight '{}' for a convolution or a table, expected a matrix", weight.name);
  result->low_bit = weight.low_bit;
  switch (result->form) {
    case WeightForm::convolution: prepare_convolution(weight, *result); break;
    case WeightForm::w8:
    case WeightForm::w4: prepare_integers(weight, *result); break;
    default: prepare_matrix(weight, *result);
  }
  weight.prepared = std::move(result);
}

void CpuOps::prepare_convolution(Weight& weight, CpuWeight& result) {
  const Shape& s = weight.shape;
  const auto desc = model_.dnnl().convolution_weights(s[0], s[1], s[2], s[3]);
  result.owned = static_cast<int64_t>(desc.get_size());
  result.type = DType::f32;
  result.data = allocate(Shape{result.owned}, DType::u8);
  const bool in_place = weight.stored == DType::f32 && usable_in_place(weight.value);
  const auto plain = workspace(in_place ? 0 : s.elements() * 4);
  const float* source = reinterpret_cast<const float*>(weight.value.raw());
  if (!in_place) {
    convert_to_f32(weight.stored, weight.value.raw(), reinterpret_cast<float*>(plain->data()), s.elements());
    source = reinterpret_cast<const float*>(plain->data());
  }
  model_.dnnl().reorder_convolution_weights(source, desc, result.data.raw(), s);
  weight.value = Tensor();
}

void CpuOps::prepare_integers(Weight& weight, CpuWeight& result) {
  const IntegerMatrix layout(result.form == WeightForm::w4, weight.out_features(), weight.in_features());
  result.data = allocate(Shape{layout.bytes}, DType::u8);
  result.owned = layout.bytes;
  if (weight.low_bit.kind == LowBit::none) {
    const auto scratch = workspace(model_.prepare_workspace_bytes(weight));
    const StoredRows source{weight.stored, weight.value.raw(), weight.in_features(), nullptr};
    pack_rounded(source, model_.rotation(weight), layout, result.data.raw(), scratch->data());
  } else {
    pack_stored(weight.value, weight.low_bit, layout, result.data.raw());
  }
  weight.value = Tensor();
  for (LowBitParts* parts : {&weight.low_bit, &result.low_bit}) parts->scale = parts->group_scale = Tensor();
}

void CpuOps::prepare_matrix(Weight& weight, CpuWeight& result) {
  const WeightForm form = result.form;
  const bool converts = (form == WeightForm::f32 && weight.stored != DType::f32) ||
                        (form == WeightForm::bf16 && weight.stored != DType::bf16);
  if (!converts && usable_in_place(weight.value)) {
    result.data = weight.value;
    return;
  }
  const int64_t rows = weight.shape[0], columns = weight.shape[1];
  const int64_t stride = row_bytes(weight.stored, columns);
  const DType type = !converts ? weight.stored : form == WeightForm::f32 ? DType::f32 : DType::bf16;
  result.type = type;
  result.data = allocate(weight.shape, type);
  result.owned = result.data.bytes();
  const std::byte* source = weight.value.raw();
  if (!converts) {
    std::memcpy(result.data.raw(), source, static_cast<size_t>(result.owned));
  } else if (type == DType::f32) {
    float* out = reinterpret_cast<float*>(result.data.raw());
    parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        convert_to_f32(weight.stored, source + r * stride, out + r * columns, columns);
    });
  } else {
    const auto scratch = workspace(model_.prepare_workspace_bytes(weight));
    rows_to_bf16({weight.stored, source, columns, nullptr}, 0, rows, reinterpret_cast<uint16_t*>(result.data.raw()),
                 scratch->data());
  }
  weight.value = Tensor();
}

}  // namespace inkling
