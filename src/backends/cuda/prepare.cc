// Weights: from the form of the file to the one that the kernels read, on the device.
#include <cstring>

#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/cuda_weight.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/kernels/unpack.h"
#include "backends/cuda/space.h"
#include "base/error.h"
#include "formats/block_quant.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"

namespace inkling {

using cuda::check;
using cuda::Elem;

namespace {

void copy_in(void* to, const void* from, int64_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream), "weight");
}

// The layer's own spread, so that random networks stay finite.
float random_std(const Weight& w) {
  const int64_t inputs = w.shape.elements() / std::max<int64_t>(1, w.shape[0]);
  return 1.f / std::sqrt(static_cast<float>(inputs));
}

}  // namespace

const CudaWeight& prepared_on_device(std::string_view op, const Weight& weight) {
  const auto* w = dynamic_cast<const CudaWeight*>(weight.prepared.get());
  if (w == nullptr)
    throw RuntimeError("{}: got weight '{}' as loaded, expected one prepared for the GPU", op, weight.name);
  if (w->base == nullptr && w->form != CudaForm::table)
    throw RuntimeError("{}: got weight '{}' that is stowed in host memory", op, weight.name);
  return *w;
}

void CudaOps::prepare(Weight& weight) {
  if (dynamic_cast<const CudaWeight*>(weight.prepared.get()) != nullptr) return;
  const bool missing = !weight.value.defined() || weight.value.raw() == nullptr;
  if (missing && !fill_missing_)
    throw RuntimeError("prepare: got weight '{}' without a value, expected a loaded one", weight.name);
  if (!missing && weight.low_bit.kind == LowBit::none) {
    if (weight.value.elements() != weight.shape.elements())
      throw RuntimeError("prepare: got value {} for weight '{}', expected {}", weight.value.shape().str(), weight.name,
                         weight.shape.str());
    weight.stored = weight.value.dtype();
  }
  auto w = std::make_shared<CudaWeight>();
  w->form = model_.form(weight);
  w->type = weight.stored;
  if (w->form == CudaForm::table) {
    w->host = weight.value;
    weight.prepared = std::move(w);
    return;
  }
  if (w->form != CudaForm::convolution) w->operand = model_.operand(weight);
  w->parts = model_.parts(weight);
  w->memory = context_->arena().allocate_lasting(w->parts.total);
  w->base = w->memory->data();
  if (missing)
    fill_random(weight, *w);
  else if (w->form == CudaForm::convolution)
    prepare_convolution(weight, *w);
  else
    prepare_matrix(weight, *w);
  if (weight.has_bias) {
    if (weight.shape[0] % 8 != 0)
      check(cudaMemsetAsync(w->at<std::byte>(w->parts.bias), 0, w->parts.bias.bytes, context_->lane()), "weight");
    if (missing) {
      cuda::random_rows(next_seed_++, 0.02f, weight.shape[0], w->at<float>(w->parts.bias), Elem::f32, context_->lane());
    } else {
      copy_in(w->at<float>(w->parts.bias), weight.bias.data<float>(), weight.shape[0] * 4, context_->lane());
    }
    const int64_t length = CudaModel::padded(weight.shape[0]);
    if (w->parts.bias16.bytes > 0)
      cuda::convert_rows(w->at<float>(w->parts.bias), Elem::f32, length, 1, length, cuda::Act::none,
                         {w->at<std::byte>(w->parts.bias16), Elem::bf16}, context_->lane());
  }
  // The host's copy may go away now: nothing of it may still be on its way.
  synchronize();
  weight.value = Tensor();
  weight.bias = Tensor();
  weight.low_bit.scale = weight.low_bit.group_scale = Tensor();
  weight.prepared = std::move(w);
}

void CudaOps::prepare_convolution(const Weight& weight, CudaWeight& w) {
  const auto space = context_->arena().allocate(model_.prepare_workspace_bytes(weight));
  const Tensor dense = dequantize(weight.value);
  copy_in(space->data(), dense.raw(), dense.bytes(), context_->lane());
  cuda::pack_conv(reinterpret_cast<const float*>(space->data()), packing_shape(weight), w.at<std::byte>(w.parts.codes),
                  context_->lane());
  synchronize();
}

