#include "pipeline/pipeline.h"

#include <algorithm>

#include "base/label.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "pipeline/input_watch.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr int arrivals_per_look = 2048;
// what a payload gives is no matter of its size: the death of a node
constexpr std::size_t records_per_look = 8192;
constexpr std::int64_t clock_step_us = 1'000'000;
constexpr std::size_t retained_topics_max = 4096;
constexpr std::size_t unknown_inputs_told = 64;  // with a line each

std::string retained_state(const std::string& input) { return "retained." + input; }

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

Pipeline::Pipeline(Loop& loop, MappedInbox& inbox, Log& log, Metrics& metrics, PipelineOptions options)
    : loop_(loop),
      inbox_(inbox),
      log_(log),
      metrics_(metrics),
      options_(std::move(options)),
      windows_(loop, log, metrics, options_.windows),
      reports_(options_.report_state_max),
      taken_(metrics.counter("millrace_taken_records_total",
                             "Records taken from inputs; a payload that gave none counts as one")),
      admitted_(metrics.counter("millrace_admitted_records_total", "Of these, put into the log")),
      filtered_(metrics.counter(
          "millrace_filtered_records_total",
          "Of these, wanted by no uplink and no window; payloads that a route ignores or that have no value")),
      duplicate_(metrics.counter("millrace_duplicates_total",
                                 "Of these, payloads recognised as taken before, and dropped")),
      undecodable_(metrics.counter("millrace_undecodable_total",
                                   "Of these, payloads that could not be decoded, or not wholly")),
      letters_(loop, log, metrics, {options_.boot_id, options_.windows.clock_vouched}),
      inbox_fill_(metrics.gauge("millrace_inbox_fill_ratio", "How full the inbox is, 0 to 1")) {
  Log::Listener listener;
  listener.room = [this] {
    check_pressure();
    if (running_) look();
    if (busy_ && !pressed_ && log_.accepting()) {
      busy_ = false;
      tell_peers(false);
    }
  };
  log_.listen(std::move(listener));
  scrape_ = metrics.before_scrape([this] {
    inbox_fill_.set(inbox_.fill());
    const std::uint64_t fresh = inbox_.duplicates() - redelivered_;
    redelivered_ += fresh;
    taken_.add(fresh);
    duplicate_.add(fresh);
    show_reports();
  });
}

Handle Pipeline::set_input(const std::string& name, Router router, bool retained_once) {
  std::shared_ptr<InputMemory> memory;
  if (router.remembers()) {
    Input& input = known_input(name);
    if (!input.memory) input.memory = std::make_shared<InputMemory>(log_, metrics_, name);
    memory = input.memory;
    memory->join(router);
  }
  const auto kept = std::make_shared<const Router>(std::move(router));
  return set_input(
      name,
      [router = kept, watch = std::make_shared<InputWatch>(metrics_, name, kept), memory](
          const Arrival& a, std::vector<Record>& out, Unread& unread) {
        return router->decode(a, out, unread, memory ? &memory->remembered() : nullptr);
      },
      retained_once);
}

Handle Pipeline::set_voice(const std::string& name, Say say) {
  const std::uint64_t id = next_id_++;
  voices_[name] = {id, std::move(say)};
  return Handle{[this, name, id] {
    if (const auto found = voices_.find(name); found != voices_.end() && found->second.first == id)
      voices_.erase(found);
  }};
}

Handle Pipeline::set_input(const std::string& name, Decode decode, bool retained_once) {
  const std::uint64_t id = next_id_++;
  told_unknown_.erase(name);
  Input& input = known_input(name);
  if (!input.decoders.empty()) end_decoder(name, input.decoders.back().id);
  input.decoders.push_back({id, std::move(decode), retained_once});
  return Handle{[this, name, id] {
    end_decoder(name, id);
    if (inbox_.empty()) drop_decoders(inbox_.end());
  }};
}

