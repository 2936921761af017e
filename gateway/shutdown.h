// How the daemon stops: step by step, each with its patience. Who does not stop in time is left behind, so
// that the log is closed all the same; and what hangs for good does not keep the process. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "loop/uv_loop.h"

namespace millrace {

class Shutdown {
 public:
  explicit Shutdown(UvLoop& loop) : loop_(loop) {}

  // From here on the process ends within nine seconds, also when the loop itself hangs. False: it began
  // before.
  bool begin();
  bool begun() const { return begun_; }
  // What is left of its time when `kept` of it is for what comes behind; a second at least.
  Duration left_but(Duration kept) const;
  // One step, of several parts: who has stopped calls what this returns; `next` runs then, or when patience
  // ends, once. `who`: who has not stopped yet.
  std::function<void()> step(std::function<std::string()> who, std::function<void()> next);
  // The log is closed: whatever still hangs costs nothing.
  void log_closed();
  // Something did not stop: it may still call back, so nothing that it knows may be destroyed.
  bool abandoned() const { return abandoned_; }

 private:
  UvLoop& loop_;
  std::unique_ptr<Timer> whole_, step_;
  Instant ends_;
  bool begun_ = false, abandoned_ = false;
};

}  // namespace millrace
