#include "models/quantized_layouts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "models/json.h"

namespace inkling {

namespace {

constexpr int64_t kDefaultRotation = 256;

bool strip_suffix(std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.resize(name.size() - suffix.size());
  return true;
}

int64_t blocks_of(int64_t elements, int64_t block) { return (elements + block - 1) / block; }

bool is_power_of(int64_t base, int64_t value) {
  while (value > 1 && value % base == 0) value /= base;
  return value == 1;
}

std::string text_of(const Tensor& bytes) {
  return {reinterpret_cast<const char*>(bytes.raw()), static_cast<size_t>(bytes.bytes())};
}

// One block times the Kronecker power of [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],[-1,1,1,1]] / 2, which is its own inverse.
void rotate(float* block, int64_t size) {
  for (int64_t stride = 1; stride < size; stride *= 4)
    for (int64_t start = 0; start < size; start += 4 * stride)
      for (int64_t i = start; i < start + stride; ++i) {
        float &a = block[i], &b = block[i + stride], &c = block[i + 2 * stride], &d = block[i + 3 * stride];
        const float w = a + b + c - d, x = a + b - c + d, y = a - b + c + d, z = b + c + d - a;
        a = 0.5f * w, b = 0.5f * x, c = 0.5f * y, d = 0.5f * z;
      }
}

Tensor load_scaled(const TensorFile& file, const QuantizedWeight& q) {
  const Tensor codes = file.load(*q.weight);
  const Tensor scales = to_f32(file.load(*q.scale));
  Tensor result = host_tensor(q.shape);
  const int64_t rows = q.shape[0], columns = q.shape.elements() / std::max<int64_t>(rows, 1);
  const bool per_row = scales.elements() > 1;
  std::array<float, 256> values;  // of every code
  Tensor every = host_tensor(Shape{256}, codes.dtype());
  for (int i = 0; i < 256; ++i) every.raw()[i] = static_cast<std::byte>(i);
  std::ranges::copy(to_f32(every).span<float>(), values.begin());
  parallel_for(rows, std::max<int64_t>(1, 65'536 / std::max<int64_t>(columns, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* in = codes.raw() + r * columns;
      float* out = result.data<float>() + r * columns;
      const float scale = scales.data<float>()[per_row ? r : 0];
      for (int64_t i = 0; i < columns; ++i) out[i] = values[static_cast<uint8_t>(in[i])] * scale / q.divisor;
      for (int64_t i = 0; q.rotation > 0 && i < columns; i += q.rotation) rotate(out + i, q.rotation);
    }
  });
  return result;
}

// The absmax of every block, after undoing its own quantization.
Tensor block_scales(const TensorFile& file, const QuantizedWeight& q) {
  const Tensor stored = file.load(*q.scale);
  if (q.nested_scale == nullptr) return stored;
  const Tensor nested = file.load(*q.nested_scale), code = file.load(*q.nested_code);
  Tensor result = host_tensor(Shape{stored.elements()});
  for (int64_t b = 0; b < stored.elements(); ++b)
    result.data<float>()[b] =
        code.data<float>()[stored.data<uint8_t>()[b]] * nested.data<float>()[b / q.nested_block] + q.nested_offset;
  return result;
}

Tensor load_four_bit(const TensorFile& file, const QuantizedWeight& q) {
  const Tensor codes = file.load(*q.weight), scales = block_scales(file, q), map = file.load(*q.code);
  Tensor result = host_tensor(q.shape);
  const auto* in = reinterpret_cast<const uint8_t*>(codes.raw());
  const int64_t elements = result.elements();
  parallel_for(scales.elements(), 65'536 / q.block + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const float scale = scales.data<float>()[b];
      for (int64_t i = b * q.block; i < std::min((b + 1) * q.block, elements); ++i) {
        const int nibble = i % 2 == 0 ? in[i / 2] >> 4 : in[i / 2] & 15;  // the even element is the high one
        result.data<float>()[i] = map.data<float>()[nibble] * scale;
      }
    }
  });
  return result;
}

}  // namespace

