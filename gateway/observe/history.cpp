#include "observe/history.h"

#include <algorithm>
#include <utility>

#include "base/json.h"

namespace millrace {
namespace {

std::int64_t number_of(Instant at, Duration step) { return at.ns / step.count(); }

// What no uplink will get any more, over all of them.
double lost_of(const GatewayState& state) {
  double lost = static_cast<double>(state.log.vanished);
  for (const UplinkState& uplink : state.uplinks) {
    for (const LaneState& lane : uplink.lanes) {
      for (const auto& [how, records] : lane.settled) {
        if (how == "expired" || how == "evicted" || how == "unreadable") lost += static_cast<double>(records);
      }
    }
  }
  return lost;
}

double waiting_of(const GatewayState& state) {
  double waiting = 0;
  for (const UplinkState& uplink : state.uplinks) waiting += static_cast<double>(uplink.backlog);
  return waiting;
}

History::Was how_was(const UplinkState& uplink) {
  if (uplink.blocked || !uplink.waits_for.empty()) return History::needs_person;
  // before its first try to connect
  if (uplink.state == "not connected yet") return History::unknown;
  return !uplink.running ? History::unknown : uplink.healthy ? History::good : History::troubled;
}

}  // namespace

template <std::size_t N>
History::Step& History::Ring<N>::at(std::int64_t number) {
  Step& step = steps[static_cast<std::size_t>(number) % N];
  if (step.number != number) step = Step{number, 0, 0, 0, 0, unknown};
  return step;
}

template <std::size_t N>
const History::Step* History::Ring<N>::seen(std::int64_t number) const {
  const Step& step = steps[static_cast<std::size_t>(number) % N];
  return number >= 0 && step.number == number ? &step : nullptr;
}

template <std::size_t N>
void History::Strip<N>::note(std::int64_t step, Was how) {
  const auto at = static_cast<std::size_t>(step) % N;
  if (std::exchange(number[at], step) != step) was[at] = unknown;
  was[at] = std::max<std::uint8_t>(was[at], how);
}

template <std::size_t N>
std::string History::Strip<N>::words(std::int64_t last) const {
  std::string words;
  for (std::int64_t step = last - static_cast<std::int64_t>(N) + 1; step <= last; ++step) {
    const auto at = static_cast<std::size_t>(std::max<std::int64_t>(step, 0)) % N;
    words += static_cast<char>('0' + (step > 0 && number[at] == step ? was[at] : 0));
  }
  return words;
}

// What came since the last look belongs to the step in which it ends: the looks are ten seconds apart, a step
// has two at least.
template <std::size_t N>
void History::note(Ring<N>& ring, const Totals& more, double waiting, Was was, Instant now, double seconds) {
  Step& step = ring.at(number_of(now, ring.step));
  step.in += static_cast<float>(more.in);
  step.lost += static_cast<float>(more.lost);
  step.seconds += static_cast<float>(seconds);
  step.waiting = std::max(step.waiting, static_cast<float>(waiting));
  step.was = std::max(step.was, was);
}

void History::note_uplinks(const GatewayState& state, Instant now) {
  std::erase_if(uplinks_, [&](const auto& entry) {
    return std::ranges::none_of(state.uplinks,
                                [&](const UplinkState& uplink) { return uplink.name == entry.first; });
  });
  for (const UplinkState& uplink : state.uplinks) {
    if (!uplinks_.contains(uplink.name) && uplinks_.size() >= uplinks_max) continue;
    Strips& strips = uplinks_[uplink.name];
    strips.day.note(number_of(now, day_step), how_was(uplink));
    strips.quarter.note(number_of(now, quarter_step), how_was(uplink));
  }
}

// The ledger counts over restarts, and uplinks come and go: only what grows from one look to the next is
// something that happened.
void History::look(const GatewayState& state, const std::vector<Fault>& faults, Instant now) {
  const Totals totals{static_cast<double>(state.log.records), lost_of(state)};
  const bool first = last_at_.ns == 0;
  Totals more;
  if (!first) more = {std::max(0.0, totals.in - last_.in), std::max(0.0, totals.lost - last_.lost)};
  const double seconds = first ? 0 : to_seconds(now - last_at_);
  last_ = totals;
  last_at_ = now;
  Was was = good;
  for (const Fault& fault : faults) was = std::max(was, fault.person ? needs_person : troubled);
  note(day_, more, waiting_of(state), was, now, seconds);
  note(quarter_, more, waiting_of(state), was, now, seconds);
  note_uplinks(state, now);
}

std::string History::json(Instant now) const {
  JsonWriter json;
  json.begin_object();
  const auto write = [&](const char* name, const auto& ring) {
    const std::int64_t last = number_of(now, ring.step);
    const auto each = [&](const char* what, auto value) {
      json.key(what).begin_array();
      for (std::int64_t number = last - static_cast<std::int64_t>(ring.steps.size()) + 1; number <= last;
           ++number) {
        const Step* step = ring.seen(number);
        if (step) json.value(static_cast<double>(value(*step)));
        else json.null();
      }
      json.end_array();
    };
    json.key(name).begin_object().member("step_seconds", to_seconds(ring.step));
    json.member("into_step_seconds", to_seconds(now - Instant{last * ring.step.count()}));
    each("in", [](const Step& step) { return step.seconds > 0 ? step.in / step.seconds : 0; });
    each("waiting", [](const Step& step) { return step.waiting; });
    each("lost", [](const Step& step) { return step.lost; });
    each("was", [](const Step& step) { return static_cast<float>(step.was); });
    json.end_object();
  };
  write("day", day_);
  write("quarter", quarter_);
  json.key("uplinks").begin_array();
  for (const auto& [name, strips] : uplinks_) {
    json.begin_object().member("name", name).member("day", strips.day.words(number_of(now, day_step)));
    json.member("quarter", strips.quarter.words(number_of(now, quarter_step))).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace millrace
