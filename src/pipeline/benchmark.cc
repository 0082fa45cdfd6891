#include "pipeline/benchmark.h"

#include <algorithm>
#include <exception>
#include <fstream>

#include "base/error.h"
#include "base/rng.h"
#include "pipeline/device_lane.h"
#include "pipeline/placed_parts.h"
#include "pipeline/presets.h"
#include "pipeline/random_weights.h"
#include "pipeline/team_plan.h"
#include "pipeline/worker.h"

namespace inkling {

namespace {

using Part = Parts::Part;

// Networks whose matrices are random numbers.
class RandomParts : public PlacedParts {
 public:
  RandomParts(const ModelConfig& config, Backend& backend, BlockRange blocks)
      : PlacedParts(backend, true), config_(config), blocks_(blocks), on_device_(backend.fill_missing_weights()) {}

  TextEncoder& text_encoder() override { return ready(text_encoder_, Part::text_encoder, config_.text); }
  VisionTower& vision() override { return ready(vision_, Part::vision, config_.vision); }
  DitModulation& modulation() override { return ready(modulation_, Part::modulation, config_.dit); }
  Dit& dit() override { return ready(dit_, Part::dit, config_.dit); }
  VaeEncoder& vae_encoder() override { return ready(vae_encoder_, Part::vae_encoder, config_.vae); }
  VaeDecoder& vae_decoder() override { return ready(vae_decoder_, Part::vae_decoder, config_.vae); }

 private:
  template <typename M, typename Config>
  M& ready(std::unique_ptr<M>& slot, Part part, const Config& config) {
    if (slot) {
      resume(part);
      return *slot;
    }
    if constexpr (std::is_same_v<M, Dit>)
      slot = std::make_unique<M>(config, blocks_);
    else
      slot = std::make_unique<M>(config);
    // Made on the host, a weight gets the same numbers wherever it lies, on one device or divided among several.
    const auto fill = [this](const Parameter& p) {
      randomize(p, backend_.ops(), on_device_, std::hash<std::string>()(p.name));
    };
    if (!place(*slot, part, fill)) slot->for_each_parameter(fill);
    return *slot;
  }

  const ModelConfig& config_;
  const BlockRange blocks_;
  const bool on_device_;
};

// --- what fits into the host -----------------------------------------------------------------------------------------

// Bytes that programs may still take; -1 where the system does not say.
int64_t free_host_bytes() {
  std::ifstream in("/proc/meminfo");
  std::string word;
  while (in >> word) {
    int64_t kilobytes = 0;
    if (word == "MemAvailable:" && in >> kilobytes) return kilobytes * 1024;
  }
  return -1;
}

int64_t random_weight_bytes(const ModelConfig& config, const BackendModel& model, bool edits) {
  ModelTree tree(config);
  int64_t bytes = 0;
  const auto count = [&](const Parameter& p) {
    if (p.weight == nullptr) return;
    Weight& w = *p.weight;
    w.stored = DType::bf16;
    const int64_t prepared = model.prepared_bytes(w);
    bytes += prepared > 0 ? prepared : w.shape.elements() * 2;
  };
  for (Module* m : {static_cast<Module*>(&tree.text_encoder), static_cast<Module*>(&tree.modulation),
                    static_cast<Module*>(&tree.dit), static_cast<Module*>(&tree.vae_decoder)})
    m->for_each_parameter(count);
  if (!edits) return bytes;
  tree.vision.for_each_parameter(count);
  tree.vae_encoder.for_each_parameter(count);
  return bytes;
}

void check_host(const PlanRequest& request, const ModelSizes& sizes, const TeamPlan& team, const BackendModel& model) {
  const int64_t free = free_host_bytes();
  int64_t need = random_weight_bytes(sizes.config, model, request.references > 0);
  if (team.way == SharingWay::pictures) need *= std::ssize(team.devices);  // each has all of it
  int64_t activations = 0;
  for (const DevicePlan& d : team.devices)
    for (const PhasePlan& p : d.plan.phases) activations = std::max(activations, p.need.activation_bytes);
  need += activations;
  if (free < 0 || need <= free) return;
  constexpr double kGiB = 0x1p30;
  throw MemoryError(
      "bench: {} in {} takes {:.1f} GiB of the host's memory, {:.1f} GiB are free; try --precision w4a8, or --model "
      "tiny, or --kernels, which needs one block's weights alone",
      team.model, team.precision, static_cast<double>(need) / kGiB, static_cast<double>(free) / kGiB);
}

void check_devices(const TeamPlan& team, const Backend& backend) {
  if (team.fits) return;
  throw MemoryError("bench: the run does not fit; the smallest budget that works is {} MiB",
                    ((team.smallest_budget + kFragmentationReserve + backend.device_overhead()) >> 20) + 1);
}

// --- runs ------------------------------------------------------------------------------------------------------------

void fill_normal(Tensor& t, uint64_t seed) { TorchCpuGenerator(seed).normal(t.span<float>()); }

// One device with its networks. All but the main one are touched by their worker's thread alone.
struct BenchDevice {
  const DevicePlan* plan = nullptr;
  Job job;  // its own pictures
  std::unique_ptr<Backend> backend;
  std::unique_ptr<RandomParts> parts;
  std::unique_ptr<Worker> worker;  // null: the main thread

