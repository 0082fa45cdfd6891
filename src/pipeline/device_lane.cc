#include "pipeline/device_lane.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "diffusion/latents.h"
#include "pipeline/sharing.h"
#include "pipeline/team.h"

namespace inkling {

namespace {

using Clock = std::chrono::steady_clock;

// Tokens in one pass of the transformer on a CPU. Company never cost time there, but what it saves (threads that wait
// for each other, weights read once) is gone with large pictures, and its memory is not. Denoising 4 pictures together,
// times as fast as in turn (the model that ships, bf16, 2 cores with AMX, threads that sleep while they wait):
// 128x128 2.2, 256x256 1.8, 512x512 1.12, 768x768 1.0. With spinning threads and cores of one's own 256x256 gains 1.3.
constexpr int64_t kTokensTogether = 16384;

// With references a picture's rows are two groups of modulation, and the GPU's kernels take sixteen.
constexpr int64_t kEditsTogether = 8;

std::vector<const Job*> pointers(const std::vector<Job>& jobs) {
  std::vector<const Job*> result;
  for (const Job& j : jobs) result.push_back(&j);
  return result;
}

}  // namespace

int pictures_together(std::span<const BatchMember> members, const Backend& backend) {
  int64_t pictures = 0;
  for (const BatchMember& m : members) pictures += std::ssize(m.job->noise);
  const Job& job = *members[0].job;
  if (backend.on_gpu()) {
    if (members.size() == 1) return 1;
    return static_cast<int>(job.references.empty() ? pictures : std::min(pictures, kEditsTogether));
  }
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

const RunPlan& DeviceLane::known_plan(const std::vector<Job>& jobs, int together, const TeamShare& share) {
  return plans_.plan(options_, pointers(jobs), together, *backend_, share);
}

RunPlan DeviceLane::plan(const Job& job) const {
  backend_->activate();
  static const Callbacks kNone;
  const BatchMember member{&job, &kNone};
  const Job* jobs[] = {&job};
  return plan_jobs(options_, jobs, pictures_together({&member, 1}, *backend_), *backend_);
}

void DeviceLane::set_precision(PrecisionChoice precision) {
  backend_->set_precision(precision);
  backend_->ops().set_trace(trace_);
  parts_ = std::make_unique<LoadedParts>(files_, options_, *backend_);
}

int64_t DeviceLane::budget(const Rung& rung) const {
  return static_cast<int64_t>(static_cast<double>(backend_->budget() - kFragmentationReserve) * rung.residency);
}

TeamLayout DeviceLane::settle(const std::vector<Job>& jobs, int together, const Rung& rung, const Team* team) {
  const bool choose = backend_->on_gpu() && options_.precision == PrecisionChoice::automatic && !precision_chosen_;
  LayoutQuestion q;
  q.split = options_.split;
  if (team != nullptr) {
    q.devices = static_cast<int64_t>(team->size()) + 1;
    q.layers = team->layers();
  }
  q.guided = jobs[0].negative.has_value();
  q.on_gpu = backend_->on_gpu();
  q.precisions = choose ? automatic_precisions(rung.smaller_precision) : std::vector{backend_->precision()};
  q.resident = [&](PrecisionChoice p, const TeamLayout& layout) {
    if (choose && backend_->precision() != p) backend_->set_precision(p);
    const RunPlan& plan = known_plan(jobs, together, share_of(layout, 0));
    return denoises_resident(plan, place(plan, budget(rung)));
  };
  const LayoutChoice chosen = choose_layout(q);
  if (choose) set_precision(chosen.precision);
  precision_chosen_ = precision_chosen_ || choose;
  return chosen.layout;
}

std::optional<Placement> DeviceLane::placement(std::vector<Job>& jobs, int& together, const Rung& rung,
                                               const TeamShare& share, LaneReport& report) {
  if (!backend_->on_gpu()) return std::nullopt;
  const auto placed = [&] { return place(known_plan(jobs, together, share), budget(rung)); };
  Placement p = placed();
  for (; !p.fits && together > 1; p = placed()) together = (together + 1) / 2;
  if (!p.fits && !jobs[0].tiling) {
    for (Job& j : jobs) j.tiling = Tiling{};
    p = placed();
    if (p.fits) report.notes.push_back("the VAE runs in tiles: the whole picture would not fit into the GPU memory");
  }
  if (!p.fits)
    throw MemoryError("the run does not fit into the GPU memory given; the smallest --max-vram that works is {} MiB",
                      (p.smallest_budget + kFragmentationReserve + backend_->device_overhead()) / (1 << 20) + 1);
  return p;
}

bool DeviceLane::draws_whole(std::span<const BatchMember> members, Team& team) {
  return inkling::draws_whole(options_.split, backend_->on_gpu(), [&] {
    backend_->activate();
    std::vector<Job> jobs;
    for (const BatchMember& m : members) jobs.push_back(*m.job);
    return settle(jobs, 1, {}, &team);
  });
}

void DeviceLane::join(const std::vector<Job>& jobs, int together, const TeamShare& share, PrecisionChoice precision) {
  if (backend_->on_gpu() && backend_->precision() != precision) set_precision(precision);
  precision_chosen_ = true;
  parts_->set_blocks(share.stages[share.own]);
  std::vector<Job> copies = jobs;
  LaneReport ignored;
  int same = together;
  const auto placement = this->placement(copies, same, {}, share, ignored);
  if (same != together) throw MemoryError("{}: holds no pictures of {} together", backend_->name(), together);
  parts_->begin_run(placement, placement ? &known_plan(copies, together, share) : nullptr);
}

void DeviceLane::leave() { parts_->end_run(); }

std::vector<JobResult> DeviceLane::attempt(std::span<const BatchMember> members, int& together, Rung& rung,
                                           const RunServices& services, LaneReport& report, Team* team) {
  if (rung.cpu) open({}, PrecisionChoice::automatic);
  std::vector<Job> jobs;  // copies: a placement may change how they are decoded
  for (const BatchMember& m : members) jobs.push_back(*m.job);
  if (rung.tile_vae)
    for (Job& j : jobs) j.tiling = j.tiling.value_or(Tiling{});
  const bool denoises = jobs[0].latents.empty();
  const TeamLayout layout = settle(jobs, together, rung, denoises ? team : nullptr);
  const TeamShare share = share_of(layout, 0);
  parts_->set_blocks(layout.stages[0]);
  const auto placement = this->placement(jobs, together, rung, share, report);
  std::vector<BatchMember> placed;
  for (size_t i = 0; i < members.size(); ++i) placed.push_back({&jobs[i], members[i].callbacks});
  parts_->begin_run(placement, placement ? &known_plan(jobs, together, share) : nullptr);
  RunServices here = services;
  here.preview = &preview_;
  // Devices of the same make compute the same, whichever number they have.
  const std::string device = backend_->name();
  here.networks += fmt::format(" {} {}", device.substr(device.find(' ') + 1), name(backend_->precision()));
  report.device = backend_->name();
  if (layout.devices() == 1) return run_phases(placed, together, here, report);

  const size_t helpers = layout.devices() - 1;
  here.denoiser = [&](const std::vector<StepModulation>& steps, bool steps_on_device) {
    auto stages = team_stages(layout, [&](size_t device) {
      DeviceLane& lane = device == 0 ? *this : team->lane(device - 1);
      return TeamStage{&lane.backend_->ops(), [&lane]() -> Dit& { return lane.parts_->dit(); },
                       device == 0 ? nullptr : &team->worker(device - 1)};
    });
    return std::make_unique<TeamDenoiser>(backend_->ops(), std::move(stages), steps, steps_on_device);
  };
  struct Leave {
    Team& team;
    size_t helpers;
    ~Leave() {
      try {
        team.each(helpers, [](DeviceLane& lane, size_t) { lane.leave(); });
      } catch (...) {  // what a helper could not give back it gives back in its next run
      }
    }
  } const leave{*team, helpers};
  team->each(helpers, [&](DeviceLane& lane, size_t i) {
    lane.join(jobs, together, share_of(layout, i + 1), backend_->precision());
  });
  for (size_t i = 0; i < helpers; ++i) report.device += ", " + team->lane(i).backend().name();
  return run_phases(placed, together, here, report);
}

std::vector<JobResult> DeviceLane::run_phases(std::span<const BatchMember> members, int together,
                                              const RunServices& services, LaneReport& report) {
  const double loaded_before = parts_->load_seconds();
  report.seconds.clear();
  backend_->ops().reset_peak();
  if (inject_ > 0) {
    --inject_;
    backend_->inject_failures(1);
  }
  std::string current;
  auto begun = Clock::now();
  const auto close_phase = [&] {
    if (!current.empty()) report.seconds[current] += std::chrono::duration<double>(Clock::now() - begun).count();
    begun = Clock::now();
  };
  std::vector<JobResult> results =
      run_jobs(backend_->ops(), *parts_, members, together, services, [&](const char* phase) {
        close_phase();
        current = phase;
      });
  close_phase();
  report.seconds["load"] = parts_->load_seconds() - loaded_before;
  return results;
}

std::vector<JobResult> DeviceLane::run(std::span<const BatchMember> members, const RunServices& services,
                                       LaneReport& report, Team* team) {
  backend_->activate();
  MemoryLadder ladder(device_.kind == DeviceChoice::Kind::automatic, options_.precision == PrecisionChoice::automatic);
  int together = pictures_together(members, *backend_);
  std::vector<JobResult> results;
  for (Rung rung; results.empty();) {
    try {
      results = attempt(members, together, rung, services, report, team);
    } catch (const MemoryError& error) {
      // A run on the CPU that is out of memory has nowhere to go.
      if (!backend_->on_gpu()) {
        parts_->end_run();
        throw;
      }
      parts_->drop_all();
      if (team != nullptr) {
        team->each(team->size(), [](DeviceLane& lane, size_t) { lane.drop_all(); });
        team = nullptr;
        report.notes.push_back(fmt::format("{}; trying again: on one device", error.what()));
        continue;
      }
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
  report.precision = name(backend_->precision());
  report.device_bytes = backend_->device_bytes();
  for (std::string& note : parts_->take_notes()) report.notes.push_back(std::move(note));
  return results;
}

}  // namespace inkling
