#include "pipeline/log_intake.h"

#include <algorithm>
#include <set>

#include "base/label.h"
#include "base/utf8.h"

namespace millrace {
namespace {

// What a driver says of its peers comes from outside as well. A reading would be refused; an event is not
// lost for the name of its device: what no record may have is shown escaped and cut.
void tame(Record& event) {
  const auto tamed = [](Label label, const std::string& given) {
    return check_label(label, given).ok()
               ? given
               : std::string(cut_utf8(shown(given, label_bytes_max(label)), label_bytes_max(label)));
  };
  if (!event.device.empty()) event.device = tamed(Label::device, event.device);
  if (!event.unit.empty()) event.unit = tamed(Label::unit, event.unit);
  if (auto* said = std::get_if<std::string>(&event.value);
      said && !check_text_value(event.metric, *said).ok()) {
    *said = cut_utf8(shown(*said, text_value_bytes_max), text_value_bytes_max);
  }
  Tags tags;
  for (const auto& [name, value] : event.tags)
    tags.emplace_back(tamed(Label::tag_name, name), tamed(Label::tag_value, value));
  event.tags = std::move(tags);
}

}  // namespace

Handle LogIntake::attach(Peer peer) {
  const std::uint64_t id = next_id_++;
  peers_.emplace(id, std::make_shared<const Peer>(std::move(peer)));
  return Handle{[this, id] { peers_.erase(id); }};
}

bool LogIntake::offer(const Arrival& arrival) {
  // What is offered joins the log at the next commit(): until then its answer stays.
  if (pressure_.pressed() || !(accepted_ = accepted_ || log_.accepting())) {
    busy_ = true;
    return false;
  }
  decoding_.decode(arrival, UINT64_MAX, false, offered_);
  return true;
}

void LogIntake::note_duplicate(std::string_view input) {
  decoding_.count_duplicates(1);
  if (const KnownInput* known = inputs_.find(input)) known->payloads->add();
}

void LogIntake::report(Record event) {
  tame(event);
  offered_.records.emplace_back(Lane::alarm, std::move(event));
}

// A state that does not fit is left out (the log says so and counts it): it must not take the readings beside
// it along.
Status LogIntake::put_state(std::string name, Bytes bytes) {
  offered_.states.push_back({std::move(name), std::move(bytes), WriteSet::State::NoRoom::left_out});
  Status status = log_.fits(offered_.states);
  if (status.ok()) return status;
  WriteSet alone;
  alone.states.push_back(std::move(offered_.states.back()));
  alone.states.back().no_room = WriteSet::State::NoRoom::refuses;
  offered_.states.pop_back();
  log_.commit(std::move(alone), {});
  return status;
}

Ticket LogIntake::commit(std::optional<Duration> within) {
  const Ticket ticket = ++ticket_;
  accepted_ = false;
  inputs_.save_memories(true, offered_);
  offered_.within = within;
  const std::size_t records = offered_.records.size();
  log_.commit(std::exchange(offered_, {}), [this, ticket](const Status& status) {
    if (!status.ok()) failed_ = std::min(failed_, ticket);
    // closed, say: nobody is told anything, neither of this nor of what comes behind it
    if (ticket >= failed_) return;
    durable_through_ = ticket;
    if (std::exchange(telling_, true)) return;
    loop_.post([this] {
      telling_ = false;
      tell_peers(true);
    });
  });
  // As many are likely to come again, and none is moved about. Of two, since the rest of a window follows its
  // first chunk.
  offered_.records.reserve(std::max(records, std::exchange(records_before_, records)));
  return ticket;
}

void LogIntake::on_room() {
  if (!busy_ || pressure_.pressed() || !log_.accepting()) return;
  busy_ = false;
  tell_peers(false);
}

// A peer may go while it is told, and take others with it.
void LogIntake::tell_peers(bool durable) {
  const auto peers = peers_;
  for (const auto& [id, peer] : peers) {
    if (!peers_.contains(id)) continue;
    if (durable) peer->durable(durable_through_);
    else peer->room();
  }
}

// What is offered and waits for commit() counts already: a session saved by a driver that goes is there for
// its successor.
std::optional<Bytes> LogIntake::state(std::string_view name) const {
  const auto offered = std::find_if(offered_.states.rbegin(), offered_.states.rend(),
                                    [&](const WriteSet::State& s) { return s.name == name; });
  if (offered == offered_.states.rend()) return log_.state(name);
  return offered->bytes.empty() ? std::nullopt : std::optional(offered->bytes);
}

std::vector<std::string> LogIntake::states(std::string_view prefix) const {
  std::set<std::string> names;
  for (std::string& name : log_.states(prefix)) names.insert(std::move(name));
  for (const WriteSet::State& state : offered_.states) {
    if (!state.name.starts_with(prefix)) continue;
    if (state.bytes.empty()) names.erase(state.name);
    else names.insert(state.name);
  }
  return {names.begin(), names.end()};
}

}  // namespace millrace
