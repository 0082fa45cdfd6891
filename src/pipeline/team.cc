#include "pipeline/team.h"

#include <algorithm>
#include <exception>
#include <list>
#include <mutex>

#include "pipeline/sharing.h"

namespace inkling {

Team::Team(const ModelFiles& files, const EngineOptions& options)
    : layers_(dit_config(files, Checkpoint::open(files.dit, Component::dit)).layers) {
  for (const DeviceChoice& device : options.device.more) {
    helpers_.push_back(std::make_unique<Helper>());
    Helper& h = *helpers_.back();
    // On its thread: opening a GPU makes it the thread's own.
    h.worker.run([&] { h.lane = std::make_unique<DeviceLane>(files, options, device); });
  }
}

Team::~Team() {
  for (auto& h : helpers_) try {
      h->worker.run([&] { h->lane.reset(); });
    } catch (...) {  // no memory to ask the other thread: the lane ends on this one
    }
}

void Team::each(size_t count, const std::function<void(DeviceLane&, size_t)>& f) {
  std::vector<std::future<void>> begun;
  for (size_t i = 0; i < count; ++i) begun.push_back(worker(i).begin([&, i] { f(lane(i), i); }));
  std::exception_ptr error;
  for (auto& b : begun) {
    try {
      b.get();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

namespace {

// Whole pictures of the members, spread over the lanes.
class Spread {
 public:
  Spread(DeviceLane& main, Team& team, std::span<const BatchMember> members, const RunServices& services)
      : main_(main), team_(team), members_(members), services_(services) {}

  std::vector<JobResult> operator()(LaneReport& report) {
    deal();
    std::exception_ptr error;
    std::vector<std::future<void>> others;
    for (size_t i = 1; i < shares_.size(); ++i)
      others.push_back(team_.worker(i - 1).begin([this, i] { run(team_.lane(i - 1), shares_[i]); }));
    const auto guarded = [&](const auto& work) {
      try {
        work();
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    };
    guarded([&] { run(main_, shares_[0]); });
    for (auto& o : others) guarded([&] { o.get(); });
    if (error) std::rethrow_exception(error);
    return gather(report);
  }

 private:
  // Pictures [first, first + count) of a member, as a job of its own.
  struct Part {
    size_t member;
    int first;
    Job job;
    Callbacks callbacks;
    int steps_done = 0;
  };
  struct Share {
    std::list<Part> parts;
    std::vector<JobResult> results;
    LaneReport report;
  };

  void deal() {
    std::vector<std::pair<size_t, int>> pictures;
    for (size_t m = 0; m < members_.size(); ++m)
      for (int i = 0; i < std::ssize(members_[m].job->noise); ++i) pictures.emplace_back(m, i);
    const std::vector<size_t> borders = picture_borders(pictures.size(), team_.size() + 1);
    shares_.resize(borders.size() - 1);
    for (size_t s = 0; s < shares_.size(); ++s) {
      for (size_t at = borders[s]; at < borders[s + 1]; ++at) {
        const auto [member, picture] = pictures[at];
        const Job& whole = *members_[member].job;
        std::list<Part>& parts = shares_[s].parts;
        if (parts.empty() || parts.back().member != member) {
          parts.push_back({member, picture, whole, {}, 0});
          parts.back().job.noise.clear();
          all_parts_.push_back(&parts.back());
        }
        parts.back().job.noise.push_back(whole.noise[picture]);
      }
    }
    for (Part* p : all_parts_) relay(*p);
  }

  // Reports of a part as reports of its member, one at a time.
  void relay(Part& part) {
    const Callbacks& to = *members_[part.member].callbacks;
    const int steps = part.job.schedule.steps();
    part.callbacks.cancel = to.cancel;
    part.callbacks.preview_size = to.preview_size;
    if (to.preview)
      part.callbacks.preview = [this, &to, offset = part.first * steps](int step, const Image& image) {
        const std::lock_guard lock(mutex_);
        to.preview(offset + step, image);
      };
    if (!to.progress) return;
    part.callbacks.progress = [this, &to, &part, steps](const Progress& p) {
      const std::lock_guard lock(mutex_);
      if (p.phase != "denoise") {
        if (part.first == 0) to.progress(p);
        return;
      }
      part.steps_done = p.step;
      int done = 0;
      for (const Part* other : all_parts_)
        if (other->member == part.member) done += other->steps_done;
      to.progress({p.phase, done, steps * static_cast<int>(members_[part.member].job->noise.size())});
    };
  }

  void run(DeviceLane& lane, Share& share) {
    std::vector<BatchMember> members;
    for (const Part& p : share.parts) members.push_back({&p.job, &p.callbacks});
    share.results = lane.run(members, services_, share.report);
  }

  std::vector<JobResult> gather(LaneReport& report) {
    std::vector<JobResult> results(members_.size());
    for (JobResult& r : results) r.embedding_cached = true;
    for (Share& share : shares_) {
      auto part = share.parts.begin();
      for (JobResult& from : share.results) {
        JobResult& to = results[part->member];
        if (from.error && !to.error) to.error = from.error;
        to.embedding_cached = to.embedding_cached && from.embedding_cached;
        std::ranges::move(from.pictures, std::back_inserter(to.pictures));
        std::ranges::move(from.latents, std::back_inserter(to.latents));
        ++part;
      }
      const LaneReport& r = share.report;
      for (const auto& [phase, seconds] : r.seconds) report.seconds[phase] = std::max(report.seconds[phase], seconds);
      report.activation_peak_bytes = std::max(report.activation_peak_bytes, r.activation_peak_bytes);
      report.device_bytes = std::max(report.device_bytes, r.device_bytes);
      report.device += (report.device.empty() ? "" : ", ") + r.device;
      report.precision = r.precision;
      for (const std::string& note : r.notes)
        if (std::ranges::find(report.notes, note) == report.notes.end()) report.notes.push_back(note);
    }
    return results;
  }

  DeviceLane& main_;
  Team& team_;
  const std::span<const BatchMember> members_;
  const RunServices& services_;
  std::vector<Share> shares_;
  std::vector<Part*> all_parts_;
  std::mutex mutex_;
};

}  // namespace

std::vector<JobResult> run_on_devices(DeviceLane& main, Team* team, std::span<const BatchMember> members,
                                      const RunServices& services, LaneReport& report) {
  size_t pictures = 0;
  for (const BatchMember& m : members) pictures += m.job->latents.empty() ? m.job->noise.size() : 0;
  if (team != nullptr && pictures > 1 && main.draws_whole(members, *team))
    return Spread(main, *team, members, services)(report);
  return main.run(members, services, report, team);
}

}  // namespace inkling