Pipeline::Input& Pipeline::known_input(const std::string& name) {
  const Labels labels{{"input", name}};
  // Registered anew also where it is known: the metrics of one that was removed may have been retired.
  Input input{
      {},
      {},
      {},
      &metrics_.counter("millrace_input_payloads_total", "Payloads taken", labels),
      &metrics_.counter("millrace_input_records_total", "Records decoded", labels),
      &metrics_.counter("millrace_input_undecodable_total",
                        "Payloads that could not be decoded, or not wholly", labels),
      &metrics_.counter("millrace_input_retained_dropped_total",
                        "Retained messages already taken with this value", labels),
      &metrics_.counter("millrace_input_no_value_total", "Values of payloads that were null, nan or inf",
                        labels),
      &metrics_.counter(
          "millrace_input_ignored_total",
          "Payloads that nobody wants: of routes with ignore = true, or whose conditions no route holds",
          labels),
      &metrics_.counter("millrace_input_latin1_total",
                        "Payloads whose text was no UTF-8 and was read as ISO 8859-1", labels),
      &metrics_.counter("millrace_input_suppressed_records_total",
                        "Readings that report by exception kept from uplinks", labels)};
  if (const auto found = inputs_.find(name); found != inputs_.end()) return found->second;
  if (const auto saved = log_.state(retained_state(name))) {
    wire::Reader reader(*saved);
    while (!reader.at_end()) {
      const std::uint64_t topic = reader.get_fixed64();
      input.retained[topic] = reader.get_fixed64();
    }
  }
  return inputs_.emplace(name, std::move(input)).first->second;
}

// Only the last one of a name is current. One that brought nothing goes at once: reloads leave nothing
// behind, also while the log is full and nothing is taken.
void Pipeline::end_decoder(const std::string& name, std::uint64_t id) {
  const auto found = inputs_.find(name);
  if (found == inputs_.end() || found->second.decoders.empty()) return;
  auto& decoders = found->second.decoders;
  if (decoders.back().id != id || !decoders.back().current()) return;
  decoders.back().through = inbox_.end();
  if (decoders.size() > 1 && decoders[decoders.size() - 2].through == decoders.back().through)
    decoders.pop_back();
}

// The inbox's entries up to here are decoded: whoever is no longer configured and has none behind it goes.
void Pipeline::drop_decoders(Ticket done_through) {
  for (auto at = inputs_.begin(); at != inputs_.end();) {
    auto& decoders = at->second.decoders;
    while (!decoders.empty() && decoders.front().through <= done_through) decoders.pop_front();
    at = decoders.empty() ? inputs_.erase(at) : std::next(at);
  }
}

const Pipeline::Decoder* Pipeline::Input::decoder_of(Ticket ticket) const {
  for (const Decoder& decoder : decoders) {
    if (ticket <= decoder.through) return &decoder;
  }
  return nullptr;
}

// ---- start
// ----------------------------------------------------------------------------------------------------------

// After a power cut nobody can know how many readings were accepted and not yet committed; that it happened,
// and between which commit and which start, is itself an event.
void Pipeline::report_unclean_start() {
  const StartReport report = log_.start_report();
  const auto position = log_.inbox_position();
  if (report.fresh || report.clean || !position || position->inbox == inbox_.id()) return;
  Record event;
  event.kind = Kind::event;
  event.metric = "power_cut";
  event.value = text("last commit ", report.last_commit.us ? format_time(report.last_commit) : "unknown",
                     ", start ", format_time(loop_.wall()),
                     "; what was accepted in between and not committed is lost, count unknown");
  LOG_WARN("the inbox did not survive: ", std::get<std::string>(event.value));
  WriteSet set;
  set.records.emplace_back(Lane::alarm, stamped(std::move(event)));
  log_.commit(std::move(set), {});
}

// With the time, and whether it can be believed.
Record Pipeline::stamped(Record record) const {
  record.time = loop_.wall();
  record.trust = TimeTrust::gateway;
  if (!options_.windows.clock_vouched()) stamp_unsynced(record, options_.boot_id, loop_.now());
  return record;
}

void Pipeline::start(std::function<void()> ready) {
  report_unclean_start();
  drop_old_memories();
  inbox_.on_wake([this] { loop_.post([this] { look(); }); });
  windows_.start([this, ready = std::move(ready)] {
    running_ = true;
    look();
    ready();
  });
}

// ---- the daily work
// -------------------------------------------------------------------------------------------------