QuantizedLayouts::QuantizedLayouts(const TensorFile& file, std::string file_name)
    : file_(file), file_name_(std::move(file_name)) {
  for (const TensorEntry& e : file_.entries()) {
    std::string module = e.name;
    if (strip_suffix(module, ".weight.quant_state.bitsandbytes__nf4") ||
        strip_suffix(module, ".weight.quant_state.bitsandbytes__fp4")) {
      add_four_bit(module, e);
    } else if (strip_suffix(module, ".SCB")) {
      add_scaled(module, e, 127.f);
      auxiliary_.insert(module + ".weight_format");
    } else if (strip_suffix(module, ".scale_weight") || strip_suffix(module, ".weight_scale")) {
      if (file_.find(module + ".qweight") == nullptr) add_scaled(module, e, 1.f);
    } else if (strip_suffix(module, ".scale_input") || strip_suffix(module, ".input_scale")) {
      auxiliary_.insert(e.name);  // for products in low precision only
    } else if (e.name == "scaled_fp8" || e.name.ends_with(".scaled_fp8")) {
      auxiliary_.insert(e.name);  // says what the types of the weights say too
    }
  }
  read_comfy_metadata();
  for (const TensorEntry& e : file_.entries()) {
    std::string module = e.name;
    if (!strip_suffix(module, ".comfy_quant")) continue;
    if (e.dtype != DType::u8)
      throw ModelError("{}: {} has type {}, expected u8 (JSON text)", file_name_, e.name, inkling::name(e.dtype));
    read_comfy(module, text_of(file_.load(e)));
    auxiliary_.insert(e.name);
  }
}

const TensorEntry& QuantizedLayouts::need(const std::string& name, const std::string& because) const {
  const TensorEntry* entry = file_.find(name);
  if (entry == nullptr) throw ModelError("{}: {} is missing, expected beside {}", file_name_, name, because);
  return *entry;
}

const TensorEntry& QuantizedLayouts::need_sized(const std::string& name, DType dtype, int64_t elements) const {
  const TensorEntry& e = need(name, "a quantized weight");
  if (e.dtype != dtype || e.shape.elements() != elements)
    throw ModelError("{}: {} is {} {}, expected {} values of type {}", file_name_, name, inkling::name(e.dtype),
                     e.shape.str(), elements, inkling::name(dtype));
  return e;
}

void QuantizedLayouts::add_scaled(const std::string& module, const TensorEntry& scale, float divisor) {
  const TensorEntry& weight = need(module + ".weight", scale.name);
  if (weight.dtype == DType::u8 && divisor == 1.f)
    throw ModelError("{}: quantized with ComfyUI NVFP4 or another layout of packed codes ({} is u8): not readable yet",
                     file_name_, weight.name);
  const bool int8 = weight.dtype == DType::i8, fp8 = weight.dtype == DType::f8_e4m3 || weight.dtype == DType::f8_e5m2;
  if (!int8 && (divisor != 1.f || !fp8))
    throw ModelError("{}: {} has type {}, expected {} beside {}", file_name_, weight.name, inkling::name(weight.dtype),
                     divisor != 1.f ? "i8" : "float8 or i8", scale.name);
  if (weight.shape.rank() < 1)
    throw ModelError("{}: {} has shape [], expected rows beside {}", file_name_, weight.name, scale.name);
  const bool number = scale.dtype == DType::f32 || scale.dtype == DType::bf16 || scale.dtype == DType::f16;
  const int64_t values = scale.shape.elements();
  const bool fits = values == 1 || (values == weight.shape[0] && scale.shape.rank() >= 1 && scale.shape[0] == values);
  if (!number || !fits)
    throw ModelError("{}: {} is {} {}, expected one number, or {} of them, one for each row of {}", file_name_,
                     scale.name, inkling::name(scale.dtype), scale.shape.str(), weight.shape[0], weight.name);
  QuantizedWeight q;
  q.shape = weight.shape;
  q.weight = &weight;
  q.scale = &scale;
  q.divisor = divisor;
  if (!weights_.emplace(weight.name, q).second)
    throw ModelError("{}: {} has two scales, one of them {}", file_name_, weight.name, scale.name);
  auxiliary_.insert(scale.name);
}

void QuantizedLayouts::add_four_bit(const std::string& module, const TensorEntry& state) {
  if (state.dtype != DType::u8)
    throw ModelError("{}: {} has type {}, expected u8 (bitsandbytes' JSON text)", file_name_, state.name,
                     inkling::name(state.dtype));
  const std::string where = file_name_ + ": " + state.name;
  const nlohmann::json document = parse_json_object(text_of(file_.load(state)), where);
  const JsonFields json(document, where);
  QuantizedWeight q;
  q.layout = QuantizedWeight::Layout::four_bit;
  std::vector<int64_t> dims;
  json.read("shape", dims, 1, 4, 1, int64_t{1} << 32);
  json.read("blocksize", q.block, 32, 1 << 16);
  int64_t elements = dims.empty() ? 0 : 1;
  for (const int64_t d : dims)
    if (__builtin_mul_overflow(elements, d, &elements) || elements > int64_t{1} << 40)
      json.fail("shape", document["shape"].dump(), "at most 2^40 elements");
  if (elements == 0 || q.block == 0) json.fail("shape, blocksize", "nothing", "both");
  q.shape = Shape(dims);
  const std::string name = module + ".weight";
  q.weight = &need_sized(name, DType::u8, (elements + 1) / 2);
  q.code = &need_sized(name + ".quant_map", DType::f32, 16);
  const int64_t blocks = blocks_of(elements, q.block);
  q.nested_scale = file_.find(name + ".nested_absmax");
  q.scale = &need_sized(name + ".absmax", q.nested_scale != nullptr ? DType::u8 : DType::f32, blocks);
  if (q.nested_scale != nullptr) {
    json.read("nested_blocksize", q.nested_block, 32, 1 << 16);
    json.read("nested_offset", q.nested_offset, -1e30f, 1e30f);
    if (q.nested_block == 0) json.fail("nested_blocksize", "nothing", "a size");
    need_sized(name + ".nested_absmax", DType::f32, blocks_of(blocks, q.nested_block));
    q.nested_code = &need_sized(name + ".nested_quant_map", DType::f32, 256);
  }
  for (const TensorEntry* part : {&state, q.scale, q.code, q.nested_scale, q.nested_code})
    if (part != nullptr) auxiliary_.insert(part->name);
  weights_.emplace(name, q);
}

