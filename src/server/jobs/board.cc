#include "server/jobs/board.h"

#include <algorithm>

namespace inkling::server {

std::string_view name(JobStatus status) {
  switch (status) {
    case JobStatus::queued: return "queued";
    case JobStatus::running: return "running";
    case JobStatus::succeeded: return "succeeded";
    case JobStatus::failed: return "failed";
    case JobStatus::cancelled: return "cancelled";
  }
  return "";
}

JobBoard::JobBoard(BoardLimits limits, std::function<double()> now, Hooks hooks)
    : limits_(limits), now_(std::move(now)), hooks_(std::move(hooks)) {}

// A work and its jobs hold each other as long as it is not over.
JobBoard::~JobBoard() {
  for (const auto& work : waiting_) work->jobs.clear();
  for (const auto& work : running_) work->jobs.clear();
}

void JobBoard::enqueue(const JobPointer& job, Work work) {
  ++totals_.accepted;
  jobs_[job->id] = job;
  job->created = now_();
  if (const auto same = work.key.empty() ? by_key_.end() : by_key_.find(work.key); same != by_key_.end()) {
    Work& shared = *same->second;
    job->work = same->second;
    if (!shared.jobs.empty()) {
      const Job& first = *shared.jobs.front();
      job->status = first.status;
      job->started = first.status == JobStatus::running ? job->created : 0;
      job->phase = first.phase;
      job->step = first.step;
      job->steps = first.steps;
    }
    shared.jobs.push_back(job);
    return;
  }
  auto own = std::make_shared<Work>(std::move(work));
  own->id = job->id;
  own->jobs = {job};
  job->work = own;
  if (!own->key.empty()) by_key_[own->key] = own;
  waiting_.push_back(own);
}

void JobBoard::add_finished(const JobPointer& job) {
  ++totals_.accepted;
  jobs_[job->id] = job;
  job->created = job->started = now_();
  end(job, JobStatus::succeeded);
}

JobPointer JobBoard::find(const std::string& id, const std::string& owner) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() || found->second->owner != owner ? nullptr : found->second;
}

std::vector<JobPointer> JobBoard::newest(const std::string& owner, size_t count) const {
  std::vector<JobPointer> own;
  for (const auto& [id, job] : jobs_)
    if (job->owner == owner) own.push_back(job);
  std::ranges::sort(own, std::greater(), [](const JobPointer& j) { return std::pair(j->created, j->id); });
  if (own.size() > count) own.resize(count);
  return own;
}

JobPointer JobBoard::by_idempotency_key(const std::string& owner, const std::string& key) const {
  const auto found = idempotency_.find({owner, key});
  return found == idempotency_.end() ? nullptr : find(found->second, owner);
}

void JobBoard::set_idempotency_key(const JobPointer& job, const std::string& key) {
  job->idempotency_key = key;
  idempotency_[{job->owner, key}] = job->id;
}

void JobBoard::cancel(const JobPointer& job) {
  if (is_over(job->status)) return;
  const std::shared_ptr<Work> work = job->work;
  std::erase(work->jobs, job);
  end(job, JobStatus::cancelled);
  if (!work->jobs.empty()) return;  // others wait for the same picture
  if (!work->key.empty()) by_key_.erase(work->key);
  if (const auto at = std::ranges::find(waiting_, work); at != waiting_.end())
    waiting_.erase(at);
  else
    hooks_.abandon(work->id);
}

uint64_t JobBoard::listen(const JobPointer& job, std::function<void(const Job&, const Job::Event&)> listener) {
  job->listeners.emplace_back(next_listener_, std::move(listener));
  return next_listener_++;
}

void JobBoard::unlisten(const JobPointer& job, uint64_t number) {
  std::erase_if(job->listeners, [&](const auto& l) { return l.first == number; });
}

void JobBoard::tell(Job& job, const Job::Event& event) {
  const auto listeners = job.listeners;  // one may leave while it is told
  for (const auto& [number, call] : listeners) call(job, event);
}

void JobBoard::end(const JobPointer& job, JobStatus status) {
  if (is_over(job->status)) return;
  job->status = status;
  job->finished = now_();
  job->work.reset();
  switch (status) {
    case JobStatus::succeeded: ++totals_.done; break;
    case JobStatus::failed: ++totals_.failed; break;
    default: ++totals_.cancelled;
  }
  // Uploads are not needed again.
  job->wish.images.clear();
  job->wish.mask.reset();
  finished_.push_back(job);
  for (const Picture& p : job->pictures) finished_bytes_ += p.bytes->size();
  hooks_.over(*job);
  tell(*job, {Job::Event::Kind::over, 0, nullptr});
  job->listeners.clear();
  drop_old();
}