void CudaOps::prepare_matrix(const Weight& weight, CudaWeight& w) {
  const cudaStream_t stream = context_->lane();
  const int64_t n = weight.out_features(), k = weight.in_features();
  const LowBit kind = weight.low_bit.kind;
  const std::byte* source = weight.value.raw();
  auto* codes = w.at<std::byte>(w.parts.codes);
  if (w.form == CudaForm::stored) {
    copy_in(codes, source, w.parts.codes.bytes, stream);
    return;
  }
  // Rows of bf16 into their padded place.
  const int64_t padded = CudaModel::padded(k);
  const auto place_rows = [&](int64_t row, const void* from, int64_t rows, cudaMemcpyKind direction) {
    check(cudaMemcpy2DAsync(codes + row * padded * 2, padded * 2, from, k * 2, k * 2, rows, direction, stream),
          "weight");
  };
  if (w.form == CudaForm::bf16) {
    if (w.parts.codes.bytes != n * k * 2) check(cudaMemsetAsync(codes, 0, w.parts.codes.bytes, stream), "weight");
    if (kind == LowBit::none && weight.stored == DType::bf16) {
      place_rows(0, source, n, cudaMemcpyHostToDevice);
      return;
    }
  }
  if (w.form == CudaForm::nf4) {
    copy_in(codes, source, w.parts.codes.bytes, stream);
    copy_in(w.at<float>(w.parts.scale), weight.low_bit.scale.raw(), w.parts.scale.bytes, stream);
    return;
  }
  const int64_t bytes = model_.prepare_workspace_bytes(weight);
  const auto memory = context_->arena().allocate(bytes);
  Space space(memory->data(), bytes);
  int8_t* q8 = w.form == CudaForm::w8 ? space.take<int8_t>(n * k) : nullptr;
  uint8_t* q4 = w.form == CudaForm::w4 ? space.take<uint8_t>(n * k / 2) : nullptr;
  uint8_t* groups = w.form == CudaForm::w4 ? space.take<uint8_t>(n * k / kInt4Group) : nullptr;
  auto* scale = w.at<float>(w.parts.scale);
  if ((w.form == CudaForm::w8 && kind == LowBit::w8a8) || (w.form == CudaForm::w4 && kind == LowBit::w4a8)) {
    copy_in(q8 != nullptr ? static_cast<void*>(q8) : q4, source, w.parts.codes.bytes, stream);
    copy_in(scale, weight.low_bit.scale.raw(), n * 4, stream);
    if (q4 != nullptr) copy_in(groups, weight.low_bit.group_scale.raw(), n * k / kInt4Group, stream);
  } else {
    const int64_t rows = CudaModel::prepare_rows(weight);
    const int64_t stride = kind == LowBit::none ? row_bytes(weight.stored, k) : k * 4;
    const Tensor dense = kind == LowBit::none ? Tensor() : dense_value(weight.shape, weight.value, weight.low_bit);
    if (dense.defined()) source = dense.raw();
    auto* staged = space.take<std::byte>(rows * stride);
    auto* f32 = space.take<float>(rows * k * 4);
    auto* bf16 = w.form == CudaForm::bf16 ? space.take<std::byte>(rows * k * 2) : nullptr;
    for (int64_t r = 0; r < n; r += rows) {
      const int64_t m = std::min(rows, n - r);
      copy_in(staged, source + r * stride, m * stride, stream);
      const DType type = kind == LowBit::none ? weight.stored : DType::f32;
      cuda::unpack_rows(type, staged, m, k, f32, Elem::f32, stream);
      switch (w.form) {
        case CudaForm::bf16:
          cuda::convert_rows(f32, Elem::f32, k, m, k, cuda::Act::none, {bf16, Elem::bf16}, stream);
          place_rows(r, bf16, m, cudaMemcpyDeviceToDevice);
          break;
        case CudaForm::e4m3:
          cuda::convert_rows(f32, Elem::f32, k, m, k, cuda::Act::none, {codes + r * k, Elem::e4m3, scale + r}, stream);
          break;
        case CudaForm::w8:
          cuda::quantize_w8(f32, Elem::f32, m, k, w.operand.rotation, q8 + r * k, scale + r, stream);
          break;
        default:
          cuda::quantize_w4(f32, Elem::f32, m, k, w.operand.rotation, q4 + r * k / 2, groups + r * k / kInt4Group,
                            scale + r, stream);
      }
      synchronize();  // the staging area is written again
    }
  }
  if (w.form == CudaForm::w8) cuda::pack_w8(q8, n, k, reinterpret_cast<int8_t*>(codes), stream);
  if (w.form == CudaForm::w4)
    cuda::pack_w4(q4, groups, n, k, reinterpret_cast<uint8_t*>(codes), w.at<uint8_t>(w.parts.group_scale), stream);
  synchronize();
}

// Random numbers of the right spread, through the same rounding as a loaded weight.
void CudaOps::fill_random(Weight& weight, CudaWeight& w) {
  const cudaStream_t stream = context_->lane();
  const float std = random_std(weight);
  auto* codes = w.at<std::byte>(w.parts.codes);
  if (w.form == CudaForm::bf16) {
    cuda::random_rows(next_seed_++, std, w.parts.codes.bytes / 2, codes, Elem::bf16, stream);
    return;
  }
  if (w.form == CudaForm::stored || w.form == CudaForm::nf4)
    throw RuntimeError("prepare: weight '{}' has no value; random weights are made for bf16, fp8, w8a8 and w4a8",
                       weight.name);
  const int64_t elements = weight.shape.elements();
  const auto memory = context_->arena().allocate(elements * 4 + elements + elements / kInt4Group + 4096);
  Space space(memory->data(), memory->bytes());
  auto* f32 = space.take<float>(elements * 4);
  cuda::random_rows(next_seed_++, std, elements, f32, Elem::f32, stream);
  const int64_t n = weight.shape[0], k = elements / n;
  auto* scale = w.at<float>(w.parts.scale);
  auto* q = space.take<uint8_t>(elements);
  auto* groups = space.take<uint8_t>(elements / kInt4Group);
  switch (w.form) {
    case CudaForm::convolution: cuda::pack_conv(f32, packing_shape(weight), codes, stream); break;
    case CudaForm::e4m3:
      cuda::convert_rows(f32, Elem::f32, k, n, k, cuda::Act::none, {codes, Elem::e4m3, scale}, stream);
      break;
    case CudaForm::w8:
      cuda::quantize_w8(f32, Elem::f32, n, k, w.operand.rotation, reinterpret_cast<int8_t*>(q), scale, stream);
      cuda::pack_w8(reinterpret_cast<int8_t*>(q), n, k, reinterpret_cast<int8_t*>(codes), stream);
      break;
    default:
      cuda::quantize_w4(f32, Elem::f32, n, k, w.operand.rotation, q, groups, scale, stream);
      cuda::pack_w4(q, groups, n, k, reinterpret_cast<uint8_t*>(codes), w.at<uint8_t>(w.parts.group_scale), stream);
  }
  synchronize();
}

}  // namespace inkling