// {"format": "float8_e4m3fn"} or {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256}
void QuantizedLayouts::read_comfy(const std::string& module, const std::string& text) {
  const std::string where = fmt::format("{}: {}.comfy_quant", file_name_, module);
  const nlohmann::json document = parse_json_object(text, where);
  const JsonFields json(document, where);
  std::string format;
  json.read("format", format);
  const TensorEntry& weight = need(module + ".weight", module + ".comfy_quant");
  const DType expected = format == "float8_e4m3fn"     ? DType::f8_e4m3
                         : format == "float8_e5m2"     ? DType::f8_e5m2
                         : format == "int8_tensorwise" ? DType::i8
                                                       : DType::f32;
  if (expected == DType::f32)
    throw ModelError("{}: quantized with ComfyUI format '{}' ({}): not readable yet", file_name_, format, weight.name);
  if (weight.dtype != expected)
    throw ModelError("{}: {} has type {}, expected {} for format {}", file_name_, weight.name,
                     inkling::name(weight.dtype), inkling::name(expected), format);
  const auto at = weights_.find(weight.name);
  if (at == weights_.end()) throw ModelError("{}: {}.weight_scale is missing", file_name_, module);
  bool rotated = false;
  json.read("convrot", rotated);
  if (!rotated) return;
  int64_t group = kDefaultRotation;
  json.read("convrot_groupsize", group, 4, 1 << 16);
  if (!is_power_of(4, group)) json.fail("convrot_groupsize", std::to_string(group), "a power of 4");
  if (weight.shape.rank() != 2 || weight.shape[1] % group != 0)
    throw ModelError("{}: {} has shape {}, expected a multiple of {} columns for convrot", file_name_, weight.name,
                     weight.shape.str(), group);
  at->second.rotation = group;
}

void QuantizedLayouts::read_comfy_metadata() {
  const auto at = file_.metadata().find("_quantization_metadata");
  if (at == file_.metadata().end()) return;
  const std::string where = file_name_ + ": metadata _quantization_metadata";
  const nlohmann::json document = parse_json_object(at->second, where);
  const JsonFields json(document, where);
  if (!json.has("layers")) return;
  if (!json.raw("layers").is_object()) json.fail("layers", json.raw("layers").type_name(), "an object");
  for (const auto& [layer, format] : json.raw("layers").items()) {
    // All-in-one files prefix the names of the tensors, but not always those of the metadata.
    std::string module = layer;
    for (const char* prefix : {"model.diffusion_model.", "diffusion_model.", "transformer."})
      if (file_.find(module + ".weight") == nullptr) module = prefix + layer;
    if (file_.find(module + ".weight") != nullptr) read_comfy(module, format.dump());
  }
}

const QuantizedWeight* QuantizedLayouts::find(const TensorEntry& entry) const {
  const auto at = weights_.find(entry.name);
  return at == weights_.end() ? nullptr : &at->second;
}

const Shape& QuantizedLayouts::shape(const TensorEntry& entry) const {
  const QuantizedWeight* q = find(entry);
  return q == nullptr ? entry.shape : q->shape;
}

DType QuantizedLayouts::dtype(const TensorEntry& entry) const {
  return find(entry) == nullptr ? entry.dtype : DType::f32;
}

Tensor QuantizedLayouts::load(const TensorEntry& entry) const {
  const QuantizedWeight* q = find(entry);
  if (q == nullptr) return file_.load(entry);
  return q->layout == QuantizedWeight::Layout::four_bit ? load_four_bit(file_, *q) : load_scaled(file_, *q);
}

}  // namespace inkling
