#include "models/quantized_layouts.h"

#include <algorithm>

#include "base/error.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"
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
    } else if (strip_suffix(module, ".weight_s_rel")) {
      add_grouped(module, e);
    } else if (strip_suffix(module, ".weight_s_channel") || strip_suffix(module, ".weight_codebook")) {
      need(module + ".weight_s_rel", e.name);
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
  for (auto& [name, weight] : weights_) {
    if (weight.rotation > 0 && (weight.shape.rank() != 2 || weight.shape[1] % weight.rotation != 0))
      throw ModelError("{}: {} has shape {}, expected a multiple of {} columns for convrot", file_name_, name,
                       weight.shape.str(), weight.rotation);
    set_low_bit(weight);
  }
}

// What a backend can compute with as it is. The group scales of a grouped weight are too many to look at here.
void QuantizedLayouts::set_low_bit(QuantizedWeight& q) const {
  const bool rotates = q.rotation == 0 || q.rotation == 16 || q.rotation == 64 || q.rotation == 256;
  const auto has_codes = [&](const auto& value_of) {
    const Tensor values = file_.load(*q.code);
    for (int i = 0; i < 16; ++i)
      if (values.data<float>()[i] != value_of(i)) return false;
    return true;
  };
  LowBit kind = LowBit::none;
  if (q.layout == QuantizedWeight::Layout::scaled && q.weight->dtype == DType::i8 && rotates) kind = LowBit::w8a8;
  if (q.layout == QuantizedWeight::Layout::four_bit && q.block == kNf4Block && has_codes([](int i) { return kNf4[i]; }))
    kind = LowBit::nf4;
  if (q.layout == QuantizedWeight::Layout::grouped && rotates && kInt4Group % q.block == 0 &&
      (q.code == nullptr || has_codes([](int i) { return static_cast<float>(i - 8); })))
    kind = LowBit::w4a8;
  if (fits(kind, q.shape)) q.low_bit = kind;
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
  if (!weights_.emplace(name, q).second)
    throw ModelError("{}: {} has two scales, one of them {}", file_name_, name, q.scale->name);
}

// Rotated always, by blocks of 256 unless JSON beside it says otherwise.
void QuantizedLayouts::add_grouped(const std::string& module, const TensorEntry& group_scale) {
  const TensorEntry& weight = need(module + ".weight", group_scale.name);
  if ((weight.dtype != DType::i8 && weight.dtype != DType::u8) || weight.shape.rank() != 2 || weight.shape[0] == 0 ||
      weight.shape[1] == 0 || weight.shape[1] > int64_t{1} << 31)
    throw ModelError("{}: {} is {} {}, expected a matrix of packed 4-bit codes beside {}", file_name_, weight.name,
                     inkling::name(weight.dtype), weight.shape.str(), group_scale.name);
  if (file_.find(module + ".weight_correction") != nullptr)
    throw ModelError("{}: quantized with ComfyUI asym_w4a8_int8 with zero points ({}.weight_correction): not readable",
                     file_name_, module);
  QuantizedWeight q;
  q.layout = QuantizedWeight::Layout::grouped;
  q.weight = &weight;
  q.group_scale = &group_scale;
  q.shape = Shape{weight.shape[0], weight.shape[1] * 2};
  q.rotation = kDefaultRotation;
  const bool number = group_scale.dtype == DType::f8_e4m3 || group_scale.dtype == DType::f32;
  const int64_t groups = group_scale.shape.rank() == 2 ? group_scale.shape[1] : 0;
  if (!number || groups == 0 || group_scale.shape[0] != q.shape[0] || q.shape[1] % groups != 0)
    throw ModelError("{}: {} is {} {}, expected f8_e4m3 or f32 [{}, a part of {}]", file_name_, group_scale.name,
                     inkling::name(group_scale.dtype), group_scale.shape.str(), q.shape[0], q.shape[1]);
  q.block = q.shape[1] / groups;
  q.scale = &need_sized(module + ".weight_s_channel", DType::f32, q.shape[0]);
  if (file_.find(module + ".weight_codebook") != nullptr)
    q.code = &need_sized(module + ".weight_codebook", DType::f32, 16);
  for (const TensorEntry* part : {&group_scale, q.scale, q.code})
    if (part != nullptr) auxiliary_.insert(part->name);
  if (!weights_.emplace(weight.name, q).second)
    throw ModelError("{}: {} has two scales, one of them {}", file_name_, weight.name, group_scale.name);
}

// {"format": "float8_e4m3fn"}, {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256} or
// {"format": "asym_w4a8_int8", "group_size": 16, "convrot_groupsize": 256}
void QuantizedLayouts::read_comfy(const std::string& module, const std::string& text) {
  const std::string where = fmt::format("{}: {}.comfy_quant", file_name_, module);
  const nlohmann::json document = parse_json_object(text, where);
  const JsonFields json(document, where);
  std::string format;
  json.read("format", format);
  const TensorEntry& weight = need(module + ".weight", module + ".comfy_quant");
  const bool grouped = format == "asym_w4a8_int8";
  const DType expected = format == "float8_e4m3fn"                ? DType::f8_e4m3
                         : format == "float8_e5m2"                ? DType::f8_e5m2
                         : format == "int8_tensorwise" || grouped ? DType::i8
                                                                  : DType::f32;
  if (expected == DType::f32)
    throw ModelError("{}: quantized with ComfyUI format '{}' ({}): not readable yet", file_name_, format, weight.name);
  if (weight.dtype != expected && !(grouped && weight.dtype == DType::u8))
    throw ModelError("{}: {} has type {}, expected {} for format {}", file_name_, weight.name,
                     inkling::name(weight.dtype), inkling::name(expected), format);
  const auto at = weights_.find(weight.name);
  if (at == weights_.end() || (at->second.layout == QuantizedWeight::Layout::grouped) != grouped)
    throw ModelError("{}: {}.{} is missing", file_name_, module, grouped ? "weight_s_rel" : "weight_scale");
  QuantizedWeight& q = at->second;
  bool rotated = grouped;
  if (!grouped) json.read("convrot", rotated);
  if (grouped) {
    int64_t group = q.block;
    json.read("group_size", group, 1, 1 << 16);
    if (group != q.block)
      json.fail("group_size", std::to_string(group), fmt::format("{} by the shape of weight_s_rel", q.block));
  }
  q.rotation = 0;
  if (!rotated) return;
  int64_t group = kDefaultRotation;
  json.read("convrot_groupsize", group, 4, 1 << 16);
  if (!is_power_of(4, group)) json.fail("convrot_groupsize", std::to_string(group), "a power of 4");
  q.rotation = group;
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

}  // namespace inkling
