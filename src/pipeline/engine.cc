#include "pipeline/engine.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#include "models/loader.h"
#include "models/registry.h"
#include "pipeline/conditioning.h"
#include "pipeline/job.h"
#include "pipeline/options.h"
#include "pipeline/picture.h"
#include "pipeline/plan.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

// Networks that are read from files when a run first needs them.
class LoadedParts : public OwnedParts {
 public:
  LoadedParts(const ModelFiles& files, const EngineOptions& options, Ops& ops)
      : files_(files), options_(options), ops_(ops) {}

  TextEncoder& text_encoder() override {
    return ready(text_encoder_, files_.text_encoder, Component::text_encoder,
                 [&](const Checkpoint& c) { return text_config(files_, c); });
  }
  VisionTower& vision() override {
    return ready(vision_, files_.vision, Component::vision,
                 [&](const Checkpoint& c) { return vision_config(files_, c); });
  }
  DitModulation& modulation() override {
    return ready(modulation_, files_.dit, Component::dit, [&](const Checkpoint& c) { return dit_config(files_, c); });
  }
  Dit& dit() override {
    return ready(dit_, files_.dit, Component::dit, [&](const Checkpoint& c) { return dit_config(files_, c); });
  }
  VaeEncoder& vae_encoder() override {
    return ready(vae_encoder_, files_.vae, Component::vae, [&](const Checkpoint& c) { return vae_config(files_, c); });
  }
  VaeDecoder& vae_decoder() override {
    return ready(vae_decoder_, files_.vae, Component::vae, [&](const Checkpoint& c) { return vae_config(files_, c); });
  }

  void done(Part part) override {
    if (!options_.keep_loaded) OwnedParts::done(part);
  }

  void set_progress(const Callbacks* callbacks) { callbacks_ = callbacks; }
  double load_seconds() const { return load_seconds_; }
  // What loading had to say since the last call.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

 private:
  template <typename M, typename ConfigOf>
  M& ready(std::unique_ptr<M>& slot, const fs::path& file, Component component, const ConfigOf& config_of) {
    if (slot) return *slot;
    const auto start = Clock::now();
    const Checkpoint checkpoint = Checkpoint::open(file, component);
    auto module = std::make_unique<M>(config_of(checkpoint));
    LoadOptions load;
    LoraSet loras =
        component == Component::dit ? read_loras(config_of(checkpoint)) : LoraSet(std::vector<LinearSite>{});
    if (!loras.empty()) load.loras = &loras;
    load.progress = [&](int64_t, int64_t) {
      if (callbacks_ != nullptr && callbacks_->cancel != nullptr) callbacks_->cancel->throw_if_cancelled();
    };
    load_parameters(*module, checkpoint, ops_, load);
    note_unused(*module, checkpoint);
    slot = std::move(module);
    load_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
    return *slot;
  }

  // Tensors that no network of the file has a place for: a hint that the file is another model's.
  void note_unused(const Module& module, const Checkpoint& checkpoint) {
    std::vector<std::string> extra;
    if (checkpoint.component() == Component::dit && dynamic_cast<const Dit*>(&module) != nullptr) {
      const DitModulation modulation(static_cast<const Dit&>(module).config());
      const Module* const trees[] = {&module, &modulation};
      extra = unexpected_tensors(checkpoint, trees);
    } else if (checkpoint.component() == Component::text_encoder || checkpoint.component() == Component::vision) {
      const Module* const trees[] = {&module};
      extra = unexpected_tensors(checkpoint, trees);
    }
    if (!extra.empty())
      notes_.push_back(
          fmt::format("{}: {} tensors are not used, the first is {}", checkpoint.file(), extra.size(), extra[0]));
  }

  template <typename Config>
  LoraSet read_loras(const Config& config) const {
    if constexpr (std::is_same_v<Config, DitConfig>) {
      LoraSet set(config);
      for (const LoraFile& l : options_.loras)
        set.add(l.path, l.scale, options_.lora_alpha_as_diffusers ? LoraAlpha::diffusers : LoraAlpha::always);
      return set;
    } else {
      return LoraSet(std::vector<LinearSite>{});
    }
  }

  const ModelFiles& files_;
  const EngineOptions& options_;
  Ops& ops_;
  const Callbacks* callbacks_ = nullptr;
  std::vector<std::string> notes_;
  double load_seconds_ = 0;
};

ModelFiles find_files(const EngineOptions& o) {
  ModelFiles files = combine(separate_files(o));
  require_complete(files);
  return files;
}

// Lightning LoRAs say what they are in their file name: "Qwen-Image-Lightning-4steps-V2.0.safetensors". 0: it is none.
int lightning_steps(const fs::path& lora) {
  std::string file = lora.filename().string();
  std::ranges::transform(file, file.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (file.find("lightning") == std::string::npos) return 0;
  return file.find("4step") != std::string::npos ? 4 : 8;
}

FlowMatchConfig read_schedule(const fs::path& file) {
  if (file.empty()) return {};
  std::ifstream in(file, std::ios::binary);
  return FlowMatchConfig::parse(std::string(std::istreambuf_iterator<char>(in), {}));
}

}  // namespace