void Pipeline::look() {
  if (!running_ || looking_) return;
  looking_ = true;
  WriteSet set;
  const bool took = log_.accepting() && take_some(set);
  const bool waiters = inbox_.has_waiters();
  if (took || (waiters && taken_through_ > released_seen_)) {
    // Room in the inbox comes with the commit: a fast input must not be paused for want of one.
    set.urgent = waiters || inbox_.fill() > 0.5;
    if (waiters) released_seen_ = taken_through_;
    fit_states(set);
    log_.commit(std::move(set), {});
  }
  looking_ = false;
  check_pressure();
  if (took) return look_again_soon();
  look_timer_.reset();
  // When the log has no room its `room` listener brings us back: then there is nothing to be woken for.
  if (log_.accepting() && !inbox_.sleep()) return look_again_soon();
  if (drained_ && inbox_.empty()) {
    windows_.snapshot();
    loop_.post(std::exchange(drained_, nullptr));
  }
}

// While anything comes the loop looks every few milliseconds: waking it for each arrival would cost more than
// decoding.
void Pipeline::look_again_soon() {
  look_timer_ = loop_.after(options_.look_interval, [this] { look(); });
}

bool Pipeline::take_some(WriteSet& set) {
  Arrival arrival;
  Ticket ticket = 0;
  bool crashed = false;
  int taken = 0;
  std::size_t bytes = 0;
  while (taken < arrivals_per_look && bytes < (256 << 10) && set.records.size() < records_per_look &&
         inbox_.take(arrival, ticket, crashed)) {
    ++taken;
    bytes += arrival.bytes.size();
    inbox_.begin_work();
    decode(arrival, ticket, crashed, set);
    inbox_.end_work();
    taken_through_ = ticket;
  }
  save_memories(false, set);
  drop_decoders(inbox_.empty() ? inbox_.end() : taken_through_);
  if (taken == 0) return false;
  set.inbox_position = InboxPosition{inbox_.id(), taken_through_};
  return true;
}

void Pipeline::bury_unknown(const Arrival& arrival, WriteSet& set) {
  taken_.add();
  undecodable_.add();
  if (told_unknown_.size() < unknown_inputs_told && !told_unknown_.contains(arrival.input)) {
    told_unknown_.emplace(arrival.input);
    LOG_WARN("input ", shown(arrival.input),
             ": no longer configured; what the inbox still holds of it goes to the dead lane");
  }
  letters_.bury(arrival, "the input is no longer configured", {}, set);
}

void Pipeline::decode(Arrival arrival, Ticket ticket, bool crashed, WriteSet& set) {
  const auto found = inputs_.find(arrival.input);
  const Decoder* decoder = found == inputs_.end() ? nullptr : found->second.decoder_of(ticket);
  if (!decoder) return bury_unknown(arrival, set);
  Input& input = found->second;
  const auto bury_it = [&](const std::string& reason) {
    taken_.add();
    undecodable_.add();
    letters_.bury(arrival, reason, std::move(unread_.missing), set);
  };
  unread_.clear();
  input.payloads->add();
  // The log dates what it commits by how its clock stands then: what came before that was set keeps its own.
  const std::int64_t offset_us = arrival.received.us - arrival.received_monotonic.ns / 1000;
  const bool own_date = !arrival.clock_trusted &&
                        std::abs(offset_us - (loop_.wall().us - loop_.now().ns / 1000)) >= clock_step_us;
  arrival.received = input.stamps.next(arrival.received, arrival.received_monotonic);
  if (crashed) {
    LOG_ERROR("input ", arrival.input, ": a payload on ", shown(arrival.channel),
              " was in work when the process died, twice; it goes to the dead lane");
    input.undecodable->add();
    return bury_it("crashed");
  }
  if (arrival.whole_bytes >
      0) {  // half a payload must not become a reading: "12" of "123456" is a number too
    input.undecodable->add();
    return bury_it(text("too large: ", arrival.whole_bytes, " bytes, above ", arrival.limit, "; its first ",
                        arrival.bytes.size(), " are kept"));
  }
  if (arrival.retained && decoder->retained_once && seen_retained(input, arrival, set)) {
    taken_.add();
    duplicate_.add();
    return;
  }
  decoded_.clear();
  const Status status = decoder->decode(arrival, decoded_, unread_);
  count(input, arrival);
  if (options_.witness) options_.witness(arrival, decoded_, status, unread_);
  if (input.memory) {
    input.memory->offered = ticket == UINT64_MAX;
    take_beside(found->first, input, own_date ? &arrival : nullptr, set);
  }
  if (!status.ok() || unread_.any()) {
    const std::string reason = status.ok() ? unread_.reason() : status.detail();
    LOG_WARN("input ", arrival.input, ": payload on ", shown(arrival.channel), ": ",
             shown(reason, DeadLetters::reason_max),
             status.ok()
                 ? text("; what else is in it (", decoded_.size(), ") has entered; kept in the dead lane")
                 : "; kept in the dead lane");
    if (!status.ok()) unread_.missing.clear();  // none of it entered
    input.undecodable->add();
    bury_it(reason);
    if (!status.ok()) return;
  } else if (decoded_.empty()) {
    taken_.add();
    filtered_.add();
  }
  input.records->add(decoded_.size());
  if (!unread_.ruled.empty()) weigh(input, arrival);
  if (own_date) keep_boot(boot_of(arrival), decoded_);
  admit(decoded_, set);
  worth_.clear();
}

