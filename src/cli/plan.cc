// inkling plan: phases, peak and placement of a run on every device that shares it, without loading weights.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "pipeline/team_plan.h"

namespace inkling::cli {

namespace {

std::string size_text(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  return b >= 0x1p30 ? fmt::format("{:.2f} GiB", b / 0x1p30) : fmt::format("{:.1f} MiB", b / 0x1p20);
}

std::string where(const PhaseNeed& need, const PhasePlacement& p) {
  if (!p.fits) return "does not fit";
  std::string text = p.streamed_blocks == 0
                         ? "resident"
                         : fmt::format("{} of {} blocks resident, {} streamed a pass", p.resident_blocks,
                                       need.blocks.size(), size_text(p.streamed_bytes));
  if (need.host_bytes > 0) text += fmt::format("; {} table on the host", size_text(need.host_bytes));
  return text;
}

void print_phases(const DevicePlan& d) {
  const Placement* placement = d.placement ? &*d.placement : nullptr;
  fmt::print("{:<14} {:>12} {:>12} {:>12} {:>10}  {}\n", "phase", "weights", "activations", "peak", "TFLOP",
             placement != nullptr ? "where" : "");
  for (size_t i = 0; i < d.plan.phases.size(); ++i) {
    const PhasePlan& p = d.plan.phases[i];
    const int64_t peak =
        placement != nullptr ? placement->phases[i].peak_bytes : p.need.activation_bytes + p.need.weight_bytes;
    fmt::print("{:<14} {:>12} {:>12} {:>12} {:>10.3f}  {}\n", p.name, size_text(p.need.weight_bytes),
               size_text(p.need.activation_bytes), size_text(peak), p.flops / 1e12,
               placement != nullptr ? where(p.need, placement->phases[i]) : "");
  }
}

void print_table(const TeamPlan& team) {
  const RunPlan& plan = team.devices.front().plan;
  fmt::print("{}: {:.3f} B parameters, {} x {}, {} steps, guidance {:g}, precision {}\n", team.model,
             static_cast<double>(plan.parameters) / 1e9, plan.width, plan.height, plan.steps, plan.cfg_scale,
             team.precision);
  if (team.devices.size() > 1) fmt::print("{} devices: {}\n", team.devices.size(), name(team.way));
  for (const DevicePlan& d : team.devices) {
    fmt::print("\n");
    if (team.devices.size() > 1) fmt::print("{}: {}\n", device_name(d.device), d.part);
    print_phases(d);
  }
}

nlohmann::ordered_json phases_json(const DevicePlan& d) {
  nlohmann::ordered_json phases = nlohmann::ordered_json::array();
  for (size_t i = 0; i < d.plan.phases.size(); ++i) {
    const PhasePlan& p = d.plan.phases[i];
    nlohmann::ordered_json phase{{"name", p.name},
                                 {"weight_bytes", p.need.weight_bytes},
                                 {"host_bytes", p.need.host_bytes},
                                 {"activation_bytes", p.need.activation_bytes},
                                 {"flops", p.flops}};
    if (d.placement) {
      const PhasePlacement& q = d.placement->phases[i];
      phase["resident_blocks"] = q.resident_blocks;
      phase["streamed_blocks"] = q.streamed_blocks;
      phase["streamed_bytes"] = q.streamed_bytes;
      phase["peak_bytes"] = q.peak_bytes;
    }
    phases.push_back(phase);
  }
  return phases;
}

// The main device's phases stand at the top, as those of the only one; several devices are listed beside them.
nlohmann::ordered_json to_json(const TeamPlan& team) {
  const RunPlan& plan = team.devices.front().plan;
  nlohmann::ordered_json j{
      {"model", team.model},         {"width", plan.width},           {"height", plan.height},
      {"steps", plan.steps},         {"cfg_scale", plan.cfg_scale},   {"parameters", plan.parameters},
      {"precision", team.precision}, {"peak_bytes", plan.peak_bytes}, {"phases", phases_json(team.devices.front())}};
  if (team.devices.size() == 1) return j;
  j["sharing"] = name(team.way);
  for (const DevicePlan& d : team.devices) {
    nlohmann::ordered_json device{
        {"device", device_name(d.device)}, {"part", d.part}, {"peak_bytes", d.plan.peak_bytes}};
    if (team.way == SharingWay::pictures) {
      device["first_picture"] = d.first_picture;
      device["pictures"] = d.pictures;
    } else {
      device["pass"] = d.share.pass;
      const BlockRange& blocks = d.share.stages[d.share.own];
      if (blocks.end >= 0) device["blocks"] = {blocks.begin, blocks.end};
    }
    device["phases"] = phases_json(d);
    j["devices"].push_back(device);
  }
  return j;
}

PictureSize parse_picture_size(const std::string& text) {
  PictureSize size;
  const char* end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, size.width);
  if (width.ec == std::errc() && width.ptr != end && *width.ptr == 'x') {
    const auto height = std::from_chars(width.ptr + 1, end, size.height);
    const bool fits = size.width >= 16 && size.height >= 16 && size.width <= 16384 && size.height <= 16384;
    if (height.ec == std::errc() && height.ptr == end && fits) return size;
  }
  throw ArgumentError("picture_size: got '{}', expected WIDTHxHEIGHT of 16 to 16384 pixels, such as 800x600",
                      text.substr(0, 64));
}

}  // namespace

PlanRequest make_plan_request(const OptionValues& o) {
  PlanRequest r;
  r.model = make_engine_options(o);
  r.width = static_cast<int>(o.integer("width").value_or(0));
  r.height = static_cast<int>(o.integer("height").value_or(0));
  if (r.width % 16 != 0 || r.height % 16 != 0)
    throw ArgumentError("width and height: got {}x{}, expected multiples of 16", r.width, r.height);
  r.steps = static_cast<int>(o.integer("steps").value_or(0));
  r.cfg_scale = static_cast<float>(o.real("cfg-scale").value_or(-1));
  r.references = static_cast<int>(o.integer("references").value_or(0));
  if (o.given("picture-size")) r.picture = parse_picture_size(o.text("picture-size"));
  r.prompt_tokens = o.integer("prompt-tokens").value_or(64);
  r.batch = static_cast<int>(o.integer("batch").value_or(1));
  r.vae_tiling = o.flag("vae-tiling");
  return r;
}

int run_plan(const CommandLine& line) {
  const OptionValues& o = line.options;
  const TeamPlan plan = plan_team(make_plan_request(o));
  if (o.flag("json"))
    fmt::print("{}\n", to_json(plan).dump());
  else
    print_table(plan);
  if (!plan.fits)
    throw MemoryError("{} is too small for this run; the smallest budget that works is {}", o.text("max-vram"),
                      size_text(plan.smallest_budget));
  return 0;
}

}  // namespace inkling::cli
