// A thread of a device's own: what is given to it runs in order. Errors come back through the future.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace inkling {

class Worker {
 public:
  Worker();
  ~Worker();  // after what was given to it
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Parallel work inside uses as many threads as the caller's would.
  std::future<void> begin(std::function<void()> work);
  void run(std::function<void()> work) { begin(std::move(work)).get(); }

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace inkling