Detail Pipeline::boot_of(const Arrival& arrival) const {
  Detail detail;
  detail.boot_id = options_.boot_id;
  detail.monotonic_us = arrival.received_monotonic.ns / 1000;
  return detail;
}

// What the input's formats gave beside readings. `undated`: the payload, where it came before the clock was
// set.
void Pipeline::take_beside(const std::string& name, Input& input, const Arrival* undated, WriteSet& set) {
  Beside& beside = input.memory->remembered().beside;
  if (!beside.any()) return;
  if (undated) keep_boot(boot_of(*undated), beside.events);
  for (Record& event : beside.events) set.records.emplace_back(Lane::alarm, std::move(event));
  beside.events.clear();
  input.memory->take_beside(loop_.now(), [this, &name, &input](Saying reply) {
    loop_.post([this, name, memory = std::weak_ptr(input.memory), reply = std::move(reply)] {
      const auto voice = voices_.find(name);
      const bool said = voice != voices_.end() && voice->second.second(reply);
      if (const auto here = memory.lock()) here->sent(said);
    });
  });
}

void Pipeline::save_memories(bool offered, WriteSet& set) {
  for (const auto& [name, input] : inputs_) {
    if (input.memory && input.memory->offered == offered && input.memory->changed()) input.memory->save(set);
  }
}

// A set whose states do not fit is refused whole, and what is committed after it would acknowledge its
// records all the same.
void Pipeline::fit_states(WriteSet& set) {
  if (set.states.empty()) return;
  const auto gone = make_fit(set.states, [this](const auto& states) { return log_.fits(states).ok(); });
  if (gone.empty()) return;
  metrics_
      .counter(
          "millrace_left_out_states_total",
          "What is remembered of inputs and found no room in the log's state beside the readings it came with")
      .add(gone.size());
  if (std::exchange(states_told_, true)) return;
  LOG_WARN(
      "what is remembered of inputs finds no room in the log's state (a quarter of log.max_size): after a restart ",
      gone.front(), gone.size() > 1 ? text(" and ", gone.size() - 1, " more are") : " is",
      " not known as of now (said once)");
}

// Of inputs that are no longer configured, or whose formats remember nothing any more.
void Pipeline::drop_old_memories() {
  WriteSet set;
  for (std::string& name : log_.states(InputMemory::prefix)) {
    const auto found = inputs_.find(InputMemory::input_of(name));
    if (found == inputs_.end() || !found->second.memory) set.states.push_back({std::move(name), {}});
  }
  if (!set.states.empty()) log_.commit(std::move(set), {});
}

void Pipeline::count(Input& input, const Arrival& arrival) {
  if (unread_.no_value > 0) input.no_value->add(unread_.no_value);
  if (unread_.ignored) input.ignored->add();
  if (!unread_.latin1) return;
  input.latin1->add();
  if (!std::exchange(input.latin1_told, true)) {
    LOG_WARN("input ", arrival.input, ": text on ", shown(arrival.channel),
             " is no UTF-8; it is read as ISO 8859-1 (said once; millrace_input_latin1_total counts)");
  }
}

