// inkling plan: phases, peak and placement of a run, without loading weights.

#include "pipeline/plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"

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

void print_table(const RunPlan& plan, const Placement* placement) {
  fmt::print("{}: {:.3f} B parameters, {} x {}, {} steps, guidance {:g}\n\n", plan.model,
             static_cast<double>(plan.parameters) / 1e9, plan.width, plan.height, plan.steps, plan.cfg_scale);
  fmt::print("{:<14} {:>12} {:>12} {:>12} {:>10}  {}\n", "phase", "weights", "activations", "peak", "TFLOP",
             placement != nullptr ? "where" : "");
  for (size_t i = 0; i < plan.phases.size(); ++i) {
    const PhasePlan& p = plan.phases[i];
    const int64_t peak =
        placement != nullptr ? placement->phases[i].peak_bytes : p.need.activation_bytes + p.need.weight_bytes;
    fmt::print("{:<14} {:>12} {:>12} {:>12} {:>10.3f}  {}\n", p.name, size_text(p.need.weight_bytes),
               size_text(p.need.activation_bytes), size_text(peak), p.flops / 1e12,
               placement != nullptr ? where(p.need, placement->phases[i]) : "");
  }
}

nlohmann::ordered_json to_json(const RunPlan& plan, const Placement* placement) {
  nlohmann::ordered_json j{{"model", plan.model},          {"width", plan.width},
                           {"height", plan.height},        {"steps", plan.steps},
                           {"cfg_scale", plan.cfg_scale},  {"parameters", plan.parameters},
                           {"peak_bytes", plan.peak_bytes}};
  for (size_t i = 0; i < plan.phases.size(); ++i) {
    const PhasePlan& p = plan.phases[i];
    nlohmann::ordered_json phase{{"name", p.name},
                                 {"weight_bytes", p.need.weight_bytes},
                                 {"host_bytes", p.need.host_bytes},
                                 {"activation_bytes", p.need.activation_bytes},
                                 {"flops", p.flops}};
    if (placement != nullptr) {
      const PhasePlacement& q = placement->phases[i];
      phase["resident_blocks"] = q.resident_blocks;
      phase["streamed_blocks"] = q.streamed_blocks;
      phase["streamed_bytes"] = q.streamed_bytes;
      phase["peak_bytes"] = q.peak_bytes;
    }
    j["phases"].push_back(phase);
  }
  return j;
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
  r.prompt_tokens = o.integer("prompt-tokens").value_or(64);
  r.batch = static_cast<int>(o.integer("batch").value_or(1));
  r.vae_tiling = o.flag("vae-tiling");
  return r;
}

int run_plan(const CommandLine& line) {
  const OptionValues& o = line.options;
  const PlanRequest r = make_plan_request(o);
  const RunPlan plan = plan_run(r);

  std::optional<Placement> placement;
  if (o.given("max-vram")) {
    placement = place(plan, parse_bytes(o.text("max-vram")));
  }
  const Placement* shown = placement ? &*placement : nullptr;
  if (o.flag("json"))
    fmt::print("{}\n", to_json(plan, shown).dump());
  else
    print_table(plan, shown);
  if (placement && !placement->fits)
    throw MemoryError("{} is too small for this run; the smallest budget that works is {}", o.text("max-vram"),
                      size_text(placement->smallest_budget));
  return 0;
}

}  // namespace inkling::cli
