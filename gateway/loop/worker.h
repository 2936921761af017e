// A named worker: one thread, one queue. Tasks run in order and never overlap. The destructor runs what is queued, then
// joins: work that was handed over is never dropped.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace millrace {

class Worker {
 public:
  explicit Worker(const std::string& name);
  ~Worker();
  void run(std::function<void()> task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace millrace
