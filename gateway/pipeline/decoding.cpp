#include "pipeline/decoding.h"

#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "record/fit_letter.h"

namespace millrace {
namespace {

constexpr std::int64_t clock_step_us = 1'000'000;

// What arrived before the clock was set is dated by its own boot, which need not be the one that writes it
// now.
void keep_boot(const Detail& of, std::vector<Record>& records) {
  auto detail = std::make_shared<Detail>();
  detail->boot_id = of.boot_id;
  detail->monotonic_us = of.monotonic_us;
  for (Record& record : records) {
    if (record.trust == TimeTrust::unsynced && !record.detail) record.detail = detail;
  }
}

// What a serial line's frame has not is not named.
std::string on(const Arrival& arrival) {
  return arrival.channel.empty() ? "" : text(" on ", shown(arrival.channel));
}

}  // namespace

Decoding::Decoding(Loop& loop, Log& log, Metrics& metrics, KnownInputs& inputs, WindowConsumer& windows,
                   Options options)
    : loop_(loop),
      inputs_(inputs),
      windows_(windows),
      options_(std::move(options)),
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
      report_bytes_(metrics.gauge(
          "millrace_report_state_bytes",
          "Memory of report by exception: the last forwarded reading of each device and metric")),
      report_bytes_max_(metrics.gauge(
          "millrace_report_state_max_bytes",
          "What it may take (gateway.report_state_max); beyond it the oldest are forgotten, and their next readings forwarded")),
      report_forgotten_(metrics.gauge("millrace_report_forgotten",
                                      "Devices' metrics that were forgotten for that, since the start")),
      letters_(loop, log, metrics, {options_.boot_id, options_.clock_vouched}) {}

void Decoding::count_duplicates(std::uint64_t payloads) {
  taken_.add(payloads);
  duplicate_.add(payloads);
}

void Decoding::bury_unknown(const Arrival& arrival, WriteSet& set) {
  taken_.add();
  undecodable_.add();
  if (inputs_.tell_unknown(arrival.input)) {
    LOG_WARN("input ", shown(arrival.input),
             ": no longer configured; what the inbox still holds of it goes to the dead lane");
  }
  letters_.bury(arrival, "the input is no longer configured", {}, set);
}

// Of the payload at hand, whose `unread_` says what did not enter; what became of it, in words.
const char* Decoding::bury(KnownInput& input, const Arrival& arrival, const std::string& reason,
                           WriteSet& set) {
  taken_.add();
  undecodable_.add();
  input.undecodable->add();
  return letters_.bury(arrival, reason, std::move(unread_.missing), set) ? "kept in the dead lane"
                                                                         : "not kept: the dead lane is full";
}

// A retained message is taken once for each value: true, this one was.
bool Decoding::was_taken(KnownInput& input, const Arrival& arrival) {
  if (!arrival.retained) {
    input.retained.note(arrival);
    return false;
  }
  const bool known = input.retained.seen(arrival);
  if (input.retained.take_forgotten()) tell_retained(input);
  if (known) input.retained_dropped->add();
  return known;
}

void Decoding::decode(Arrival arrival, Ticket ticket, bool crashed, WriteSet& set) {
  KnownInput* const known = inputs_.find(arrival.input);
  const InputDecoder* decoder = known ? known->decoder_of(ticket) : nullptr;
  if (!decoder) return bury_unknown(arrival, set);
  KnownInput& input = *known;
  unread_.clear();
  input.payloads->add();
  date(arrival, options_.boot_id);
  const bool own_date = !arrival.clock_trusted && is_dated_otherwise(arrival, set);
  arrival.received = input.stamps.next(arrival.received, arrival.received_monotonic);
  if (crashed) {
    const char* const kept = bury(input, arrival, "crashed", set);
    LOG_ERROR("input ", arrival.input, ": a payload", on(arrival),
              " was in work when the process died, twice; ", kept);
    return;
  }
  // Half a payload must not become a reading: "12" of "123456" is a number, too.
  if (arrival.whole_bytes > 0) {
    bury(input, arrival,
         text("too large: ", arrival.whole_bytes, " bytes, above ", arrival.limit, "; its first ",
              arrival.bytes.size(), " are kept"),
         set);
    return;
  }
  if (decoder->retained_once && was_taken(input, arrival)) return count_duplicates(1);
  decoded_.clear();
  const Status status = decoder->decode(arrival, decoded_, unread_);
  count(input, arrival);
  if (options_.witness) options_.witness(arrival, decoded_, status, unread_);
  if (input.memory) {
    input.memory->offered = ticket == UINT64_MAX;
    take_beside(input, own_date ? &arrival : nullptr, set);
  }
  if (!status.ok() || unread_.any()) {
    const std::string reason = status.ok() ? unread_.reason() : status.detail();
    if (!status.ok()) unread_.missing.clear();  // none of it entered
    const char* const kept = bury(input, arrival, reason, set);
    LOG_WARN("input ", arrival.input, ": payload", on(arrival), ": ", shown(reason, DeadLetters::reason_max),
             status.ok() ? text("; what else is in it (", decoded_.size(), ") has entered; ") : "; ", kept);
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

// What lay in the inbox, or in the dead lane, while the clock was set: it is known by now when it came.
void Decoding::date(Arrival& arrival, std::uint64_t boot_id) const {
  if (arrival.clock_trusted || arrival.other_boot || !options_.boots) return;
  const auto time = options_.boots->time_of(boot_id, arrival.received_monotonic.ns / 1000);
  if (!time) return;
  arrival.received = *time;
  arrival.clock_trusted = true;
}

// The log dates what it commits by how its clock stands then: what came before that was set keeps its own.
// The clocks are read once for each set, and for what came since.
bool Decoding::is_dated_otherwise(const Arrival& arrival, const WriteSet& set) {
  if (set.records.empty() || arrival.received_monotonic > clocks_read_at_) {
    clocks_read_at_ = loop_.now();
    offset_us_ = loop_.wall().us - clocks_read_at_.ns / 1000;
  }
  const std::int64_t of_arrival_us = arrival.received.us - arrival.received_monotonic.ns / 1000;
  return arrival.other_boot || std::abs(of_arrival_us - offset_us_) >= clock_step_us;
}

Detail Decoding::boot_of(const Arrival& arrival) const {
  Detail detail;
  detail.boot_id = arrival.other_boot ? 0 : options_.boot_id;
  detail.monotonic_us = arrival.received_monotonic.ns / 1000;
  return detail;
}

// What the input's formats gave beside readings. `undated`: the payload, where it came before the clock was
// set.
void Decoding::take_beside(KnownInput& input, const Arrival* undated, WriteSet& set) {
  Beside& beside = input.memory->remembered().beside;
  if (!beside.any()) return;
  if (undated) keep_boot(boot_of(*undated), beside.events);
  for (Record& event : beside.events) set.records.emplace_back(Lane::alarm, std::move(event));
  beside.events.clear();
  input.memory->take_beside(loop_.now(), [this, &input](Saying reply) {
    loop_.post([this, name = input.name, memory = std::weak_ptr(input.memory), reply = std::move(reply)] {
      const bool said = inputs_.say(name, reply);
      if (const auto here = memory.lock()) here->sent(said);
    });
  });
}

void Decoding::count(KnownInput& input, const Arrival& arrival) {
  if (unread_.no_value > 0) input.no_value->add(unread_.no_value);
  if (unread_.ignored) input.ignored->add();
  if (!unread_.latin1) return;
  input.latin1->add();
  if (!std::exchange(input.latin1_told, true)) {
    LOG_WARN("input ", arrival.input, ": text", on(arrival),
             " is no UTF-8; it is read as ISO 8859-1 (said once; millrace_input_latin1_total counts)");
  }
}

void Decoding::tell_retained(KnownInput& input) {
  if (std::exchange(input.retained_told, true)) return;
  LOG_WARN("input ", input.name, ": more than ", RetainedValues::topics_max,
           " topics have retained messages; of some it is forgotten which value came last, and they may be "
           "stored again at the next subscription (said once; millrace_input_retained_topics)");
}

void Decoding::admit(std::vector<Record>& records, WriteSet& set) {
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
void Decoding::weigh(KnownInput& input, const Arrival& arrival) {
  for (const RuledReadings& some : unread_.ruled) {
    if (!some.rules->report.any()) continue;
    worth_.resize(decoded_.size(), Worth::forward);
    for (std::size_t i = some.from; i < some.to && i < decoded_.size(); ++i) {
      worth_[i] = reports_.judge(arrival.input, some.rules->report, decoded_[i]);
      if (worth_[i] == Worth::hold) input.suppressed->add();
    }
  }
}

void Decoding::show_reports() {
  report_bytes_.set(static_cast<double>(reports_.bytes()));
  report_bytes_max_.set(static_cast<double>(reports_.bytes_max()));
  report_forgotten_.set(static_cast<double>(reports_.forgotten()));
}

Status Decoding::decode_again(const Record& letter, WriteSet& set) {
  const Detail& detail = *letter.detail;
  const auto& dead = std::get<DeadDetail>(detail.body);
  KnownInput* const input = inputs_.find(dead.consumer);
  const InputDecoder* decoder = input ? input->decoder_of(UINT64_MAX) : nullptr;
  if (!decoder)
    return {Code::invalid, text("the input \"", shown(dead.consumer), "\" is not in the configuration")};
  if (Status status = whole_letter(dead); !status.ok()) return status;
  const OpenedLetter opened(letter);
  Arrival arrival = opened.arrival();
  date(arrival, detail.boot_id);
  std::vector<Record> records;
  Unread unread;
  const Status status = decoder->decode(arrival, records, unread);
  if (input->memory) input->memory->remembered().beside = {};  // what it said, it said then
  if (!status.ok()) return status;
  if (!arrival.clock_trusted) keep_boot(detail, records);
  admit(records, set);
  if (unread.any()) letters_.put(arrival, unread.reason(), std::move(unread.missing), detail.boot_id, set);
  return {};
}

}  // namespace millrace
