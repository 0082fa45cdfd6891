#include "pipeline/team_plan.h"

#include <algorithm>

#include "base/error.h"
#include "pipeline/device_lane.h"

namespace inkling {

namespace {

const Callbacks kNone;

// "picture 3", "pictures 1 to 2"
std::string pictures_text(int64_t first, int64_t count) {
  if (count == 1) return fmt::format("picture {}", first + 1);
  return fmt::format("pictures {} to {}", first + 1, first + count);
}

std::string part_text(const TeamLayout& layout, size_t device, int64_t layers) {
  const TeamShare share = share_of(layout, device);
  std::string text;
  if (layout.stages.size() > 1) {
    const BlockRange& r = share.stages[share.own];
    text = fmt::format("blocks {} to {} of {}", r.begin, r.end - 1, layers);
  }
  if (layout.passes > 1)
    text += fmt::format("{}{} prompt", text.empty() ? "" : ", ", share.pass == 0 ? "positive" : "negative");
  if (text.empty()) return "everything";
  return device == 0 ? text + "; encoders and decoder" : text;
}

class TeamPlanner {
 public:
  TeamPlanner(const EngineOptions& options, const ModelSizes& model, const Job& job, Backend& backend, int64_t budget)
      : options_(options), model_(model), job_(job), backend_(backend) {
    devices_ = {options.device};
    devices_.front().more.clear();
    for (const DeviceChoice& d : options.device.more) devices_.push_back(d);
    result_.budget = budget > 0 && backend.on_gpu() ? std::max<int64_t>(0, budget - kFragmentationReserve) : budget;
    choosing_ = backend.on_gpu() && options.precision == PrecisionChoice::automatic && budget > 0;
  }

  TeamPlan operator()() {
    result_.model = model_.name;
    const auto pictures = std::ssize(job_.noise);
    const bool spread = devices_.size() > 1 && pictures > 1 && draws_whole(options_.split, backend_.on_gpu(), [&] {
                          return settle(job_, 1, devices_.size());
                        });
    if (spread)
      plan_pictures();
    else
      plan_shares();
    for (const DevicePlan& d : result_.devices) {
      if (!d.placement) continue;
      result_.fits = result_.fits && d.placement->fits;
      result_.smallest_budget = std::max(result_.smallest_budget, d.placement->smallest_budget);
    }
    result_.precision = name(backend_.precision());
    return std::move(result_);
  }

 private:
  int together_of(const Job& job) const {
    const BatchMember member{&job, &kNone};
    return pictures_together({&member, 1}, backend_);
  }

  const RunPlan& planned(const Job& job, int together, const TeamShare& share) {
    const Job* jobs[] = {&job};
    return plans_.plan(options_, jobs, together, backend_, share);
  }

  // As DeviceLane does it with the devices' memory.
  TeamLayout settle(const Job& job, int together, size_t devices) {
    LayoutQuestion q;
    q.split = options_.split;
    q.devices = static_cast<int64_t>(devices);
    q.layers = model_.config.dit.layers;
    q.guided = job.negative.has_value();
    q.on_gpu = backend_.on_gpu();
    q.precisions = choosing_ ? automatic_precisions(false) : std::vector{backend_.precision()};
    q.resident = [&](PrecisionChoice p, const TeamLayout& layout) {
      if (choosing_ && backend_.precision() != p) backend_.set_precision(p);
      if (result_.budget == 0) return true;
      const RunPlan& plan = planned(job, together, share_of(layout, 0));
      return denoises_resident(plan, place(plan, result_.budget));
    };
    const LayoutChoice chosen = choose_layout(q);
    if (choosing_) backend_.set_precision(chosen.precision);
    choosing_ = false;
    return chosen.layout;
  }

  void add(DevicePlan d) {
    if (result_.budget > 0) d.placement = place(d.plan, result_.budget);
    result_.devices.push_back(std::move(d));
  }

  void plan_pictures() {
    result_.way = SharingWay::pictures;
    const std::vector<size_t> borders = picture_borders(job_.noise.size(), devices_.size());
    for (size_t i = 0; i + 1 < borders.size(); ++i) {
      Job own = job_;
      own.noise.assign(job_.noise.begin() + static_cast<int64_t>(borders[i]),
                       job_.noise.begin() + static_cast<int64_t>(borders[i + 1]));
      const int together = together_of(own);
      DevicePlan d;
      d.device = devices_[i];
      d.first_picture = static_cast<int64_t>(borders[i]);
      d.pictures = static_cast<int64_t>(borders[i + 1] - borders[i]);
      d.plan = planned(own, together, share_of(settle(own, together, 1), 0));
      d.part = pictures_text(d.first_picture, d.pictures);
      add(std::move(d));
    }
  }

  void plan_shares() {
    const int together = together_of(job_);
    result_.layout = settle(job_, together, devices_.size());
    const TeamLayout& layout = result_.layout;
    if (layout.devices() > devices_.size())
      throw RuntimeError("plan: a layout for {} devices, there are {}", layout.devices(), devices_.size());
    const bool passes = layout.passes > 1, blocks = layout.stages.size() > 1;
    result_.way = passes && blocks ? SharingWay::blocks_and_guidance
                  : blocks         ? SharingWay::blocks
                  : passes         ? SharingWay::guidance
                                   : SharingWay::one_device;
    for (size_t i = 0; i < layout.devices(); ++i) {
      DevicePlan d;
      d.device = devices_[i];
      d.part = part_text(layout, i, model_.config.dit.layers);
      d.pictures = std::ssize(job_.noise);
      d.share = share_of(layout, i);
      d.plan = planned(job_, together, d.share);
      // A helper has nothing but its share of the transformer.
      if (i > 0) {
        std::erase_if(d.plan.phases, [](const PhasePlan& p) { return p.name != "denoise"; });
        d.plan.peak_bytes = 0;
        for (const PhasePlan& p : d.plan.phases) d.plan.peak_bytes = std::max(d.plan.peak_bytes, p.peak_bytes);
      }
      add(std::move(d));
    }
  }

  const EngineOptions& options_;
  const ModelSizes& model_;
  const Job& job_;
  Backend& backend_;
  std::vector<DeviceChoice> devices_;
  bool choosing_ = false;  // the precision is still open
  PlanCache plans_;
  TeamPlan result_;
};

}  // namespace

std::string_view name(SharingWay way) {
  switch (way) {
    case SharingWay::one_device: return "one device";
    case SharingWay::pictures: return "each device draws pictures of its own";
    case SharingWay::guidance: return "the passes of guidance side by side";
    case SharingWay::blocks: return "the transformer's blocks one device after another";
    case SharingWay::blocks_and_guidance: return "the passes of guidance side by side, each divided by blocks";
  }
  return "";
}

std::string device_name(const DeviceChoice& device) {
  switch (device.kind) {
    case DeviceChoice::Kind::automatic: return "auto";
    case DeviceChoice::Kind::cpu: return "cpu";
    case DeviceChoice::Kind::cuda: break;
  }
  return fmt::format("cuda:{}", device.index);
}

TeamPlan plan_team(const PlanRequest& request) {
  const ModelSizes sizes = model_sizes(request.model);
  const Job job = shaped_job(request, sizes);
  const auto backend = planning_backend(request.model.device, request.model.precision);
  return plan_team(request.model, sizes, job, *backend, request.model.device.max_vram);
}

TeamPlan plan_team(const EngineOptions& options, const ModelSizes& model, const Job& job, Backend& backend,
                   int64_t budget) {
  return TeamPlanner(options, model, job, backend, budget)();
}

}  // namespace inkling
