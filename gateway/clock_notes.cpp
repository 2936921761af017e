#include "clock_notes.h"

#include <utility>

namespace millrace {

BootTimes boot_times_of(const Log& log) {
  BootTimes times;
  if (const auto saved = log.state(BootTimes::state_name)) times.restore(*saved);
  return times;
}

ClockNotes::ClockNotes(Loop& loop, Log& log, std::uint64_t boot_id)
    : loop_(loop), log_(log), boot_id_(boot_id), times_(boot_times_of(log)) {
  times_.others_ended(boot_id_, log_.last_committed());
}

void ClockNotes::look(bool trusted) {
  if (!trusted) {
    ++doubts_;
    if (times_.began(boot_id_, log_.last_committed())) log_.commit(news(), {});
    return;
  }
  const Instant now = loop_.now();
  if (times_.trusted(boot_id_, loop_.wall().us - now.ns / 1000, now)) tell();
}

// What is in the open group was stamped before, too: only behind that group nothing of it comes any more.
void ClockNotes::tell() {
  Record event;
  event.kind = Kind::event;
  event.metric = "clock_set";
  event.time = loop_.wall();
  event.trust = TimeTrust::gateway;
  event.value = std::string("what this boot stamped before is corrected by its monotonic time");
  auto detail = std::make_shared<Detail>();
  detail->boot_id = boot_id_;
  detail->monotonic_us = loop_.now().ns / 1000;
  event.detail = std::move(detail);
  WriteSet set = news();
  set.records.emplace_back(Lane::alarm, std::move(event));
  log_.commit(std::move(set), [this, alive = alive_, doubts = doubts_](const Status& status) {
    if (!*alive || !status.ok() || doubts != doubts_) return;
    if (times_.ended(boot_id_, log_.last_committed())) log_.commit(news(), {});
  });
}

WriteSet ClockNotes::news() const { return {.states = {{BootTimes::state_name, times_.save()}}}; }

}  // namespace millrace
