#include "pipeline/device_lane.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "diffusion/latents.h"

namespace inkling {

namespace {

using Clock = std::chrono::steady_clock;

// Left free of what a placement may use: the arena's blocks do not always close ranks.
constexpr int64_t kFragmentationReserve = int64_t{64} << 20;

// Tokens in one pass of the transformer on a CPU. Company never cost time there, but what it saves (threads that wait
// for each other, weights read once) is gone with large pictures, and its memory is not. Denoising 4 pictures together,
// times as fast as in turn (the model that ships, bf16, 2 cores with AMX, threads that sleep while they wait):
// 128x128 2.2, 256x256 1.8, 512x512 1.12, 768x768 1.0. With spinning threads and cores of one's own 256x256 gains 1.3.
constexpr int64_t kTokensTogether = 16384;

std::vector<const Job*> pointers(const std::vector<Job>& jobs) {
  std::vector<const Job*> result;
  for (const Job& j : jobs) result.push_back(&j);
  return result;
}

}  // namespace

int pictures_together(std::span<const BatchMember> members, const Backend& backend) {
  int64_t pictures = 0;
  for (const BatchMember& m : members) pictures += std::ssize(m.job->noise);
  if (backend.on_gpu()) return members.size() > 1 ? static_cast<int>(pictures) : 1;
  const Job& job = *members[0].job;
  int64_t tokens = job.width / kPixelsPerToken * (job.height / kPixelsPerToken);
  for (const Tensor& r : job.references) tokens += r.dim(0) / kPixelsPerToken * (r.dim(1) / kPixelsPerToken);
  return static_cast<int>(std::clamp<int64_t>(kTokensTogether / tokens, 1, std::max<int64_t>(pictures, 1)));
}

DeviceLane::DeviceLane(const ModelFiles& files, const EngineOptions& options, const DeviceChoice& device)
    : files_(files), options_(options), device_(device), inject_(device.injected_failures) {
  open(device, options.precision);
}

void DeviceLane::open(const DeviceChoice& device, PrecisionChoice precision) {
  parts_.reset();
  backend_.reset();
  backend_ = open_backend(device, precision);
  backend_->ops().set_trace(trace_);
  parts_ = std::make_unique<LoadedParts>(files_, options_, *backend_);
}

void DeviceLane::set_trace(TraceFn trace) {
  trace_ = std::move(trace);
  backend_->ops().set_trace(trace_);
}

const RunPlan& DeviceLane::known_plan(const std::vector<Job>& jobs, int together) {
  return plans_.plan(options_, pointers(jobs), together, *backend_);
}

RunPlan DeviceLane::plan(const Job& job) const {
  static const Callbacks kNone;
  const BatchMember member{&job, &kNone};
  const Job* jobs[] = {&job};
  return plan_jobs(options_, jobs, pictures_together({&member, 1}, *backend_), *backend_);
}

std::optional<Placement> DeviceLane::placement(std::vector<Job>& jobs, int& together, Rung& rung, LaneReport& report) {
  if (!backend_->on_gpu()) return std::nullopt;
  const auto budget =
      static_cast<int64_t>(static_cast<double>(backend_->budget() - kFragmentationReserve) * rung.residency);
  const auto placed = [&] { return place(known_plan(jobs, together), budget); };
  const auto tile = [&] {
    for (Job& j : jobs)
      if (!j.tiling) j.tiling = Tiling{};
  };
  if (rung.tile_vae) tile();
  if (options_.precision == PrecisionChoice::automatic && !precision_chosen_) {
    // The most exact arithmetic whose denoising needs no streaming; else the smallest.
    for (const PrecisionChoice p : {PrecisionChoice::stored, PrecisionChoice::w8a8, PrecisionChoice::w4a8}) {
      if (p == PrecisionChoice::stored && rung.smaller_precision) continue;
      backend_->set_precision(p);
      const RunPlan& plan = known_plan(jobs, together);
      if (denoises_resident(plan, place(plan, budget))) break;
    }
    backend_->ops().set_trace(trace_);
    parts_ = std::make_unique<LoadedParts>(files_, options_, *backend_);
    precision_chosen_ = true;
  }
  Placement p = placed();
  for (; !p.fits && together > 1; p = placed()) together = (together + 1) / 2;
  if (!p.fits && !jobs[0].tiling) {
    tile();
    p = placed();
    if (p.fits) report.notes.push_back("the VAE runs in tiles: the whole picture would not fit into the GPU memory");
  }
  if (!p.fits)
    throw MemoryError("the run does not fit into the GPU memory given; the smallest --max-vram that works is {} MiB",
                      (p.smallest_budget + kFragmentationReserve + backend_->device_overhead()) / (1 << 20) + 1);
  return p;
}

std::vector<JobResult> DeviceLane::attempt(std::span<const BatchMember> members, int& together, Rung& rung,
                                           const RunServices& services, LaneReport& report) {
  if (rung.cpu) open({}, PrecisionChoice::automatic);
  std::vector<Job> jobs;  // copies: a placement may change how they are decoded
  for (const BatchMember& m : members) jobs.push_back(*m.job);
  const auto placement = this->placement(jobs, together, rung, report);
  std::vector<BatchMember> placed;
  for (size_t i = 0; i < members.size(); ++i) placed.push_back({&jobs[i], members[i].callbacks});
  parts_->begin_run(placement, placement ? &known_plan(jobs, together) : nullptr);
  const double loaded_before = parts_->load_seconds();
  report.seconds.clear();
  backend_->ops().reset_peak();
  if (inject_ > 0) {
    --inject_;
    backend_->inject_failures(1);
  }
  RunServices here = services;
  here.networks += fmt::format(" {} {}", backend_->name(), name(backend_->precision()));
  std::string current;
  auto begun = Clock::now();
  const auto close_phase = [&] {
    if (!current.empty()) report.seconds[current] += std::chrono::duration<double>(Clock::now() - begun).count();
    begun = Clock::now();
  };
  std::vector<JobResult> results = run_jobs(backend_->ops(), *parts_, placed, together, here, [&](const char* phase) {
    close_phase();
    current = phase;
  });
  close_phase();
  report.seconds["load"] = parts_->load_seconds() - loaded_before;
  return results;
}

std::vector<JobResult> DeviceLane::run(std::span<const BatchMember> members, const RunServices& services,
                                       LaneReport& report) {
  MemoryLadder ladder(device_.kind == DeviceChoice::Kind::automatic, options_.precision == PrecisionChoice::automatic);
  int together = pictures_together(members, *backend_);
  std::vector<JobResult> results;
  for (Rung rung; results.empty();) {
    try {
      results = attempt(members, together, rung, services, report);
    } catch (const MemoryError& error) {
      // A run on the CPU that is out of memory has nowhere to go.
      if (!backend_->on_gpu()) {
        parts_->end_run();
        throw;
      }
      parts_->drop_all();
      if (together > 1) {
        together = 1;
        report.notes.push_back(fmt::format("{}; trying again: picture after picture", error.what()));
        continue;
      }
      const auto next = ladder.next(rung);
      if (!next) throw;
      rung = *next;
      if (rung.smaller_precision) precision_chosen_ = false;
      report.notes.push_back(fmt::format("{}; trying again: {}", error.what(), rung.text));
    } catch (...) {
      parts_->end_run();
      throw;
    }
  }
  report.activation_peak_bytes = backend_->ops().memory().peak;
  report.device = backend_->name();
  report.precision = name(backend_->precision());
  report.device_bytes = backend_->device_bytes();
  for (std::string& note : parts_->take_notes()) report.notes.push_back(std::move(note));
  return results;
}

}  // namespace inkling
