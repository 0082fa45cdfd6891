// All jobs of the service: who waits, who is drawn, what became of whom. Every accepted job reaches exactly one end,
// and a worker that dies costs a job at most one more try. One thread; time is handed in.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/jobs/job.h"

namespace inkling::server {

struct BoardLimits {
  double keep_seconds = 600;      // a finished job and its pictures
  size_t keep_bytes = 512 << 20;  // of finished pictures; the oldest go first
  size_t keep_jobs = 10'000;
  int attempts = 2;  // of one work: a worker that dies under it costs one
};

struct BoardTotals {
  uint64_t accepted = 0, done = 0, failed = 0, cancelled = 0;
};

class JobBoard {
 public:
  struct Hooks {
    std::function<void(const Job&)> over;                  // once per job, whatever its end
    std::function<void(const std::string& work)> abandon;  // nobody waits for this running work any more
  };
  JobBoard(BoardLimits limits, std::function<double()> now, Hooks hooks);
  ~JobBoard();
  JobBoard(const JobBoard&) = delete;
  JobBoard& operator=(const JobBoard&) = delete;

  // A job that will be drawn: joins a work of the same key that waits or runs, else becomes a work of its own.
  void enqueue(const JobPointer& job, Work work);
  // A job that is over already (from a cache).
  void add_finished(const JobPointer& job);

  JobPointer find(const std::string& id, const std::string& owner) const;
  std::vector<JobPointer> newest(const std::string& owner, size_t count) const;
  // The job of an earlier request with this key, if it is still here.
  JobPointer by_idempotency_key(const std::string& owner, const std::string& key) const;
  void set_idempotency_key(const JobPointer& job, const std::string& key);

  // Idempotent; a job that is over stays as it is.
  void cancel(const JobPointer& job);

  uint64_t listen(const JobPointer& job, std::function<void(const Job&, const Job::Event&)> listener);
  void unlisten(const JobPointer& job, uint64_t number);

  // For the dispatcher: takes the first waiting work that `runnable` accepts, and up to `most` - 1 others that
  // `together` accepts beside it.
  std::vector<std::shared_ptr<Work>> take(const std::function<bool(const Work&)>& runnable,
                                          const std::function<bool(const Work&, const Work&)>& together, size_t most);
  void progress(Work& work, const std::string& phase, int step, int steps);
  void preview(Work& work, int step, const Blob& jpeg);
  void succeed(const std::shared_ptr<Work>& work, const std::vector<Picture>& pictures,
               const std::vector<std::string>& notes, const nlohmann::json& seconds);
  void fail(const std::shared_ptr<Work>& work, const ErrorAnswer& error);
  // The worker died: back to the head of the line, or failed after its last attempt.
  void lost(const std::shared_ptr<Work>& work, const std::string& reason);
  // A running work that was cancelled for everyone has stopped.
  void stopped(const std::shared_ptr<Work>& work);

  // Deadlines of waiting jobs, and what is too old to keep.
  void tick();

  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  const std::deque<std::shared_ptr<Work>>& waiting_works() const { return waiting_; }
  const std::vector<std::shared_ptr<Work>>& running_works() const { return running_; }
  bool has_work(const std::string& key) const { return by_key_.contains(key); }
  // 0: next; nullopt: not waiting.
  std::optional<size_t> position(const Job& job) const;
  const BoardTotals& totals() const { return totals_; }

 private:
  void end(const JobPointer& job, JobStatus status);
  void tell(Job& job, const Job::Event& event);
  void leave_running(const std::shared_ptr<Work>& work);
  void drop_old();

  const BoardLimits limits_;
  const std::function<double()> now_;
  const Hooks hooks_;
  std::unordered_map<std::string, JobPointer> jobs_;
  std::deque<JobPointer> finished_;  // oldest first
  size_t finished_bytes_ = 0;
  std::map<std::pair<std::string, std::string>, std::string> idempotency_;  // owner, key -> job
  std::unordered_map<std::string, std::shared_ptr<Work>> by_key_;
  std::deque<std::shared_ptr<Work>> waiting_;
  std::vector<std::shared_ptr<Work>> running_;
  BoardTotals totals_;
  uint64_t next_listener_ = 1;
};

}  // namespace inkling::server