void Pipeline::admit(std::vector<Record>& records, WriteSet& set) {
  taken_.add(records.size());
  windows_.lead(set);
  for (Record& record : records) {
    const Worth worth =
        worth_.empty() ? Worth::forward : worth_[static_cast<std::size_t>(&record - records.data())];
    if (worth == Worth::duplicate) {
      duplicate_.add();
      continue;
    }
    if (options_.forward_raw && worth == Worth::forward)
      set.records.emplace_back(Lane::raw, std::move(record));
    else if (windows_.engine().wants(record.metric)) set.records.emplace_back(Lane::held, std::move(record));
    else {
      filtered_.add();
      continue;
    }
    admitted_.add();
  }
}

// What of the payload's records is worth forwarding, where their routes ask for it.
void Pipeline::weigh(Input& input, const Arrival& arrival) {
  for (const RuledReadings& some : unread_.ruled) {
    if (!some.rules->report.any()) continue;
    worth_.resize(decoded_.size(), Worth::forward);
    for (std::size_t i = some.from; i < some.to && i < decoded_.size(); ++i) {
      worth_[i] = reports_.judge(arrival.input, some.rules->report, decoded_[i]);
      if (worth_[i] == Worth::hold) input.suppressed->add();
    }
  }
}

void Pipeline::show_reports() {
  metrics_
      .gauge("millrace_report_state_bytes",
             "Memory of report by exception: the last forwarded reading of each device and metric")
      .set(static_cast<double>(reports_.bytes()));
  metrics_
      .gauge(
          "millrace_report_state_max_bytes",
          "What it may take (gateway.report_state_max); beyond it the oldest are forgotten, and their next readings forwarded")
      .set(static_cast<double>(reports_.bytes_max()));
  metrics_
      .gauge("millrace_report_forgotten", "Devices' metrics that were forgotten for that, since the start")
      .set(static_cast<double>(reports_.forgotten()));
}

Status Pipeline::decode_again(const Record& letter, WriteSet& set) {
  const Detail& detail = *letter.detail;
  const auto& dead = std::get<DeadDetail>(detail.body);
  const auto found = inputs_.find(dead.consumer);
  const Decoder* decoder = found == inputs_.end() ? nullptr : found->second.decoder_of(UINT64_MAX);
  if (!decoder)
    return {Code::invalid, text("the input \"", shown(dead.consumer), "\" is not in the configuration")};
  if (dead.whole_size > 0)
    return {Code::invalid,
            text("only the first ", dead.payload.size(), " of its ", dead.whole_size, " bytes were kept")};
  const OpenedLetter opened(letter);
  const Arrival& arrival = opened.arrival();
  std::vector<Record> records;
  Unread unread;
  const Status status = decoder->decode(arrival, records, unread);
  if (found->second.memory) found->second.memory->remembered().beside = {};  // what it said, it said then
  if (!status.ok()) return status;
  if (detail.boot_id != 0) keep_boot(detail, records);
  admit(records, set);
  if (unread.any()) letters_.put(arrival, unread.reason(), std::move(unread.missing), detail.boot_id, set);
  return {};
}

// What arrived before the clock was set is dated by its own boot, which need not be the one that writes it
// now.
void Pipeline::keep_boot(const Detail& of, std::vector<Record>& records) {
  auto detail = std::make_shared<Detail>();
  detail->boot_id = of.boot_id;
  detail->monotonic_us = of.monotonic_us;
  for (Record& record : records) {
    if (record.trust == TimeTrust::unsynced && !record.detail) record.detail = detail;
  }
}

