#include "pipeline/engine.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "models/registry.h"
#include "pipeline/conditioning.h"
#include "pipeline/device_lane.h"
#include "pipeline/embedding_cache.h"
#include "pipeline/fingerprint.h"
#include "pipeline/options.h"
#include "pipeline/picture.h"
#include "pipeline/plan.h"
#include "pipeline/team.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

ModelFiles find_files(const EngineOptions& o) {
  ModelFiles files = combine(separate_files(o));
  require_complete(files);
  return files;
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
        embeddings(options.embedding_cache_bytes),
        lane(files, options, options.device) {
    traits.kind = files.kind;
    traits.defaults = files.defaults;
    traits.processor = processor_config(files);
    traits.scheduler = read_schedule(files.scheduler_config);
    name = (fs::is_directory(files.source) ? files.source / "" : files.source).parent_path().filename().string();
    if (!fs::is_directory(files.source)) name = files.source.filename().string();
    if (!options.device.more.empty()) team = std::make_unique<Team>(files, options);
    for (const LoraFile& l : options.loras)
      traits.distilled_steps = std::max(traits.distilled_steps, lightning_steps(l.path));
  }

  PreparedRequest prepare(const Request& request) const { return prepare_request(request, traits, tokenizer); }
  std::vector<JobResult> run(std::span<const BatchMember> members, LaneReport& report) {
    const RunServices services{
        options.embedding_cache_bytes > 0 ? &embeddings : nullptr, encoder_fingerprint(files), nullptr, {}};
    return run_on_devices(lane, team.get(), members, services, report);
  }

  const EngineOptions options;
  const ModelFiles files;
  Tokenizer tokenizer;
  EmbeddingCache embeddings;
  DeviceLane lane;
  std::unique_ptr<Team> team;  // null: one device
  ModelTraits traits;
  std::string name;
};

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Engine::~Engine() = default;

const std::string& Engine::model_name() const { return impl_->name; }
void Engine::set_trace(TraceFn trace) { impl_->lane.set_trace(std::move(trace)); }
EmbeddingCacheStats Engine::embedding_cache_stats() const { return impl_->embeddings.stats(); }
std::string Engine::fingerprint() const {
  return engine_fingerprint(impl_->files, impl_->options, impl_->lane.backend().on_gpu());
}

namespace {

Result make_result(const Request& request, const PreparedRequest& prepared, JobResult job, const LaneReport& report) {
  Result result;
  result.prompt = prepared.prompt;
  result.seeds = prepared.seeds;
  result.notes = prepared.notes;
  result.notes.insert(result.notes.end(), report.notes.begin(), report.notes.end());
  result.steps = prepared.job.schedule.steps();
  result.cfg_scale = prepared.job.cfg_scale;
  result.seconds = report.seconds;
  result.activation_peak_bytes = report.activation_peak_bytes;
  result.device_bytes = report.device_bytes;
  result.device = report.device;
  result.precision = report.precision;
  result.embedding_cached = job.embedding_cached;
  if (request.keep_latents) result.latents = std::move(job.latents);
  for (const Tensor& p : job.pictures) result.images.push_back(finish_picture(request, prepared, to_image(p)));
  result.width = result.images.front().width;
  result.height = result.images.front().height;
  return result;
}

}  // namespace

Result Engine::run(const Request& request, const Callbacks& callbacks) {
  const PreparedRequest prepared = impl_->prepare(request);
  const BatchMember member{&prepared.job, &callbacks};
  LaneReport report;
  std::vector<JobResult> results = impl_->run({&member, 1}, report);
  if (results[0].error) std::rethrow_exception(results[0].error);
  return make_result(request, prepared, std::move(results[0]), report);
}

std::vector<Outcome> Engine::run_batch(std::span<const Request> requests, std::span<const Callbacks> callbacks) {
  if (!callbacks.empty() && callbacks.size() != requests.size())
    throw RuntimeError("run_batch: {} callbacks for {} requests", callbacks.size(), requests.size());
  static const Callbacks kNone;
  std::vector<Outcome> outcomes(requests.size());
  const auto guarded = [&](size_t i, const auto& f) {
    try {
      f();
    } catch (...) {
      outcomes[i].error = std::current_exception();
    }
  };
  std::vector<std::optional<PreparedRequest>> prepared(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) guarded(i, [&] { prepared[i] = impl_->prepare(requests[i]); });

  for (size_t first = 0; first < requests.size(); ++first) {
    if (!prepared[first] || outcomes[first].result || outcomes[first].error) continue;
    // What of the rest may go with this one.
    std::vector<size_t> group;
    std::vector<BatchMember> members;
    for (size_t i = first; i < requests.size(); ++i) {
      if (!prepared[i] || outcomes[i].result || outcomes[i].error) continue;
      if (i > first && !same_batch(prepared[first]->job, prepared[i]->job)) continue;
      group.push_back(i);
      members.push_back({&prepared[i]->job, callbacks.empty() ? &kNone : &callbacks[i]});
    }
    std::vector<JobResult> results;
    LaneReport report;
    try {
      results = impl_->run(members, report);
    } catch (...) {
      for (const size_t i : group) outcomes[i].error = std::current_exception();
      continue;
    }
    for (size_t j = 0; j < group.size(); ++j) {
      const size_t i = group[j];
      guarded(i, [&] {
        if (results[j].error) std::rethrow_exception(results[j].error);
        outcomes[i].result = make_result(requests[i], *prepared[i], std::move(results[j]), report);
      });
    }
  }
  return outcomes;
}

std::string Engine::batch_key(const Request& request) const { return inkling::batch_key(request, impl_->traits); }

RunPlan Engine::plan(const Request& request) const { return impl_->lane.plan(impl_->prepare(request).job); }

int lightning_steps(const fs::path& lora) {
  std::string file = lora.filename().string();
  std::ranges::transform(file, file.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (file.find("lightning") == std::string::npos) return 0;
  return file.find("4step") != std::string::npos ? 4 : 8;
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
  if (o.given("max-vram")) {
    e.device.max_vram = parse_bytes(o.text("max-vram"));
    for (DeviceChoice& d : e.device.more) d.max_vram = e.device.max_vram;
  }
  const std::string precision = o.text("precision");
  for (const PrecisionChoice p : {PrecisionChoice::f32, PrecisionChoice::bf16, PrecisionChoice::fp8,
                                  PrecisionChoice::w8a8, PrecisionChoice::w4a8, PrecisionChoice::stored})
    if (precision == name(p)) e.precision = p;
  const std::string split = o.text("split");
  if (split == "pictures") e.split = DeviceSplit::pictures;
  if (split == "guidance") e.split = DeviceSplit::guidance;
  if (split == "blocks") e.split = DeviceSplit::blocks;
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
