// How several devices share the work of a run. Decided here, for the engine that runs it (device_lane.h, team.h), for
// plans and for benchmarks alike.
#pragma once

#include <functional>
#include <vector>

#include "pipeline/engine.h"
#include "pipeline/plan.h"
#include "pipeline/team_denoiser.h"

namespace inkling {

// Of a transformer's blocks over all devices: the passes of guidance apart where there are devices enough for both.
TeamLayout divided_layout(int64_t layers, int64_t devices, bool guided);

// Pictures [result[i], result[i + 1]) are for device i; no device is without one.
std::vector<size_t> picture_borders(size_t pictures, size_t devices);

// What a choice of layout depends on.
struct LayoutQuestion {
  DeviceSplit split = DeviceSplit::automatic;
  int64_t devices = 1, layers = 1;
  bool guided = false;
  bool on_gpu = false;
  // To choose among, the most exact first; one: it is settled. Never empty.
  std::vector<PrecisionChoice> precisions;
  // Whether the main device holds all that it has of the transformer. Asked on GPUs only.
  std::function<bool(PrecisionChoice precision, const TeamLayout& layout)> resident;
};
struct LayoutChoice {
  TeamLayout layout;
  PrecisionChoice precision;
};
// The most exact arithmetic whose denoising needs no streaming, on one device or on all; else the smallest.
LayoutChoice choose_layout(const LayoutQuestion& question);
// What `auto` chooses among on a GPU. smaller: after a run that found too little memory.
std::vector<PrecisionChoice> automatic_precisions(bool smaller);

// Whether each device draws whole pictures of its own, where there are several to draw. layout: what one picture would
// be given; asked only where that decides.
bool draws_whole(DeviceSplit split, bool on_gpu, const std::function<TeamLayout()>& layout);

// The part of device i (0: the main one) in a layout.
TeamShare share_of(const TeamLayout& layout, size_t device);

// Left free of what a placement may use: the arena's blocks do not always close ranks.
inline constexpr int64_t kFragmentationReserve = int64_t{64} << 20;

}  // namespace inkling