// A broker sends retained messages again at every subscription: each value is taken once.
bool Pipeline::seen_retained(Input& input, const Arrival& arrival, WriteSet& set) {
  const std::uint64_t topic = digest64(bytes_of(arrival.channel));
  const std::uint64_t value = digest64(arrival.bytes);
  const auto known = input.retained.find(topic);
  if (known != input.retained.end() && known->second == value) {
    input.retained_dropped->add();
    return true;
  }
  if (known == input.retained.end() && input.retained.size() >= retained_topics_max)
    input.retained.erase(input.retained.begin());
  input.retained[topic] = value;
  Bytes saved;
  wire::Writer writer(saved);
  for (const auto& [t, v] : input.retained) {
    writer.put_fixed64(t);
    writer.put_fixed64(v);
  }
  std::erase_if(set.states, [&](const WriteSet::State& s) {
    return s.name == retained_state(std::string(arrival.input));
  });
  set.states.push_back({retained_state(std::string(arrival.input)), std::move(saved)});
  return false;
}

// Inputs pause when the log is about to be full, or cannot be written. Resuming waits until the inbox is half
// empty too, so that inputs do not flap; it is said again and again, because an input may also have paused by
// itself for a full inbox.
void Pipeline::check_pressure() {
  const LogStats stats = log_.stats();
  if (stats.blocked || !stats.trouble.empty()) {
    if (!pressed_ && pressure_changed_) pressure_changed_(true);
    pressed_ = true;
  } else if (inbox_.fill() < 0.5) {
    pressed_ = false;
    if (pressure_changed_) pressure_changed_(false);
  }
}

// ---- the intake
// -----------------------------------------------------------------------------------------------------

Handle Pipeline::attach(Peer peer) {
  const std::uint64_t id = next_id_++;
  peers_.emplace(id, std::make_shared<const Peer>(std::move(peer)));
  return Handle{[this, id] { peers_.erase(id); }};
}

bool Pipeline::offer(const Arrival& arrival) {
  if (pressed_ || !log_.accepting()) {
    busy_ = true;
    return false;
  }
  decode(arrival, UINT64_MAX, false, offered_);
  return true;
}

void Pipeline::note_duplicate(std::string_view input) {
  taken_.add();
  duplicate_.add();
  if (const auto found = inputs_.find(input); found != inputs_.end()) found->second.payloads->add();
}

void Pipeline::report(Record event) {
  tame(event);
  offered_.records.emplace_back(Lane::alarm, std::move(event));
}

// A state that does not fit is left out (the log says so and counts it): it must not take the readings beside
// it along.
Status Pipeline::put_state(std::string name, Bytes bytes) {
  offered_.states.push_back({std::move(name), std::move(bytes)});
  Status status = log_.fits(offered_.states);
  if (status.ok()) return status;
  WriteSet alone;
  alone.states.push_back(std::move(offered_.states.back()));
  offered_.states.pop_back();
  log_.commit(std::move(alone), {});
  return status;
}

Ticket Pipeline::commit(std::optional<Duration> within) {
  const Ticket ticket = ++ticket_;
  save_memories(true, offered_);
  fit_states(offered_);
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

// A peer may go while it is told, and take others with it.
void Pipeline::tell_peers(bool durable) {
  const auto peers = peers_;
  for (const auto& [id, peer] : peers) {
    if (!peers_.contains(id)) continue;
    if (durable) peer->durable(durable_through_);
    else peer->room();
  }
}

// What is offered and waits for commit() counts already: a session saved by a driver that goes is there for
// its successor.
std::optional<Bytes> Pipeline::state(std::string_view name) const {
  const auto offered = std::find_if(offered_.states.rbegin(), offered_.states.rend(),
                                    [&](const WriteSet::State& s) { return s.name == name; });
  if (offered == offered_.states.rend()) return log_.state(name);
  return offered->bytes.empty() ? std::nullopt : std::optional(offered->bytes);
}

std::vector<std::string> Pipeline::states(std::string_view prefix) const {
  std::set<std::string> names;
  for (std::string& name : log_.states(prefix)) names.insert(std::move(name));
  for (const WriteSet::State& state : offered_.states) {
    if (!state.name.starts_with(prefix)) continue;
    if (state.bytes.empty()) names.erase(state.name);
    else names.insert(state.name);
  }
  return {names.begin(), names.end()};
}

void Pipeline::drain(std::function<void()> done) {
  drained_ = std::move(done);
  if (!running_ || !log_.accepting()) {
    // The log takes nothing: what the inbox holds stays there and is found at the next start.
    loop_.post(std::exchange(drained_, nullptr));
    return;
  }
  look();
}

}  // namespace millrace