std::vector<std::shared_ptr<Work>> JobBoard::take(const std::function<bool(const Work&)>& runnable,
                                                  const std::function<bool(const Work&, const Work&)>& together,
                                                  size_t most) {
  std::vector<std::shared_ptr<Work>> batch;
  for (auto at = waiting_.begin(); at != waiting_.end() && batch.size() < most;) {
    const bool fits = batch.empty() ? runnable(**at) : together(*batch.front(), **at);
    if (!fits) {
      ++at;
      continue;
    }
    batch.push_back(*at);
    at = waiting_.erase(at);
  }
  for (const auto& work : batch) {
    ++work->attempts;
    running_.push_back(work);
    for (const JobPointer& job : work->jobs) {
      job->status = JobStatus::running;
      if (job->started == 0) job->started = now_();
      tell(*job, {Job::Event::Kind::progress, 0, nullptr});
    }
  }
  return batch;
}

void JobBoard::progress(Work& work, const std::string& phase, int step, int steps) {
  for (const JobPointer& job : std::vector(work.jobs)) {
    job->phase = phase;
    job->step = step;
    job->steps = steps;
    tell(*job, {Job::Event::Kind::progress, step, nullptr});
  }
}

void JobBoard::preview(Work& work, int step, const Blob& jpeg) {
  for (const JobPointer& job : std::vector(work.jobs))
    if (job->wish.preview) tell(*job, {Job::Event::Kind::preview, step, jpeg});
}

void JobBoard::leave_running(const std::shared_ptr<Work>& work) {
  std::erase(running_, work);
  if (const auto found = by_key_.find(work->key); found != by_key_.end() && found->second == work) by_key_.erase(found);
}

void JobBoard::succeed(const std::shared_ptr<Work>& work, const std::vector<Picture>& pictures,
                       const std::vector<std::string>& notes, const nlohmann::json& seconds) {
  leave_running(work);
  for (const JobPointer& job : std::exchange(work->jobs, {})) {
    job->pictures = pictures;
    job->notes.insert(job->notes.end(), notes.begin(), notes.end());
    job->seconds = seconds;
    end(job, JobStatus::succeeded);
  }
}

void JobBoard::fail(const std::shared_ptr<Work>& work, const ErrorAnswer& error) {
  leave_running(work);
  for (const JobPointer& job : std::exchange(work->jobs, {})) {
    job->error = error;
    end(job, JobStatus::failed);
  }
}

void JobBoard::lost(const std::shared_ptr<Work>& work, const std::string& reason) {
  if (work->jobs.empty()) return stopped(work);
  if (work->attempts >= limits_.attempts)
    return fail(work, {.status = 500,
                       .message = "the drawing process failed twice on this request (" + reason + ")",
                       .code = "worker_failed"});
  std::erase(running_, work);
  waiting_.push_front(work);
  for (const JobPointer& job : std::vector(work->jobs)) {
    job->status = JobStatus::queued;
    job->phase.clear();
    job->step = job->steps = 0;
    job->notes.push_back("started again: " + reason);
    tell(*job, {Job::Event::Kind::queued, 0, nullptr});
  }
}

void JobBoard::stopped(const std::shared_ptr<Work>& work) {
  leave_running(work);
  for (const JobPointer& job : std::exchange(work->jobs, {})) end(job, JobStatus::cancelled);
}

std::optional<size_t> JobBoard::position(const Job& job) const {
  for (size_t i = 0; i < waiting_.size(); ++i)
    if (waiting_[i] == job.work) return i;
  return std::nullopt;
}

void JobBoard::tick() {
  const double now = now_();
  for (const auto& work : std::vector(waiting_.begin(), waiting_.end())) {
    for (const JobPointer& job : std::vector(work->jobs)) {
      if (job->deadline == 0 || now < job->deadline) continue;
      job->error = ErrorAnswer{.status = 504,
                               .message = "the deadline of this request passed while it waited in line",
                               .code = "deadline_exceeded",
                               .worth_a_retry = true};
      std::erase(work->jobs, job);
      end(job, JobStatus::failed);
    }
    if (!work->jobs.empty()) continue;
    if (!work->key.empty()) by_key_.erase(work->key);
    std::erase(waiting_, work);
  }
  drop_old();
}

void JobBoard::drop_old() {
  const double now = now_();
  const auto too_much = [&] {
    return finished_bytes_ > limits_.keep_bytes || finished_.size() > limits_.keep_jobs ||
           now - finished_.front()->finished > limits_.keep_seconds;
  };
  while (!finished_.empty() && too_much()) {
    const JobPointer job = finished_.front();
    finished_.pop_front();
    for (const Picture& p : job->pictures) finished_bytes_ -= p.bytes->size();
    jobs_.erase(job->id);
    if (!job->idempotency_key.empty()) idempotency_.erase({job->owner, job->idempotency_key});
  }
}

}  // namespace inkling::server
