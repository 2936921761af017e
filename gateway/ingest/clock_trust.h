// Whether the wall clock can be believed: the kernel says it is synchronised. Looked up now and then on the loop, read by
// drivers on any thread.
#pragma once

#include <atomic>

namespace millrace {

class ClockTrust {
 public:
  void set(bool trusted) { trusted_.store(trusted, std::memory_order_relaxed); }
  bool trusted() const { return trusted_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> trusted_{false};
};

}  // namespace millrace
