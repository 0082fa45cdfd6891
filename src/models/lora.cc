#include "models/lora.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "models/json.h"
#include "models/qwen_image/dit.h"

namespace inkling {

namespace {

enum class Role { down, up, alpha, ignored };

struct Suffix {
  std::string_view text;
  Role role;
};
constexpr Suffix kSuffixes[] = {
    {".lora_A.weight", Role::down},    {".lora_A.default.weight", Role::down}, {".lora_down.weight", Role::down},
    {".lora.down.weight", Role::down}, {".lora_B.weight", Role::up},           {".lora_B.default.weight", Role::up},
    {".lora_up.weight", Role::up},     {".lora.up.weight", Role::up},          {".alpha", Role::alpha},
    {".dora_scale", Role::ignored},  // diffusers ignores it too
};
constexpr std::string_view kPrefixes[] = {"base_model.model.", "transformer.", "model.diffusion_model.",
                                          "diffusion_model.",  "lora_unet_",   "lycoris_",
                                          "lora_transformer_"};

// What one layer's adapter consists of in a file.
struct Adapter {
  const TensorEntry* down = nullptr;
  const TensorEntry* up = nullptr;
  const TensorEntry* alpha = nullptr;
  bool peft_names = false;  // lora_A / lora_B
};

std::string underscored(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

float scalar(const TensorFile& file, const TensorEntry& entry, const std::string& where) {
  if (entry.shape.elements() != 1)
    throw ModelError("{}: {} has shape {}, expected one number", where, entry.name, entry.shape.str());
  const float value = dequantize(file.load(entry)).data<float>()[0];
  if (!std::isfinite(value)) throw ModelError("{}: {} is {}", where, entry.name, value);
  return value;
}

// PEFT writes its configuration as JSON into the metadata.
std::optional<float> metadata_alpha(const TensorFile& file, const std::string& where) {
  const auto at = file.metadata().find("lora_adapter_metadata");
  if (at == file.metadata().end()) return {};
  const nlohmann::json document = parse_json_object(at->second, where + ": lora_adapter_metadata");
  for (const char* key : {"transformer.lora_alpha", "lora_alpha"})
    if (document.contains(key) && document[key].is_number()) return document[key].get<float>();
  return {};
}

// A matrix may be stored as a 1 x 1 convolution.
bool is_matrix(const Shape& shape, int64_t rows, int64_t columns) {
  return shape.rank() >= 2 && shape[0] == rows && shape[1] == columns && shape.elements() == rows * columns;
}

}  // namespace

std::vector<LinearSite> lora_sites(const DitConfig& config) {
  std::vector<LinearSite> sites;
  const auto add = [&](const Parameter& p) {
    if (p.kind == Parameter::Kind::linear) sites.push_back({p.weight->name, p.shape});
  };
  Dit(config).for_each_parameter(add);
  DitModulation(config).for_each_parameter(add);
  for (const auto& [name, shape] : unused_linears(config)) sites.push_back({name, shape});
  return sites;
}

LoraSet::LoraSet(std::vector<LinearSite> sites) : sites_(std::move(sites)) {
  for (const LinearSite& site : sites_) {
    by_key_[site.name] = &site;
    by_key_[underscored(site.name)] = &site;  // kohya: ambiguous in general, so matched against known names
  }
}

int64_t LoraSet::add(const std::filesystem::path& path, float strength, LoraAlpha alpha) {
  return add(std::shared_ptr<const TensorFile>(open_tensor_file(path)), strength, alpha);
}

int64_t LoraSet::add(const std::shared_ptr<const TensorFile>& file, float strength, LoraAlpha alpha_rule) {
  const std::string where = file->files().empty() ? "LoRA" : file->files()[0].string();
  std::map<const LinearSite*, Adapter> adapters;
  for (const TensorEntry& e : file->entries()) {
    const auto suffix = std::ranges::find_if(kSuffixes, [&](const Suffix& s) { return e.name.ends_with(s.text); });
    if (suffix == std::end(kSuffixes))
      throw ModelError("{}: {} belongs to no supported LoRA layout (low-rank down/up products only)", where, e.name);
    std::string layer = e.name.substr(0, e.name.size() - suffix->text.size());
    for (std::string_view prefix : kPrefixes)
      if (layer.starts_with(prefix)) layer = layer.substr(prefix.size());
    const auto site = by_key_.find(layer);
    if (site == by_key_.end()) throw ModelError("{}: {} names no layer of this model", where, e.name);
    Adapter& a = adapters[site->second];
    if (suffix->role == Role::ignored) continue;
    const TensorEntry*& slot = suffix->role == Role::down ? a.down : suffix->role == Role::up ? a.up : a.alpha;
    if (slot != nullptr) throw ModelError("{}: {} and {} are for the same layer", where, slot->name, e.name);
    slot = &e;
    a.peft_names = a.peft_names || suffix->text.starts_with(".lora_A") || suffix->text.starts_with(".lora_B");
  }
  const std::optional<float> common_alpha = metadata_alpha(*file, where);
  for (const auto& [site, a] : adapters) {
    if (a.down == nullptr || a.up == nullptr)
      throw ModelError("{}: {} has {}, but no {}", where, site->name,
                       a.down ? "lora_down"
                       : a.up ? "lora_up"
                              : "alpha",
                       a.down ? "lora_up" : "lora_down");
    const int64_t rank = a.down->shape.rank() > 0 ? a.down->shape[0] : 0;
    if (rank < 1 || !is_matrix(a.down->shape, rank, site->shape[1]))
      throw ModelError("{}: {} has shape {}, expected [rank, {}]", where, a.down->name, a.down->shape.str(),
                       site->shape[1]);
    if (!is_matrix(a.up->shape, site->shape[0], rank))
      throw ModelError("{}: {} has shape {}, expected [{}, {}]", where, a.up->name, a.up->shape.str(), site->shape[0],
                       rank);
    float scale = strength;
    const bool use_alpha = alpha_rule == LoraAlpha::always || !a.peft_names;
    if (a.alpha != nullptr && use_alpha) scale *= scalar(*file, *a.alpha, where) / static_cast<float>(rank);
    if (a.alpha == nullptr && common_alpha) scale *= *common_alpha / static_cast<float>(rank);
    patches_[site->name].push_back({file, a.down, a.up, scale});
  }
  return static_cast<int64_t>(adapters.size());
}

void LoraSet::apply(const std::string& layer, Tensor& weight) const {
  const auto found = patches_.find(layer);
  if (found == patches_.end()) return;
  const int64_t out = weight.dim(0), in = weight.dim(1);
  float* w = weight.data<float>();
  for (const Patch& p : found->second) {
    const Tensor down = dequantize(p.file->load(*p.down)), up = dequantize(p.file->load(*p.up));
    const int64_t rank = down.dim(0);
    const float* d = down.data<float>();
    const float* u = up.data<float>();
    parallel_for(out, 8, [&](int64_t begin, int64_t end) {
      std::vector<float> row(in);
      for (int64_t o = begin; o < end; ++o) {
        std::ranges::fill(row, 0.f);
        for (int64_t r = 0; r < rank; ++r)
          for (int64_t i = 0; i < in; ++i) row[i] += u[o * rank + r] * d[r * in + i];
        for (int64_t i = 0; i < in; ++i) w[o * in + i] += p.scale * row[i];
      }
    });
  }
}

}  // namespace inkling
