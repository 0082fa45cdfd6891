// Weights: from the form of the file to the one that the kernels read.
#include <array>
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/prepared_weight.h"
#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"

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

}  // namespace

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
  if (value.elements() != weight.shape.elements())
    throw RuntimeError("prepare: got value {} for weight '{}', expected {}", value.shape().str(), weight.name,
                       weight.shape.str());
  if (weight.has_bias &&
      (!weight.bias.defined() || weight.bias.dtype() != DType::f32 || weight.bias.elements() != weight.out_features()))
    throw RuntimeError("prepare: got no f32 bias of weight '{}', expected {} values", weight.name,
                       weight.out_features());
  weight.stored = value.dtype();
  if (!convertible(weight.stored))
    throw ModelError("prepare: got weight '{}' stored as {}, expected a type that can be dequantized", weight.name,
                     name(weight.stored));

  auto result = std::make_shared<CpuWeight>();
  result->form = model_.form(weight);
  result->type = weight.stored;
  if (result->form == WeightForm::convolution)
    prepare_convolution(weight, *result);
  else
    prepare_matrix(weight, *result);
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
    rows_to_bf16(weight.stored, source, rows, columns, reinterpret_cast<uint16_t*>(result.data.raw()), scratch->data());
  }
  weight.value = Tensor();
}

}  // namespace inkling
