#include "drivers/serial/acknowledger.h"

#include <algorithm>
#include <charconv>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string_view Acknowledger::input_of(std::string_view state) {
  state.remove_prefix(std::min(prefix.size(), state.size()));
  return state.substr(0, state.find('/'));
}

std::string Acknowledger::claim(std::string_view input) { return text("streams of ", input); }

Acknowledger::Acknowledger(Loop& loop, Intake& intake, const ClockTrust& trust, Metrics& metrics,
                           const std::string& input, Duration within, std::function<void(BytesView)> send)
    : loop_(loop),
      intake_(intake),
      trust_(trust),
      input_(input),
      within_(within),
      send_(std::move(send)),
      repeated_(metrics.counter("millrace_serial_repeated_frames_total",
                                "Frames that a device sent again and that were stored before",
                                {{"input", input}})),
      early_(metrics.counter("millrace_serial_early_frames_total",
                             "Frames that came before one that was lost on the line: they come again",
                             {{"input", input}})),
      missed_(metrics.counter("millrace_serial_missed_frames_total",
                              "Frames that a device gave up before they were taken", {{"input", input}})),
      refused_(metrics.counter("millrace_serial_refused_frames_total",
                               "Frames that found no room in the log: they come again", {{"input", input}})) {
  const std::string begin = state_name(0);
  for (const std::string& name : intake_.states(begin)) {
    std::uint32_t stream = 0;
    std::from_chars(name.data() + begin.size(), name.data() + name.size(), stream);
    if (const auto saved = intake_.state(name); saved && stream != 0) link_.load(stream, *saved);
  }
  attached_ = intake_.attach({[this](Ticket through) { on_durable(through); }, [] {}});
}

// Of stream 0, which nobody is: what all begin with.
std::string Acknowledger::state_name(std::uint32_t stream) const {
  return text(prefix, input_, "/", stream == 0 ? std::string() : text(stream));
}

bool Acknowledger::take(const Arrival& arrival) {
  DeviceFrame frame;
  if (!read_device_frame(arrival.bytes, frame).ok()) return false;
  std::uint64_t missed = 0;
  const DeviceLink::Verdict verdict = link_.judge(frame, missed);
  if (verdict == DeviceLink::Verdict::fresh) {
    if (!intake_.offer(arrival)) {
      refused_.add();
      return true;
    }
    if (missed > 0)
      LOG_WARN("input ", input_, ": the device of stream ", frame.stream, " gave up ", missed,
               " frames before they were taken");
    missed_.add(missed);
    // removing is never refused
    if (const auto gone = link_.accepted(frame)) (void)intake_.put_state(state_name(*gone), {});
    changed_.insert(frame.stream);
    return true;
  }
  if (verdict == DeviceLink::Verdict::known) {
    repeated_.add();
    intake_.note_duplicate(input_);
  } else {
    early_.add();
  }
  again_.insert(frame.stream);
  return true;
}

void Acknowledger::flush() {
  if (!changed_.empty()) {
    // Without room for it a frame may come twice after a crash; the log has told the operator.
    for (const std::uint32_t stream : changed_)
      (void)intake_.put_state(state_name(stream), link_.saved(stream));
    changed_.clear();
    link_.committed(intake_.commit(within_));
  }
  for (const std::uint32_t stream : std::exchange(again_, {})) tell(stream);
}

void Acknowledger::on_durable(Ticket through) {
  for (const std::uint32_t stream : link_.durable(through)) tell(stream);
}

void Acknowledger::tell(std::uint32_t stream) {
  const std::uint32_t sequence = link_.told(stream);
  if (sequence != 0) send_(encode_device_ack(stream, sequence, trust_.trusted() ? loop_.wall().us : 0));
}

}  // namespace millrace
