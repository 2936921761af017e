#include "pipeline/known_inputs.h"

#include "pipeline/input_watch.h"

namespace millrace {
namespace {

constexpr std::size_t unknown_inputs_told = 64;  // with a line each

Counter* counter(Metrics& metrics, const std::string& input, const char* name, const char* help) {
  return &metrics.counter(name, help, {{"input", input}});
}

}  // namespace

KnownInput::KnownInput(std::string of, const Log& log, Metrics& metrics)
    : name(std::move(of)),
      retained(log, name),
      payloads(counter(metrics, name, "millrace_input_payloads_total", "Payloads taken")),
      records(counter(metrics, name, "millrace_input_records_total", "Records decoded")),
      undecodable(counter(metrics, name, "millrace_input_undecodable_total",
                          "Payloads that could not be decoded, or not wholly")),
      retained_dropped(counter(metrics, name, "millrace_input_retained_dropped_total",
                               "Retained messages already taken with this value")),
      no_value(counter(metrics, name, "millrace_input_no_value_total",
                       "Values of payloads that were null, nan or inf")),
      ignored(counter(
          metrics, name, "millrace_input_ignored_total",
          "Payloads that nobody wants: of routes with ignore = true, or whose conditions no route holds")),
      latin1(counter(metrics, name, "millrace_input_latin1_total",
                     "Payloads whose text was no UTF-8 and was read as ISO 8859-1")),
      suppressed(counter(metrics, name, "millrace_input_suppressed_records_total",
                         "Readings that report by exception kept from uplinks")),
      retained_topics(
          &metrics.gauge("millrace_input_retained_topics",
                         "Topics with a retained message of which it is known what came last, 4096 at most",
                         {{"input", name}})) {}

Handle KnownInputs::add(const std::string& name, std::shared_ptr<const Router> router, bool retained_once) {
  std::shared_ptr<InputMemory> memory;
  if (router->remembers()) {
    KnownInput& input = known(name);
    if (!input.memory) input.memory = std::make_shared<InputMemory>(log_, metrics_, name);
    memory = input.memory;
    memory->join(*router);
  }
  const auto watch = std::make_shared<InputWatch>(metrics_, name, router);
  return add(
      name,
      [router, watch, memory](const Arrival& a, std::vector<Record>& out, Unread& unread) {
        return router->decode(a, out, unread, memory ? &memory->remembered() : nullptr);
      },
      retained_once);
}

Handle KnownInputs::add(const std::string& name, Decode decode, bool retained_once) {
  const std::uint64_t id = next_id_++;
  told_unknown_.erase(name);
  KnownInput& input = known(name);
  if (!input.decoders.empty()) end(name, input.decoders.back().id);
  input.decoders.push_back({id, std::move(decode), retained_once});
  return Handle{[this, name, id] {
    end(name, id);
    if (!inbox_.empty()) return;
    WriteSet last;
    drop_finished(inbox_.end(), last);
    if (!last.states.empty()) log_.commit(std::move(last), {});
  }};
}

Handle KnownInputs::set_voice(const std::string& name, Say say) {
  const std::uint64_t id = next_id_++;
  voices_[name] = {id, std::move(say)};
  return Handle{[this, name, id] {
    if (const auto found = voices_.find(name); found != voices_.end() && found->second.first == id)
      voices_.erase(found);
  }};
}

bool KnownInputs::say(const std::string& name, const Saying& reply) {
  const auto voice = voices_.find(name);
  return voice != voices_.end() && voice->second.second(reply);
}

// Made anew also where it is known, for its metrics: those of one that was removed may have been retired.
KnownInput& KnownInputs::known(const std::string& name) {
  KnownInput input(name, log_, metrics_);
  return inputs_.try_emplace(name, std::move(input)).first->second;
}

// Only the last one of a name is current. One that brought nothing goes at once: reloads leave nothing
// behind, also while the log is full and nothing is taken.
void KnownInputs::end(const std::string& name, std::uint64_t id) {
  const auto found = inputs_.find(name);
  if (found == inputs_.end() || found->second.decoders.empty()) return;
  auto& decoders = found->second.decoders;
  if (decoders.back().id != id || !decoders.back().current()) return;
  decoders.back().through = inbox_.end();
  if (decoders.size() > 1 && decoders[decoders.size() - 2].through == decoders.back().through)
    decoders.pop_back();
}

KnownInput* KnownInputs::look_up(std::string_view name) {
  const auto found = inputs_.find(name);
  return last_ = found == inputs_.end() ? nullptr : &found->second;
}

void KnownInputs::drop_finished(Ticket done_through, WriteSet& set) {
  last_ = nullptr;
  for (auto at = inputs_.begin(); at != inputs_.end();) {
    auto& decoders = at->second.decoders;
    while (!decoders.empty() && decoders.front().through <= done_through) decoders.pop_front();
    if (decoders.empty()) at->second.retained.save(set, {}, true);
    at = decoders.empty() ? inputs_.erase(at) : std::next(at);
  }
}

void KnownInputs::save_memories(bool offered, WriteSet& set) {
  for (const auto& [name, input] : inputs_) {
    if (input.memory && input.memory->offered == offered && input.memory->changed()) input.memory->save(set);
  }
}

void KnownInputs::save_retained(WriteSet& set, Instant now, bool stopping) {
  for (auto& [name, input] : inputs_) {
    if (input.retained.topics() == 0) continue;
    input.retained.save(set, now, stopping);
    input.retained_topics->set(static_cast<double>(input.retained.topics()));
  }
}

void KnownInputs::drop_old_memories() {
  WriteSet set;
  for (std::string& name : log_.states(InputMemory::prefix)) {
    const auto found = inputs_.find(InputMemory::input_of(name));
    if (found == inputs_.end() || !found->second.memory) set.states.push_back({std::move(name), {}});
  }
  if (!set.states.empty()) log_.commit(std::move(set), {});
}

bool KnownInputs::tell_unknown(std::string_view name) {
  return told_unknown_.size() < unknown_inputs_told && told_unknown_.emplace(name).second;
}

}  // namespace millrace
