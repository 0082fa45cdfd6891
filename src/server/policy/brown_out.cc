#include "server/policy/brown_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace inkling::server {

namespace {
constexpr int kGrid = 16;  // sides are multiples of this

int on_grid(double side) { return std::max(kGrid, static_cast<int>(side / kGrid) * kGrid); }
}  // namespace

BrownOut::BrownOut(BrownOutOptions options, std::vector<ModelEntry> models)
    : options_(std::move(options)), models_(std::move(models)) {}

int BrownOut::update(double now, double predicted_wait_s, double deadline_s, std::optional<double> gpu_utilisation) {
  const auto& ladder = options_.ladder;
  const double ratio = deadline_s > 0 ? predicted_wait_s / deadline_s
                                      : (predicted_wait_s > 0 ? std::numeric_limits<double>::infinity() : 0);
  int wanted = 0, held = 0;  // entered now; not left yet
  for (size_t i = 0; i < ladder.size(); ++i) {
    if (ratio >= ladder[i].enter) wanted = static_cast<int>(i) + 1;
    if (ratio >= ladder[i].leave) held = static_cast<int>(i) + 1;
  }
  std::string why = fmt::format("predicted wait {:.1f} s of a deadline of {:.0f} s", predicted_wait_s, deadline_s);
  if (options_.utilisation && gpu_utilisation && *gpu_utilisation > options_.utilisation->percent) {
    if (!busy_since_) busy_since_ = now;
    if (now - *busy_since_ >= options_.utilisation->seconds) {
      const auto row = std::ranges::find(ladder, BrownOutAction::smaller, &BrownOutRow::action);
      const int level = row == ladder.end() ? 0 : static_cast<int>(row - ladder.begin()) + 1;
      if (level > wanted) {
        wanted = level;
        why = fmt::format("GPU busier than {:.0f} % for {:.0f} s", options_.utilisation->percent,
                          options_.utilisation->seconds);
      }
      held = std::max(held, level);
    }
  } else {
    busy_since_.reset();
  }

  if (wanted > level_) {
    level_ = wanted;
    reason_ = std::move(why);
  }
  if (held >= level_) {
    quiet_since_.reset();
    return level_;
  }
  if (!quiet_since_) quiet_since_ = now;
  while (level_ > held && now - *quiet_since_ >= options_.quiet_s) {
    --level_;
    *quiet_since_ += options_.quiet_s;
  }
  if (level_ == 0) reason_.clear();
  if (level_ <= held) quiet_since_.reset();
  return level_;
}

bool BrownOut::refuses() const {
  return std::any_of(options_.ladder.begin(), options_.ladder.begin() + level_,
                     [](const BrownOutRow& row) { return row.action == BrownOutAction::refuse; });
}

const ModelEntry* BrownOut::model(const std::string& id) const {
  const auto found = std::ranges::find(models_, id, &ModelEntry::id);
  return found == models_.end() ? nullptr : &*found;
}

std::vector<std::string> BrownOut::apply(JobParameters& job) const {
  std::vector<std::string> changes;
  for (int i = 0; i < level_; ++i) {
    const BrownOutRow& row = options_.ladder[static_cast<size_t>(i)];
    const ModelEntry* now = model(job.model);
    if (!now) continue;
    if (row.action == BrownOutAction::fewer_steps) {
      const int steps = job.steps > 0 ? job.steps : now->steps;
      const int fewer = std::max(row.minimum, static_cast<int>(std::ceil(steps * row.factor)));
      if (fewer >= steps) continue;
      job.steps = fewer;
      changes.push_back(fmt::format("{} steps instead of {}", fewer, steps));
    } else if (row.action == BrownOutAction::smaller) {
      if (job.edit && job.width == 0) continue;
      const int width = job.width > 0 ? job.width : now->side, height = job.height > 0 ? job.height : now->side;
      const int side = now->side <= row.side ? now->side / 2 : row.side;
      const double scale = std::max(std::sqrt(double(side) * side / (double(width) * height)),
                                    static_cast<double>(now->min_side) / std::min(width, height));
      if (scale >= 1) continue;
      const int w = on_grid(width * scale), h = on_grid(height * scale);
      if (w == width && h == height) continue;
      job.width = w;
      job.height = h;
      changes.push_back(fmt::format("{} x {} pixels instead of {} x {}", w, h, width, height));
    } else if (row.action == BrownOutAction::lighter_model) {
      const auto lighter = std::ranges::find_if(models_, [&](const ModelEntry& m) {
        return (row.model.empty() ? m.kind == ModelKind::distilled : m.id == row.model) && (job.edit ? m.edit : m.text);
      });
      if (lighter == models_.end() || lighter->id == job.model || now->kind == ModelKind::distilled) continue;
      changes.push_back(fmt::format("model {} instead of {}", lighter->id, job.model));
      job.model = lighter->id;
      // A distilled model was made for few steps; more of them only cost time.
      job.steps = job.steps > 0 ? std::min(job.steps, lighter->steps) : 0;
    }
  }
  return changes;
}

}  // namespace inkling::server
