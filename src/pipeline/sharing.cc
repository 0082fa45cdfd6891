#include "pipeline/sharing.h"

#include <algorithm>

namespace inkling {

TeamLayout divided_layout(int64_t layers, int64_t devices, bool guided) {
  TeamLayout layout;
  layout.passes = guided && devices >= 4 && devices % 2 == 0 ? 2 : 1;
  const int64_t stages = std::min(devices / layout.passes, layers);
  layout.stages.clear();
  for (int64_t s = 0; s < stages; ++s) layout.stages.push_back({layers * s / stages, layers * (s + 1) / stages});
  return layout;
}

std::vector<size_t> picture_borders(size_t pictures, size_t devices) {
  const size_t shares = std::min(pictures, devices);
  std::vector<size_t> borders{0};
  for (size_t s = 1; s <= shares; ++s) borders.push_back(pictures * s / shares);
  return borders;
}

LayoutChoice choose_layout(const LayoutQuestion& q) {
  const bool team = q.devices > 1;
  const DeviceSplit split = team ? q.split : DeviceSplit::pictures;
  TeamLayout whole, divided;
  if (q.guided && (split == DeviceSplit::automatic || split == DeviceSplit::guidance)) whole.passes = 2;
  if (team) divided = divided_layout(q.layers, q.devices, q.guided);
  const TeamLayout& first = split == DeviceSplit::blocks ? divided : whole;
  if (!q.on_gpu) return {first, q.precisions.front()};
  for (const PrecisionChoice p : q.precisions) {
    if (q.resident(p, first)) return {first, p};
    if (split == DeviceSplit::automatic && q.resident(p, divided)) return {divided, p};
  }
  return {first, q.precisions.back()};
}

std::vector<PrecisionChoice> automatic_precisions(bool smaller) {
  std::vector<PrecisionChoice> choices{PrecisionChoice::stored, PrecisionChoice::w8a8, PrecisionChoice::w4a8};
  if (smaller) choices.erase(choices.begin());
  return choices;
}

bool draws_whole(DeviceSplit split, bool on_gpu, const std::function<TeamLayout()>& layout) {
  if (split != DeviceSplit::automatic) return split == DeviceSplit::pictures;
  return !on_gpu || layout().stages.size() == 1;
}

TeamShare share_of(const TeamLayout& layout, size_t device) {
  const size_t stages = layout.stages.size();
  return {layout.stages, device % stages, layout.passes, static_cast<int>(device / stages)};
}

}  // namespace inkling
