#include "models/loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "base/error.h"
#include "formats/add_delta.h"
#include "formats/block_quant.h"
#include "formats/low_bit.h"

namespace inkling {

namespace {

// Weights up to this size are checked for values that are not finite; what hides in larger ones is caught
// by the guard on the latents.
constexpr int64_t kCheckedElements = 1 << 20;

std::string bias_name(const Parameter& p) {
  return p.name.substr(0, p.name.size() - std::string(".weight").size()) + ".bias";
}

bool is_number(DType type) {
  return type == DType::f32 || type == DType::f64 || type == DType::bf16 || type == DType::f16 ||
         type == DType::f8_e4m3 || type == DType::f8_e5m2 || is_block_quantized(type);
}

// The stored shapes that fold to `p.shape`.
bool folds(const Parameter& p, const Shape& stored) {
  if (stored == p.shape) return true;
  switch (p.fold) {
    case Parameter::Fold::none: return false;
    case Parameter::Fold::last_temporal_slice:
      return stored.rank() == 5 && stored[2] >= 1 && Shape{stored[0], stored[1], stored[3], stored[4]} == p.shape;
    case Parameter::Fold::flatten:
      return stored.rank() >= 2 && stored[0] == p.shape[0] && stored.elements() == p.shape.elements();
  }
  return false;
}

// A vector may be stored as [C, 1, 1, 1].
bool is_vector_of(const Shape& stored, int64_t length) {
  return stored.rank() >= 1 && stored[0] == length && stored.elements() == length;
}

Tensor fold(const Parameter& p, Tensor t) {
  if (t.shape() == p.shape) return t;
  if (is_block_quantized(t.dtype())) t = dequantize(t);
  if (p.fold == Parameter::Fold::flatten) return t.reshape(p.shape);
  const int64_t kernels = t.dim(0) * t.dim(1), slices = t.dim(2), slice = t.bytes() / (kernels * slices);
  Tensor last = host_tensor(p.shape, t.dtype());
  for (int64_t i = 0; i < kernels; ++i)
    std::memcpy(last.raw() + i * slice, t.raw() + (i * slices + slices - 1) * slice, slice);
  return last;
}

void check_finite(const Tensor& values, const std::string& name, const Checkpoint& checkpoint) {
  const auto bad = std::ranges::find_if(values.span<float>(), [](float v) { return !std::isfinite(v); });
  if (bad == values.span<float>().end()) return;
  throw ModelError("{}: {} holds {} at element {}", checkpoint.file(), name, *bad, bad - values.span<float>().begin());
}

const CheckpointTensor& checked(const Checkpoint& checkpoint, const std::string& name, bool fits,
                                const Shape& expected) {
  const CheckpointTensor& t = *checkpoint.find(name);
  if (!fits)
    throw ModelError("{}: {} has shape {}, expected {}", checkpoint.file(), name, t.shape.str(), expected.str());
  if (!is_number(t.dtype))
    throw ModelError("{}: {} has type {}, expected a floating-point or GGUF type", checkpoint.file(), name,
                     inkling::name(t.dtype));
  return t;
}

Tensor load_vector(const Checkpoint& checkpoint, const std::string& name, int64_t length) {
  const CheckpointTensor* found = checkpoint.find(name);
  if (found == nullptr) throw ModelError("{}: {} is missing", checkpoint.file(), name);
  const CheckpointTensor& t = checked(checkpoint, name, is_vector_of(found->shape, length), Shape{length});
  const Tensor values = dequantize(checkpoint.load(t)).reshape(Shape{length});
  check_finite(values, name, checkpoint);
  return values;
}

std::vector<std::string> tensors_of(const Parameter& p) {
  std::vector<std::string> names{p.name};
  if (p.weight != nullptr && p.weight->has_bias) names.push_back(bias_name(p));
  return names;
}

void throw_if_missing(const Module& module, const Checkpoint& checkpoint) {
  std::vector<std::string> missing;
  module.for_each_parameter([&](const Parameter& p) {
    for (const std::string& name : tensors_of(p))
      if (checkpoint.find(name) == nullptr && !p.optional) missing.push_back(name);
  });
  if (missing.empty()) return;
  constexpr size_t kShown = 5;
  std::string list;
  for (size_t i = 0; i < std::min(kShown, missing.size()); ++i) list += (i ? ", " : "") + missing[i];
  if (missing.size() > kShown) list += fmt::format(" and {} more", missing.size() - kShown);
  throw ModelError("{}: {} tensors of the {} are missing: {}", checkpoint.file(), missing.size(),
                   name(checkpoint.component()), list);
}

// N of "transformer_blocks.N.…", else -1.
int64_t block_index(const std::string& name) {
  constexpr std::string_view kPrefix = "transformer_blocks.";
  return name.starts_with(kPrefix) ? std::strtoll(name.c_str() + kPrefix.size(), nullptr, 10) : -1;
}

// Of no use for inference: the unused text tail of a DiT's last block, the language-model head, temporal
// convolutions, markers; and what another component of the same file owns.
bool is_dead_weight(const std::string& name, int64_t last_block) {
  static constexpr const char* kDead[] = {"lm_head.", "visual.", "time_conv.", "__index_timestep_zero__",
                                          "rope_freqs."};
  for (const char* part : kDead)
    if (name.find(part) != std::string::npos) return true;
  const std::string block = fmt::format("transformer_blocks.{}.", last_block);
  if (!name.starts_with(block)) return false;
  static constexpr const char* kTail[] = {"attn.add_q_proj.", "attn.to_add_out.", "attn.norm_added_q.", "txt_mlp."};
  return std::ranges::any_of(
      kTail, [&](const char* tail) { return name.compare(block.size(), std::strlen(tail), tail) == 0; });
}

// A host tensor of this shape without memory behind it.
Tensor planned(const Shape& shape, DType dtype) {
  static CountingAllocator allocator(/*virtual_memory=*/true);
  const Tensor measured(shape, dtype, nullptr);
  return Tensor(shape, dtype, allocator.allocate(measured.bytes()));
}

// Codes and scales into the weight, where the file has them and the weight is one of a linear layer.
bool load_low_bit(const Parameter& p, const CheckpointTensor& t, const Checkpoint& checkpoint) {
  if (p.kind != Parameter::Kind::linear || !(t.shape == p.shape)) return false;
  const std::optional<LowBitMatrix> m = checkpoint.load_low_bit(t);
  if (!m) return false;
  check_finite(m->parts.scale, p.name + "'s scale", checkpoint);
  p.weight->value = m->value;
  p.weight->low_bit = m->parts;
  return true;
}

// FNV-1a: the same chances for the same weight wherever and in whatever order it is loaded.
uint64_t seed_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

// Adds the adapters to a loaded weight, which keeps its form.
void patch(Weight& w, const LoraSet& loras, const Checkpoint& checkpoint) {
  Tensor delta = host_tensor(w.shape);
  std::ranges::fill(delta.span<float>(), 0.f);
  loras.apply(w.name, delta);
  const uint64_t seed = seed_of(w.name);
  const std::string name = fmt::format("{}: {} with its LoRA", checkpoint.file(), w.name);
  if (w.low_bit.kind == LowBit::none) {
    w.value = add_delta(w.value, delta, seed, name);
    return;
  }
  LowBitMatrix m = add_to_low_bit({w.value, w.low_bit}, delta, seed, name);
  w.value = std::move(m.value);
  w.low_bit = std::move(m.parts);
}

}  // namespace

bool load_parameter(const Parameter& p, const Checkpoint& checkpoint, Ops& ops, const LoadOptions& options) {
  const CheckpointTensor* found = checkpoint.find(p.name);
  if (found == nullptr) {
    if (p.optional) return false;
    throw ModelError("{}: {} is missing", checkpoint.file(), p.name);
  }
  if (p.vector != nullptr) {
    *p.vector = ops.upload(load_vector(checkpoint, p.name, p.shape[0]));
    return true;
  }
  Weight& w = *p.weight;
  const CheckpointTensor& t = checked(checkpoint, p.name, folds(p, found->shape), p.shape);
  if (!load_low_bit(p, t, checkpoint)) {
    w.value = fold(p, checkpoint.load(t));
    if (w.value.elements() <= kCheckedElements) check_finite(dequantize(w.value), p.name, checkpoint);
  }
  if (w.has_bias) w.bias = load_vector(checkpoint, bias_name(p), p.shape[0]);
  if (options.loras != nullptr && options.loras->patches(w.name)) patch(w, *options.loras, checkpoint);
  w.stored = w.value.dtype();
  ops.prepare(w);
  return true;
}

void require_parameters(const Module& module, const Checkpoint& checkpoint) { throw_if_missing(module, checkpoint); }

LoadReport load_parameters(Module& module, const Checkpoint& checkpoint, Ops& ops, const LoadOptions& options) {
  throw_if_missing(module, checkpoint);
  int64_t total = 0;
  const auto bytes_of = [&](const Parameter& p) {
    int64_t bytes = 0;
    for (const std::string& name : tensors_of(p))
      if (const CheckpointTensor* t = checkpoint.find(name)) bytes += t->bytes;
    return bytes;
  };
  module.for_each_parameter([&](const Parameter& p) { total += bytes_of(p); });
  LoadReport report;
  module.for_each_parameter([&](const Parameter& p) {
    if (!load_parameter(p, checkpoint, ops, options)) return;
    report.tensors += static_cast<int64_t>(tensors_of(p).size());
    report.bytes += bytes_of(p);
    if (options.loras != nullptr && p.weight != nullptr && options.loras->patches(p.weight->name)) ++report.patched;
    if (options.progress) options.progress(report.bytes, total);
  });
  return report;
}

void declare_parameters(Module& module, Ops& ops, const Checkpoint* checkpoint, DType stored, const LoraSet* loras) {
  if (checkpoint != nullptr) throw_if_missing(module, *checkpoint);
  module.for_each_parameter([&](const Parameter& p) {
    const CheckpointTensor* found = checkpoint != nullptr ? checkpoint->find(p.name) : nullptr;
    if (p.vector != nullptr) {
      if (found != nullptr) checked(*checkpoint, p.name, is_vector_of(found->shape, p.shape[0]), p.shape);
      if (found != nullptr || checkpoint == nullptr) *p.vector = ops.upload(planned(p.shape, DType::f32));
      return;
    }
    if (found != nullptr) checked(*checkpoint, p.name, folds(p, found->shape), p.shape);
    Weight& w = *p.weight;
    w.stored = found != nullptr ? found->dtype : stored;
    const bool low_bit = found != nullptr && p.kind == Parameter::Kind::linear && found->shape == p.shape &&
                         found->low_bit != LowBit::none;
    if (low_bit) {
      w.low_bit.kind = found->low_bit;
      w.low_bit.rotation = found->rotation;
      w.stored = code_type(found->low_bit);
    } else if (loras != nullptr && loras->patches(w.name)) {
      w.stored = type_with_delta(w.stored);
    }
    ops.prepare(w);
  });
}

void drop_parameters(Module& module) {
  module.for_each_parameter([](const Parameter& p) {
    if (p.vector != nullptr) *p.vector = Tensor();
    if (p.weight == nullptr) return;
    p.weight->value = Tensor();
    p.weight->bias = Tensor();
    p.weight->low_bit = {};
    p.weight->prepared.reset();
  });
}

std::vector<std::string> unexpected_tensors(const Checkpoint& checkpoint, std::span<const Module* const> modules) {
  std::set<std::string> known;
  for (const Module* m : modules)
    m->for_each_parameter([&](const Parameter& p) {
      for (const std::string& name : tensors_of(p)) known.insert(name);
    });
  int64_t last_block = -1;
  for (const std::string& name : known) last_block = std::max(last_block, block_index(name));
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : checkpoint.tensors())
    if (!known.contains(name) && !is_dead_weight(name, last_block)) unexpected.push_back(name);
  return unexpected;
}

}  // namespace inkling
