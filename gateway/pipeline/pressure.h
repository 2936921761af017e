// Whether inputs are to pause: when the log is about to be full, or cannot be written. Going on waits until
// the inbox is half empty, too, so that inputs do not flap; it is said again and again, because an input may
// also have paused by itself for a full inbox. On the loop.
#pragma once

#include <functional>
#include <utility>

#include "ingest/mapped_inbox.h"
#include "log/log.h"

namespace millrace {

class Pressure {
 public:
  Pressure(const MappedInbox& inbox, const Log& log) : inbox_(inbox), log_(log) {}

  void on_change(std::function<void(bool pause)> changed) { changed_ = std::move(changed); }
  bool pressed() const { return pressed_; }
  void check() {
    const LogStats stats = log_.stats();
    if (stats.blocked || !stats.trouble.empty()) {
      if (!pressed_ && changed_) changed_(true);
      pressed_ = true;
    } else if (inbox_.fill() < 0.5) {
      pressed_ = false;
      if (changed_) changed_(false);
    }
  }

 private:
  const MappedInbox& inbox_;
  const Log& log_;
  std::function<void(bool)> changed_;
  bool pressed_ = false;
};

}  // namespace millrace