  void begin_run() { parts->begin_run(plan->placement, plan->placement ? &plan->plan : nullptr); }
  // On the device's thread.
  std::future<void> begin(std::function<void()> f) const { return worker->begin(std::move(f)); }
};

int together_of(const Job& job, const Backend& backend) {
  static const Callbacks kNone;
  const BatchMember member{&job, &kNone};
  return pictures_together({&member, 1}, backend);
}

class Benchmark {
 public:
  Benchmark(const PlanRequest& request, int repeats, const ProgressFn& progress)
      : request_(request), repeats_(repeats), progress_(progress), sizes_(model_sizes(request.model)) {}

  BenchmarkResult operator()() {
    if (sizes_.files) throw ArgumentError("bench: '{}' is no preset; weights are made, not read", sizes_.name);
    Job job = shaped_job(request_, sizes_);
    DeviceChoice first = request_.model.device;
    first.more.clear();
    auto backend = open_backend(first, request_.model.precision);
    team_ = plan_team(request_.model, sizes_, job, *backend, backend->budget());
    if (backend->on_gpu())
      check_devices(team_, *backend);
    else
      check_host(request_, sizes_, team_, backend->model());
    for (size_t i = 0; i < job.noise.size(); ++i) fill_normal(job.noise[i], i);
    for (size_t i = 0; i < job.references.size(); ++i) fill_normal(job.references[i], 100 + i);
    for (size_t i = 0; i < job.vision.size(); ++i) fill_normal(job.vision[i].patches, 200 + i);
    open(job, std::move(backend));
    describe(job);
    for (int run = 0; run <= repeats_; ++run) run_once(run);
    for (size_t i = 0; i < devices_.size(); ++i)
      on_device(i, [&, i] {
        result_.devices[i].arena_peak_bytes = devices_[i].backend->ops().memory().peak;
        result_.devices[i].device_bytes = devices_[i].backend->device_bytes();
        if (i > 0) {  // a GPU is given back where it was taken
          devices_[i].parts.reset();
          devices_[i].backend.reset();
        }
      });
    devices_.front().parts.reset();
    return std::move(result_);
  }

 private:
  void on_device(size_t i, const std::function<void()>& f) {
    if (devices_[i].worker)
      devices_[i].worker->run(f);
    else
      f();
  }

  void open(const Job& job, std::unique_ptr<Backend> backend) {
    const PrecisionChoice precision = backend->precision();
    devices_.resize(team_.devices.size());
    for (size_t i = 0; i < devices_.size(); ++i) {
      BenchDevice& d = devices_[i];
      d.plan = &team_.devices[i];
      d.job = job;
      if (team_.way == SharingWay::pictures)
        d.job.noise.assign(job.noise.begin() + d.plan->first_picture,
                           job.noise.begin() + d.plan->first_picture + d.plan->pictures);
      if (i > 0) d.worker = std::make_unique<Worker>();
      on_device(i, [&] {
        d.backend = i == 0 ? std::move(backend) : open_backend(d.plan->device, precision);
        d.parts = std::make_unique<RandomParts>(sizes_.config, *d.backend, d.plan->share.stages[d.plan->share.own]);
      });
    }
    devices_.front().backend->activate();
  }

