// A named worker: one thread, one queue. Tasks run in order and never overlap. The destructor runs what is
// queued, then joins: work that was handed over is never dropped.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace millrace {

struct Seat;

class Worker {
 public:
  explicit Worker(const std::string& name);
  ~Worker();
  void run(std::function<void()> task);

 private:
  void work();

  Seat* seat_;  // where others can see that it works; none, when there are too many
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

// The names of those that are inside a task, "log, paho", without an end mark; how many bytes. For the last
// words of a process: also inside a signal handler.
std::size_t busy_workers(char* out, std::size_t size);

}  // namespace millrace
