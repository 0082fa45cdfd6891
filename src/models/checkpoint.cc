#include "models/checkpoint.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/block_quant.h"

namespace inkling {

namespace {

// A quantized layout that is recognised by a tensor's suffix.
struct Layout {
  std::string_view suffix, description;
};
constexpr Layout kUnreadable[] = {
    {".qweight", "SVDQuant or AWQ"},
    {".wscales", "SVDQuant"},
};

std::vector<std::string> names_of(const TensorFile& file) {
  std::vector<std::string> names;
  for (const TensorEntry& e : file.entries()) names.push_back(e.name);
  return names;
}

std::string hint(Component component, const std::vector<std::string>& names) {
  const auto has = [&](std::string_view part) {
    return std::ranges::any_of(names, [&](const std::string& n) { return n.find(part) != std::string::npos; });
  };
  if (component == Component::dit && has("txt_in.text_norm"))
    return "; it is a Qwen-Image-2.1 transformer, which is not supported";
  if (has("double_blocks.")) return "; it looks like a Flux transformer";
  if (has("input_blocks.")) return "; it looks like a Stable Diffusion checkpoint";
  if (has("lora_down") || has("lora_A") || has("lora_up")) return "; it looks like a LoRA";
  if (has("txt_norm.weight")) return "; it holds a Qwen-Image transformer";
  if (has("embed_tokens.weight") || has("token_embd.weight")) return "; it holds a language model";
  return "";
}

CheckpointTensor joined(const std::string& name, const std::string& file, const QuantizedLayouts& layouts,
                        CheckpointTensor t) {
  if (t.parts.size() == 1 && t.join != CanonicalName::Join::time) t.join = CanonicalName::Join::none;
  const TensorEntry& first = *t.parts[0];
  t.shape = layouts.shape(first);
  t.dtype = layouts.dtype(first);
  for (const TensorEntry* part : t.parts) {
    t.bytes += part->bytes;
    if (layouts.dtype(*part) != layouts.dtype(first)) t.dtype = DType::f32;  // mixed parts are joined as numbers
  }
  if (t.join == CanonicalName::Join::none) {
    if (t.parts.size() > 1)
      throw ModelError("{}: {} is stored twice, as {} and {}", file, name, t.parts[0]->name, t.parts[1]->name);
    if (const QuantizedWeight* q = layouts.find(first)) {
      t.low_bit = q->low_bit;
      t.rotation = q->low_bit == LowBit::none ? 0 : q->rotation;
    }
    return t;
  }
  std::vector<int64_t> dims(t.shape.dims().begin(), t.shape.dims().end());
  const auto rest = [](const Shape& s) { return std::vector<int64_t>(s.dims().begin() + 1, s.dims().end()); };
  for (const TensorEntry* part : t.parts)
    if (layouts.shape(*part).rank() == 0 || rest(layouts.shape(*part)) != rest(t.shape))
      throw ModelError("{}: {} has shape {}, its sibling {} has {}", file, part->name, layouts.shape(*part).str(),
                       first.name, t.shape.str());
  if (t.join == CanonicalName::Join::rows) {
    dims[0] = 0;
    for (const TensorEntry* part : t.parts) dims[0] += layouts.shape(*part)[0];
  } else {
    if (t.shape.rank() != 4)
      throw ModelError("{}: {} has shape {}, expected 4 dimensions", file, first.name, t.shape.str());
    dims.insert(dims.begin() + 2, static_cast<int64_t>(t.parts.size()));
  }
  t.shape = Shape(dims);
  return t;
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& path, Component component) {
  return Checkpoint(std::shared_ptr<const TensorFile>(open_tensor_file(path)), component);
}

Checkpoint::Checkpoint(std::shared_ptr<const TensorFile> file, Component component)
    : file_(std::move(file)),
      component_(component),
      name_(file_->files().empty() ? "checkpoint" : file_->files()[0].string()),
      layouts_(*file_, name_) {
  const std::vector<std::string> names = names_of(*file_);
  const NameMap map = find_name_map(component, names);
  if (!map) throw ModelError("{}: holds no Qwen-Image {}{}", name_, inkling::name(component), hint(component, names));
  std::map<std::string, std::map<int, const TensorEntry*>> parts;
  std::map<std::string, CanonicalName::Join> joins;
  for (const TensorEntry& e : file_->entries()) {
    if (layouts_.is_auxiliary(e)) continue;
    const auto canonical = map(e.name);
    if (!canonical) continue;
    auto [at, fresh] = parts[canonical->name].emplace(canonical->part, &e);
    if (!fresh)
      throw ModelError("{}: {} is stored twice, as {} and {}", name_, canonical->name, at->second->name, e.name);
    joins[canonical->name] = canonical->join;
  }
  for (const auto& [name, ordered] : parts) {
    CheckpointTensor t;
    t.join = joins[name];
    for (const auto& [part, entry] : ordered) t.parts.push_back(entry);
    tensors_[name] = joined(name, name_, layouts_, std::move(t));
  }
  refuse_unreadable_layouts();
}

void Checkpoint::refuse_unreadable_layouts() const {
  for (const auto& [name, tensor] : tensors_)
    for (const Layout& layout : kUnreadable)
      if (name.ends_with(layout.suffix))
        throw ModelError("{}: quantized with {} ({}): not readable yet", name_, layout.description, name);
}

const CheckpointTensor* Checkpoint::find(const std::string& name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

std::optional<LowBitMatrix> Checkpoint::load_low_bit(const CheckpointTensor& tensor) const {
  if (tensor.low_bit == LowBit::none) return {};
  return layouts_.load_low_bit(*tensor.parts[0]);
}

Tensor Checkpoint::load(const CheckpointTensor& tensor) const {
  if (tensor.join == CanonicalName::Join::none) return layouts_.load(*tensor.parts[0]);
  std::vector<Tensor> parts;
  bool same_type = true;
  for (const TensorEntry* entry : tensor.parts) {
    parts.push_back(layouts_.load(*entry));
    same_type = same_type && parts.back().dtype() == parts[0].dtype();
  }
  if (!same_type)
    for (Tensor& p : parts) p = dequantize(p);
  Tensor result = host_tensor(tensor.shape, parts[0].dtype());
  std::byte* out = result.raw();
  if (tensor.join == CanonicalName::Join::rows) {
    for (const Tensor& p : parts) {
      std::memcpy(out, p.raw(), p.bytes());
      out += p.bytes();
    }
    return result;
  }
  // Slices [O, I, kh, kw] of axis 2: every kernel plane of every part in turn.
  const int64_t planes = tensor.shape[0] * tensor.shape[1], plane = parts[0].bytes() / std::max<int64_t>(planes, 1);
  for (int64_t i = 0; i < planes; ++i)
    for (const Tensor& p : parts) {
      std::memcpy(out, p.raw() + i * plane, plane);
      out += plane;
    }
  return result;
}

}  // namespace inkling
