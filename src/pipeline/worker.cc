#include "pipeline/worker.h"

#include "base/threads.h"

namespace inkling {

Worker::Worker() : thread_([this] { loop(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::future<void> Worker::begin(std::function<void()> work) {
  // The number of threads is OpenMP's, which keeps one for every thread that asks.
  std::packaged_task<void()> task([threads = thread_count(), work = std::move(work)] {
    set_thread_count(threads);
    work();
  });
  std::future<void> future = task.get_future();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return future;
}

void Worker::loop() {
  for (;;) {
    std::packaged_task<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace inkling
