#include "server/policy/router.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace inkling::server {

namespace {

bool can(const ModelEntry& m, bool edit) { return edit ? m.edit : m.text; }

struct Room {
  bool gpu = false, gpu_configured = false, cpu = false;  // may work
  std::optional<int64_t> bytes;                           // of the GPU with the most; nullopt: unknown
};

Room room_of(const RouteQuery& query) {
  Room room;
  bool unknown = false;
  for (const DeviceState& d : query.devices) {
    if (!d.gpu()) {
      room.cpu |= d.allowed;
      continue;
    }
    room.gpu_configured = true;
    if (!d.allowed) continue;
    room.gpu = true;
    if (d.room_bytes) room.bytes = std::max(room.bytes.value_or(0), *d.room_bytes);
    unknown |= !d.room_bytes;
  }
  if (unknown) room.bytes.reset();
  return room;
}

enum class Fit : uint8_t { yes, no_device, no_room };

Fit fits(const ModelEntry& m, const Room& room, const RoutingRules& rules) {
  const bool gpu = m.device != "cpu" && room.gpu;
  if (gpu && (!room.bytes || m.needs_bytes + rules.reserve_bytes <= *room.bytes)) return Fit::yes;
  // Where a GPU works, the CPU serves only those models that were made for it: it would be slow in the way of fast
  // ones.
  const bool cpu = m.device != "gpu" && room.cpu && (m.device == "cpu" || !room.gpu);
  if (cpu) return Fit::yes;
  return gpu ? Fit::no_room : Fit::no_device;
}

}  // namespace

ModelRouter::ModelRouter(const nlohmann::json& config) : config_(parse_config(config)) {}
ModelRouter::ModelRouter(ServerConfig config) : config_(std::move(config)) {}

RouteChoice ModelRouter::choose(const RouteQuery& query) const {
  if (query.asked.empty() || query.asked == "auto") return choose_automatic(query);
  const ModelEntry* m = config_.find(query.asked);
  if (!m) throw ArgumentError("model: there is no {}", query.asked);
  if (!can(*m, query.edit))
    throw ArgumentError("model: {} cannot {}", m->id, query.edit ? "edit" : "draw from text alone");
  const Room room = room_of(query);
  switch (fits(*m, room, config_.routing)) {
    case Fit::yes: return {m->id, "asked for", false, room.gpu_configured && !room.gpu && m->device != "cpu"};
    case Fit::no_room:
      return {"", fmt::format("there is not enough device memory for {} at present", m->id), false, false};
    case Fit::no_device: break;
  }
  return {"", fmt::format("no device for {} can work at present", m->id), false, false};
}

RouteChoice ModelRouter::choose_automatic(const RouteQuery& query) const {
  const Room room = room_of(query);
  const bool out = room.gpu_configured && !room.gpu;
  const ModelEntry* first = nullptr;  // what would be taken were everything well
  const ModelEntry* chosen = nullptr;
  // Kinds in the order of what they give; within a kind the order of the file.
  std::vector<const ModelEntry*> order;
  for (const ModelKind kind : {ModelKind::full, ModelKind::four_bit, ModelKind::distilled, ModelKind::cpu})
    for (const ModelEntry& m : config_.models)
      if (m.kind == kind && can(m, query.edit)) order.push_back(&m);
  if (order.empty()) return {"", query.edit ? "no model can edit" : "no model can draw from text", false, false};
  first = order.front();
  if (out)  // the way out goes before the others that the CPU could run too
    std::stable_partition(order.begin(), order.end(), [](const ModelEntry* m) { return m->kind == ModelKind::cpu; });
  std::vector<const ModelEntry*> possible;
  std::ranges::copy_if(order, std::back_inserter(possible),
                       [&](const ModelEntry* m) { return fits(*m, room, config_.routing) == Fit::yes; });
  if (possible.empty()) return {"", "no device can work at present", false, false};
  chosen = possible.front();
  std::string reason = "the best that fits";
  if (out)
    reason = kDrawnOnCpu;
  else if (chosen != first)
    reason = fits(*first, room, config_.routing) == Fit::no_room
                 ? fmt::format("device memory is short: {} needs {} MiB, {} MiB are there", first->id,
                               (first->needs_bytes + config_.routing.reserve_bytes) >> 20, room.bytes.value_or(0) >> 20)
                 : fmt::format("no device for {} can work at present", first->id);

  const auto distilled =
      std::ranges::find_if(possible, [](const ModelEntry* m) { return m->kind == ModelKind::distilled; });
  const RoutingRules& rules = config_.routing;
  if (!out && distilled != possible.end() && *distilled != chosen && rules.frequency_count > 0 &&
      query.frequency >= rules.frequency_count) {
    chosen = *distilled;
    reason = fmt::format("asked {} times within {:.0f} s", query.frequency, rules.frequency_window_s);
  }
  if (query.predicted_s && query.deadline_s > 0) {
    const double limit = query.deadline_s * rules.deadline_ratio, expected = query.predicted_s(chosen->id);
    if (expected > limit) {
      // The first faster one that would be in time; if none would, the choice stands and admission has the word.
      for (const ModelEntry* m : possible) {
        if (m == chosen || query.predicted_s(m->id) > limit) continue;
        reason = fmt::format("{} would take {:.0f} s of {:.0f} s", chosen->id, expected, query.deadline_s);
        chosen = m;
        break;
      }
    }
  }
  return {chosen->id, reason, chosen != first, out};
}

RequestFrequency::RequestFrequency(double window_s, size_t max_keys)
    : window_s_(window_s), max_keys_(std::max<size_t>(1, max_keys)) {}

int RequestFrequency::count(const std::string& canonical_prompt, double now) {
  constexpr size_t kMaxTimes = 1000;  // more is as often as anyone asks
  const auto found = entries_.find(canonical_prompt);
  if (found == entries_.end()) {
    if (entries_.size() >= max_keys_) {
      entries_.erase(order_.back().key);
      order_.pop_back();
    }
    order_.push_front({canonical_prompt, {}});
    entries_[canonical_prompt] = order_.begin();
  } else {
    order_.splice(order_.begin(), order_, found->second);
  }
  auto& times = order_.front().times;
  while (!times.empty() && now - times.front() > window_s_) times.pop_front();
  if (times.size() == kMaxTimes) times.pop_front();
  times.push_back(now);
  return static_cast<int>(times.size());
}

}  // namespace inkling::server
