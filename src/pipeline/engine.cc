#include "pipeline/engine.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "memory/ladder.h"
#include "models/registry.h"
#include "pipeline/conditioning.h"
#include "pipeline/job.h"
#include "pipeline/loaded_parts.h"
#include "pipeline/options.h"
#include "pipeline/picture.h"
#include "pipeline/plan.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

// Left free of what a placement may use: the arena's blocks do not always close ranks.
constexpr int64_t kFragmentationReserve = int64_t{64} << 20;

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
      : options(o), files(find_files(options)), tokenizer(Tokenizer::load(files.tokenizer)) {
    traits.kind = files.kind;
    traits.defaults = files.defaults;
    traits.processor = processor_config(files);
    traits.scheduler = read_schedule(files.scheduler_config);
    name = (fs::is_directory(files.source) ? files.source / "" : files.source).parent_path().filename().string();
    if (!fs::is_directory(files.source)) name = files.source.filename().string();
    for (const LoraFile& l : options.loras)
      traits.distilled_steps = std::max(traits.distilled_steps, lightning_steps(l.path));
    open(options.device, options.precision);
  }

  void open(const DeviceChoice& device, PrecisionChoice precision) {
    parts.reset();
    backend.reset();
    backend = open_backend(device, precision);
    backend->ops().set_trace(trace);
    parts = std::make_unique<LoadedParts>(files, options, *backend);
  }

  // Who lives where, for this job; null on the CPU, where everything is in host memory anyway.
  std::optional<Placement> placement(Job& job, Rung& rung, std::vector<std::string>& notes);

  const EngineOptions options;
  const ModelFiles files;
  Tokenizer tokenizer;
  TraceFn trace;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<LoadedParts> parts;
  PlanCache plans;
  bool precision_chosen = false;
  ModelTraits traits;
  std::string name;
};

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

const std::string& Engine::model_name() const { return impl_->name; }

void Engine::set_trace(TraceFn trace) {
  impl_->trace = std::move(trace);
  impl_->backend->ops().set_trace(impl_->trace);
}

std::optional<Placement> Engine::Impl::placement(Job& job, Rung& rung, std::vector<std::string>& notes) {
  if (!backend->on_gpu()) return std::nullopt;
  const auto budget =
      static_cast<int64_t>(static_cast<double>(backend->budget() - kFragmentationReserve) * rung.residency);
  const auto placed = [&] { return place(plans.plan(options, job, *backend), budget); };
  if (rung.tile_vae && !job.tiling) job.tiling = Tiling{};
  if (options.precision == PrecisionChoice::automatic && !precision_chosen) {
    // The most exact arithmetic whose denoising needs no streaming; else the smallest.
    for (const PrecisionChoice p : {PrecisionChoice::stored, PrecisionChoice::w8a8, PrecisionChoice::w4a8}) {
      if (p == PrecisionChoice::stored && rung.smaller_precision) continue;
      backend->set_precision(p);
      const RunPlan plan = plans.plan(options, job, *backend);
      if (denoises_resident(plan, place(plan, budget))) break;
    }
    backend->ops().set_trace(trace);
    parts = std::make_unique<LoadedParts>(files, options, *backend);
    precision_chosen = true;
  }
  Placement p = placed();
  if (!p.fits && !job.tiling) {
    job.tiling = Tiling{};
    p = placed();
    if (p.fits) notes.push_back("the VAE runs in tiles: the whole picture would not fit into the GPU memory");
  }
  if (!p.fits)
    throw MemoryError("the run does not fit into the GPU memory given; the smallest --max-vram that works is {} MiB",
                      (p.smallest_budget + kFragmentationReserve + backend->device_overhead()) / (1 << 20) + 1);
  return p;
}

Result Engine::run(const Request& request, const Callbacks& callbacks) {
  Impl& e = *impl_;
  PreparedRequest prepared = prepare_request(request, e.traits, e.tokenizer);
  Result result;
  result.prompt = prepared.prompt;
  result.seeds = prepared.seeds;
  result.notes = prepared.notes;
  result.steps = prepared.job.schedule.steps();
  result.cfg_scale = prepared.job.cfg_scale;

  MemoryLadder ladder(e.options.device.kind == DeviceChoice::Kind::automatic,
                      e.options.precision == PrecisionChoice::automatic);
  std::vector<Tensor> pictures;
  std::string current;
  auto begun = Clock::now();
  const auto close_phase = [&] {
    if (!current.empty()) result.seconds[current] += std::chrono::duration<double>(Clock::now() - begun).count();
    begun = Clock::now();
  };
  int inject = e.options.device.injected_failures;
  for (Rung rung; pictures.empty();) {
    try {
      if (rung.cpu) e.open({}, PrecisionChoice::automatic);
      Job job = prepared.job;
      const auto placement = e.placement(job, rung, result.notes);
      e.parts->listen(&callbacks);
      e.parts->begin_run(placement, placement ? &e.plans.plan(e.options, job, *e.backend) : nullptr);
      const double loaded_before = e.parts->load_seconds();
      result.seconds.clear();
      current.clear();
      e.backend->ops().reset_peak();
      if (std::exchange(inject, inject - 1) > 0) e.backend->inject_failures(1);
      pictures = run_job(e.backend->ops(), *e.parts, job, callbacks, [&](const char* phase) {
        close_phase();
        current = phase;
      });
      close_phase();
      result.seconds["load"] = e.parts->load_seconds() - loaded_before;  // part of the phases
    } catch (const MemoryError& error) {
      // A run on the CPU that is out of memory has nowhere to go.
      if (!e.backend->on_gpu()) throw;
      e.parts->drop_all();
      const auto next = ladder.next(rung);
      if (!next) throw;
      rung = *next;
      if (rung.smaller_precision) e.precision_chosen = false;
      result.notes.push_back(fmt::format("{}; trying again: {}", error.what(), rung.text));
    }
  }
  e.parts->listen(nullptr);
  result.activation_peak_bytes = e.backend->ops().memory().peak;
  result.device = e.backend->name();
  result.precision = name(e.backend->precision());
  result.device_bytes = e.backend->device_bytes();
  for (std::string& note : e.parts->take_notes()) result.notes.push_back(std::move(note));
  for (const Tensor& p : pictures) result.images.push_back(finish_picture(request, prepared, to_image(p)));
  result.width = result.images.front().width;
  result.height = result.images.front().height;
  return result;
}

RunPlan Engine::plan(const Request& request) const {
  return plan_job(impl_->options, prepare_request(request, impl_->traits, impl_->tokenizer).job, *impl_->backend);
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
  e.device = parse_device(o.text("device"));
  if (o.given("max-vram")) e.device.max_vram = parse_bytes(o.text("max-vram"));
  const std::string precision = o.text("precision");
  for (const PrecisionChoice p : {PrecisionChoice::f32, PrecisionChoice::bf16, PrecisionChoice::fp8,
                                  PrecisionChoice::w8a8, PrecisionChoice::w4a8, PrecisionChoice::stored})
    if (precision == name(p)) e.precision = p;
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