  void describe(const Job& job) {
    result_.precision = team_.precision;
    result_.sharing = name(team_.way);
    result_.pictures = static_cast<int>(job.noise.size());
    const DevicePlan& main = team_.devices.front();
    const auto pictures = static_cast<int64_t>(devices_.front().job.noise.size());
    const int64_t together = together_of(devices_.front().job, *devices_.front().backend);
    const int64_t passes = job.schedule.steps() * ((pictures + together - 1) / together);
    const auto denoising = [](const RunPlan& plan) {
      return std::ranges::find(plan.phases, std::string("denoise"), &PhasePlan::name);
    };
    for (const DevicePlan& d : team_.devices) {
      BenchmarkResult::Device device{.name = {}, .part = d.part};
      const size_t i = result_.devices.size();
      device.name = devices_[i].backend->name();
      if (const auto p = denoising(d.plan); p != d.plan.phases.end()) {
        if (d.placement)
          device.streamed_bytes = d.placement->phases[static_cast<size_t>(p - d.plan.phases.begin())].streamed_bytes;
        if (&d == &main || team_.way != SharingWay::pictures) result_.forward_flops += p->flops;
      }
      result_.devices.push_back(device);
    }
    result_.forward_flops /= static_cast<double>(passes);
  }

  // The transformer's stages as the layout has them.
  DenoiserFn team_denoiser() {
    if (team_.layout.devices() == 1 || team_.way == SharingWay::pictures) return {};
    return [this](const std::vector<StepModulation>& steps, bool steps_on_device) {
      auto stages = team_stages(team_.layout, [this](size_t i) {
        BenchDevice& d = devices_[i];
        return TeamStage{&d.backend->ops(), [&d]() -> Dit& { return d.parts->dit(); }, d.worker.get()};
      });
      return std::make_unique<TeamDenoiser>(devices_.front().backend->ops(), std::move(stages), steps, steps_on_device);
    };
  }

  std::vector<JobResult> run_on(BenchDevice& d, const Callbacks& callbacks, const RunServices& services,
                                const PhaseFn& phase) {
    d.begin_run();
    const BatchMember member{&d.job, &callbacks};
    std::vector<JobResult> results =
        run_jobs(d.backend->ops(), *d.parts, {&member, 1}, together_of(d.job, *d.backend), services, phase);
    if (results[0].error) std::rethrow_exception(results[0].error);
    return results;
  }

  void run_once(int run) {
    const bool warm = run > 0;
    Ops& ops = devices_.front().backend->ops();
    std::string phase;
    const auto run_begun = ops.mark();
    std::unique_ptr<Mark> phase_begun = ops.mark(), step_begun = ops.mark();
    const auto close = [&](const char* next) {
      auto now = ops.mark();
      const double seconds = now->seconds_since(*phase_begun);  // waits for what was enqueued
      if (!phase.empty() && warm) result_.seconds[phase].push_back(seconds);
      phase = next;
      phase_begun = std::move(now);
    };
    Callbacks callbacks;
    callbacks.progress = [&](const Progress& p) {
      if (progress_) progress_(p);
      auto now = ops.mark();
      if (warm && p.phase == std::string_view("denoise") && p.step > 0)
        result_.forward_seconds.push_back(now->seconds_since(*step_begun));
      step_begun = std::move(now);
    };
    RunServices services;
    services.denoiser = team_denoiser();
    std::vector<std::future<void>> others;
    const Callbacks none;
    for (size_t i = 1; i < devices_.size(); ++i)
      others.push_back(devices_[i].begin([this, i, &none] {
        if (team_.way == SharingWay::pictures)
          run_on(devices_[i], none, {}, {});
        else
          devices_[i].begin_run();
      }));
    std::exception_ptr error;
    const auto guarded = [&](const auto& f) {
      try {
        f();
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    };
    const auto wait = [&] {
      for (auto& o : others) guarded([&] { o.get(); });
      others.clear();
    };
    std::vector<JobResult> results;
    if (team_.way != SharingWay::pictures) wait();
    if (!error) guarded([&] { results = run_on(devices_.front(), callbacks, services, close); });
    if (!error) close("");
    wait();
    if (error) std::rethrow_exception(error);
    const double seconds = ops.mark()->seconds_since(*run_begun);
    if (warm)
      result_.total_seconds.push_back(seconds);
    else
      result_.setup_seconds = seconds;
    if (run < repeats_) return;
    for (const float v : results[0].pictures.back().span<float>()) result_.checksum += v;
  }

  const PlanRequest& request_;
  const int repeats_;
  const ProgressFn& progress_;
  const ModelSizes sizes_;
  TeamPlan team_;
  std::vector<BenchDevice> devices_;
  BenchmarkResult result_;
};

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

BenchmarkResult run_benchmark(const PlanRequest& request, int repeats, const ProgressFn& progress) {
  return Benchmark(request, repeats, progress)();
}

}  // namespace inkling
