#include "pipeline/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "models/registry.h"
#include "pipeline/placed_parts.h"
#include "pipeline/presets.h"
#ifdef INKLING_CUDA
#include "backends/cuda/cuda_ops.h"
#endif

namespace inkling {

namespace {

using Clock = std::chrono::steady_clock;
using Part = Parts::Part;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Networks whose matrices the backend fills with random numbers.
class RandomParts : public PlacedParts {
 public:
  RandomParts(const ModelConfig& config, Backend& backend) : PlacedParts(backend, true), config_(config) {}

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
    slot = std::make_unique<M>(config);
    place(*slot, part, [this](const Parameter& p) {
      if (p.weight != nullptr) {
        p.weight->stored = DType::bf16;
        backend_.ops().prepare(*p.weight);
        return;
      }
      Tensor ones = host_tensor(p.shape);
      std::ranges::fill(ones.span<float>(), 1.f);
      *p.vector = backend_.ops().upload(ones);
    });
    return *slot;
  }

  const ModelConfig& config_;
};

void fill_normal(Tensor& t, uint64_t seed) { TorchCpuGenerator(seed).normal(t.span<float>()); }

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

BenchmarkResult run_benchmark(const PlanRequest& request, int repeats, const ProgressFn& progress) {
  const ModelConfig config = preset(request.model.model.string());
  if (!request.model.device.more.empty()) throw ArgumentError("device: bench takes one");
  const auto backend = open_backend(request.model.device, request.model.precision);
  if (!backend->on_gpu())
    throw ArgumentError(
        "bench: random weights are made on a GPU; write a model for the CPU by synth, and time generate");
#ifdef INKLING_CUDA
  dynamic_cast<CudaOps&>(backend->ops()).fill_missing_weights(true);
#endif
  Job job = shaped_job(request, config, {});
  for (size_t i = 0; i < job.noise.size(); ++i) fill_normal(job.noise[i], i);
  for (size_t i = 0; i < job.references.size(); ++i) fill_normal(job.references[i], 100 + i);
  for (size_t i = 0; i < job.vision.size(); ++i) fill_normal(job.vision[i].patches, 200 + i);

  const RunPlan plan = plan_job(request.model, job, *backend);
  const Placement placement = place(plan, backend->budget() - (int64_t{64} << 20));
  if (!placement.fits)
    throw MemoryError("bench: the run does not fit; the smallest budget that works is {} MiB",
                      (placement.smallest_budget + backend->device_overhead()) >> 20);
  BenchmarkResult result;
  for (size_t i = 0; i < plan.phases.size(); ++i) {
    if (plan.phases[i].name != "denoise") continue;
    const auto forwards = static_cast<double>(job.schedule.steps()) * static_cast<double>(job.noise.size());
    result.forward_flops = plan.phases[i].flops / forwards;
    result.streamed_bytes = placement.phases[i].streamed_bytes;
  }
  RandomParts parts(config, *backend);
  Ops& ops = backend->ops();
  const Tensor marker = ops.upload(host_tensor(Shape{1}));
  auto step_begun = Clock::now();
  Callbacks callbacks;
  for (int run = 0; run <= repeats; ++run) {
    std::string phase;
    auto begun = Clock::now();
    const auto run_begun = begun;
    const auto close = [&](const char* next) {
      ops.download(marker);  // waits for what was enqueued
      if (!phase.empty() && run > 0) result.seconds[phase].push_back(seconds_since(begun));
      phase = next;
      begun = Clock::now();
    };
    callbacks.progress = [&](const Progress& p) {
      if (progress) progress(p);
      if (run > 0 && p.phase == std::string_view("denoise") && p.step > 0)
        result.forward_seconds.push_back(seconds_since(step_begun));
      step_begun = Clock::now();
    };
    parts.begin_run(placement, &plan);
    const std::vector<Tensor> pictures = run_job(ops, parts, job, callbacks, close);
    close("");
    if (run == 0) {
      result.setup_seconds = seconds_since(run_begun);
    } else {
      result.total_seconds.push_back(seconds_since(run_begun));
    }
    if (run < repeats) continue;
    for (const float v : pictures.back().span<float>()) result.checksum += v;
  }
  result.device = backend->name();
  result.precision = name(backend->precision());
  result.arena_peak_bytes = ops.memory().peak;
  result.device_bytes = backend->device_bytes();
  return result;
}

}  // namespace inkling