struct Engine::Impl {
  explicit Impl(const EngineOptions& o)
      : options(o),
        files(find_files(options)),
        tokenizer(Tokenizer::load(files.tokenizer)),
        ops(cpu_options(o.precision)),
        parts(files, options, ops) {
    traits.kind = files.kind;
    traits.defaults = files.defaults;
    traits.processor = processor_config(files);
    traits.scheduler = read_schedule(files.scheduler_config);
    name = (fs::is_directory(files.source) ? files.source / "" : files.source).parent_path().filename().string();
    if (!fs::is_directory(files.source)) name = files.source.filename().string();
    for (const LoraFile& l : options.loras)
      traits.distilled_steps = std::max(traits.distilled_steps, lightning_steps(l.path));
  }

  const EngineOptions options;
  const ModelFiles files;
  Tokenizer tokenizer;
  CpuOps ops;
  LoadedParts parts;
  ModelTraits traits;
  std::string name;
};

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

const std::string& Engine::model_name() const { return impl_->name; }

void Engine::set_trace(TraceFn trace) { impl_->ops.set_trace(std::move(trace)); }

Result Engine::run(const Request& request, const Callbacks& callbacks) {
  Impl& e = *impl_;
  const PreparedRequest prepared = prepare_request(request, e.traits, e.tokenizer);
  Result result;
  result.prompt = prepared.prompt;
  result.seeds = prepared.seeds;
  result.notes = prepared.notes;
  result.steps = prepared.job.schedule.steps();
  result.cfg_scale = prepared.job.cfg_scale;

  std::string current;
  auto begun = Clock::now();
  const auto close_phase = [&] {
    if (!current.empty()) result.seconds[current] += std::chrono::duration<double>(Clock::now() - begun).count();
    begun = Clock::now();
  };
  e.ops.reset_peak();
  e.parts.set_progress(&callbacks);
  const double loaded_before = e.parts.load_seconds();
  const auto pictures = run_job(e.ops, e.parts, prepared.job, callbacks, [&](const char* phase) {
    close_phase();
    current = phase;
  });
  close_phase();
  e.parts.set_progress(nullptr);
  result.seconds["load"] = e.parts.load_seconds() - loaded_before;  // part of the phases
  result.activation_peak_bytes = e.ops.memory().peak;
  for (std::string& note : e.parts.take_notes()) result.notes.push_back(std::move(note));
  for (const Tensor& p : pictures) result.images.push_back(finish_picture(request, prepared, to_image(p)));
  result.width = result.images.front().width;
  result.height = result.images.front().height;
  return result;
}

// bf16 halves memory and is faster where the CPU has it; a machine without gets the exact path.
CpuOptions cpu_options(PrecisionChoice choice) {
  if (choice == PrecisionChoice::w8a8) return {.precision = Precision::w8a8};
  if (choice == PrecisionChoice::w4a8) return {.precision = Precision::w4a8};
  const bool native = __builtin_cpu_supports("avx512bf16") != 0;
  const bool bf16 = choice == PrecisionChoice::bf16 || (choice == PrecisionChoice::automatic && native);
  return {.precision = bf16 ? Precision::bf16 : Precision::f32};
}

RunPlan Engine::plan(const Request& request) const {
  return plan_job(impl_->options, prepare_request(request, impl_->traits, impl_->tokenizer).job);
}

SeparateFiles separate_files(const EngineOptions& o) {
  SeparateFiles parts;
  parts.base = o.model.empty() ? shipped_model() : o.model;
  parts.dit = o.dit;
  parts.text_encoder = o.text_encoder;
  parts.mmproj = o.mmproj;
  parts.vae = o.vae;
  parts.tokenizer = o.tokenizer;
  if (!fs::exists(parts.base)) throw ModelError("{}: no such model file or folder", parts.base.string());
  return parts;
}

EngineOptions make_engine_options(const OptionValues& o) {
  EngineOptions e;
  e.model = o.text("model");
  e.dit = o.text("dit");
  e.text_encoder = o.text("text-encoder");
  e.mmproj = o.text("mmproj");
  e.vae = o.text("vae");
  e.tokenizer = o.text("tokenizer");
  for (const std::string& item : o.list("lora")) {
    // PATH:scale; a colon that no number follows belongs to the path.
    LoraFile lora{item, 1.f};
    if (const size_t colon = item.rfind(':'); colon != std::string::npos && colon + 1 < item.size()) {
      char* end = nullptr;
      const float scale = std::strtof(item.c_str() + colon + 1, &end);
      if (*end == '\0') lora = {item.substr(0, colon), scale};
    }
    if (!fs::exists(lora.path)) throw ModelError("{}: no such LoRA file", lora.path.string());
    e.loras.push_back(lora);
  }
  const std::string precision = o.text("precision");
  e.precision = precision == "f32"    ? PrecisionChoice::f32
                : precision == "bf16" ? PrecisionChoice::bf16
                : precision == "w8a8" ? PrecisionChoice::w8a8
                : precision == "w4a8" ? PrecisionChoice::w4a8
                                      : PrecisionChoice::automatic;
  return e;
}

fs::path shipped_model() {
  constexpr const char* kName = "inkling-tiny";
  if (const char* folder = std::getenv("INKLING_MODELS")) return fs::path(folder) / kName;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  // In the source tree (build/bin/inkling), and installed (PREFIX/bin/inkling).
  for (const fs::path& folder :
       {program / "../../models", program / "../share/inkling/models", fs::path(INKLING_SOURCE_MODELS)})
    if (fs::exists(folder / kName / "model_index.json")) return fs::weakly_canonical(folder / kName);
  throw ModelError("the model that ships was not found; set INKLING_MODELS to the folder that holds {}", kName);
}

}  // namespace inkling
