#include "drivers/mqtt_endpoint/lobby.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr Duration again_in = 10ms;
constexpr std::size_t inside_min = 16;     // however low the rate: one who dawdles is not to hold up all
constexpr double burst_of_second = 0.125;  // of a second's rate may come in one moment

}  // namespace

Lobby::Lobby(Loop& loop, Limits limits, Doors doors)
    : loop_(loop),
      limits_(limits),
      doors_(std::move(doors)),
      tokens_(burst()),
      tokens_at_(loop.now()),
      busy_until_(loop.now()) {}

double Lobby::burst() const { return std::max(1.0, static_cast<double>(limits_.rate) * burst_of_second); }
std::size_t Lobby::inside_max() const { return std::max<std::size_t>(limits_.rate, inside_min); }

void Lobby::enter(std::unique_ptr<Stream> stream) {
  const Guest id = next_++;
  const std::string source = source_of(stream->peer_address());
  Source& of = sources_[source];
  of.people.push_back({id, source, loop_.now(), Stage::quiet, std::move(stream)});
  guests_.emplace(id, std::prev(of.people.end()));
  ++waiting_;
  of.people.back().stream->when_readable([this, id](bool said_something) {
    if (said_something) became_ready(id);
    else forget(id);  // he left again: nobody's turn is spent on that
  });
}

void Lobby::became_ready(Guest guest) {
  Person& ready = person(guest);
  ready.stage = Stage::ready;
  Source& of = sources_.find(ready.source)->second;
  if (of.ready++ == 0) turns_.push_back(ready.source);
  // Later: the stream is inside its own callback, and sources take turns only where several are ready.
  if (!timer_) timer_ = loop_.after(0ms, [this] { let_some_in(); });
}

// A fleet that comes back at once is let in at a rate that leaves time for those who are in.
void Lobby::let_some_in() {
  const Instant now = loop_.now();
  const double rate = static_cast<double>(limits_.rate);
  tokens_ = std::min(burst(), tokens_ + rate * to_seconds(now - tokens_at_));
  tokens_at_ = now;
  while (!turns_.empty() && tokens_ >= 1 && inside_ < inside_max() && now >= busy_until_) {
    tokens_ -= 1;
    const std::string name = std::move(turns_.front());
    turns_.pop_front();
    Source& source = sources_.find(name)->second;
    const auto first = std::find_if(source.people.begin(), source.people.end(),
                                    [](const Person& p) { return p.stage == Stage::ready; });
    MILLRACE_CHECK(first != source.people.end());  // a source stands in the queue while it has somebody ready
    if (--source.ready > 0) turns_.push_back(name);
    first->stage = Stage::inside;
    first->since = now;
    --waiting_;
    ++inside_;
    doors_.let_in(first->id, std::move(first->stream));
  }
  // Those who were let in and say no more do not keep the others out.
  if (!turns_.empty() && inside_ >= inside_max()) {
    send_one_away(turns_.front(), [](const Person& p) { return p.stage == Stage::inside; });
  }
  timer_.reset();
  if (!turns_.empty()) timer_ = loop_.after(again_in, [this] { let_some_in(); });
}

void Lobby::introduced(Guest guest) {
  const auto found = guests_.find(guest);
  if (found == guests_.end() || found->second->stage != Stage::inside) return;
  found->second->stage = Stage::introduced;
  --inside_;
}

void Lobby::leave(Guest guest) {
  if (guests_.contains(guest)) forget(guest);
}

void Lobby::forget(Guest guest) {
  const auto at = guests_.at(guest);
  const auto source = sources_.find(at->source);
  if (at->stage == Stage::inside) --inside_;
  if (at->stage == Stage::quiet || at->stage == Stage::ready) --waiting_;
  if (at->stage == Stage::ready && --source->second.ready == 0) turns_.remove(at->source);
  guests_.erase(guest);
  source->second.people.erase(at);
  if (source->second.people.empty()) sources_.erase(source);
}

bool Lobby::make_room(const std::string& source) {
  // The silent first: nobody has heard anything of them.
  return send_one_away(source, [](const Person& p) { return p.stage == Stage::quiet; }) ||
         send_one_away(source, [](const Person&) { return true; });
}

// The busiest source's oldest of those who may be chosen. One who has spoken goes for a source that has
// fewer, or once he had his time; equal crowds leave each other alone.
bool Lobby::send_one_away(const std::string& source, const std::function<bool(const Person&)>& may_go) {
  const Instant now = loop_.now();
  const auto own = sources_.find(source);
  const std::size_t own_people = own == sources_.end() ? 0 : own->second.people.size();
  const Person* victim = nullptr;
  std::size_t most = 0;
  for (const auto& [name, of] : sources_) {
    if (of.people.size() < most) continue;
    const bool of_a_crowd = name != source && of.people.size() > own_people + 1;
    const auto oldest = std::find_if(of.people.begin(), of.people.end(), [&](const Person& p) {
      return may_go(p) && (p.stage == Stage::quiet || of_a_crowd || now - p.since >= grace);
    });
    if (oldest == of.people.end() || (victim && of.people.size() == most && oldest->since >= victim->since))
      continue;
    victim = &*oldest;
    most = of.people.size();
  }
  if (!victim) return false;
  const Guest id = victim->id;
  const bool was_let_in = !victim->stream;
  forget(id);
  if (was_let_in) doors_.send_away(id);
  return true;
}

void Lobby::took(Duration time) { busy_until_ = std::max(busy_until_, loop_.now()) + time; }

std::size_t Lobby::sweep() {
  const Instant now = loop_.now();
  std::vector<Guest> late;
  for (const auto& [id, at] : guests_) {
    if (at->stream && now - at->since > limits_.within) late.push_back(id);
  }
  for (const Guest id : late) forget(id);
  return late.size();
}

void Lobby::clear() {
  timer_.reset();
  turns_.clear();
  guests_.clear();
  sources_.clear();
  waiting_ = inside_ = 0;
}

std::string Lobby::busiest() const {
  const auto most = std::max_element(sources_.begin(), sources_.end(), [](const auto& a, const auto& b) {
    return a.second.people.size() < b.second.people.size();
  });
  return most == sources_.end() ? "" : most->first;
}

}  // namespace millrace
