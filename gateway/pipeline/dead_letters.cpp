#include "pipeline/dead_letters.h"

#include <algorithm>

#include "base/utf8.h"
#include "record/fit_letter.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::size_t samples_max = 64;  // of one minute: reasons tell of values, and may all be different
constexpr Duration sample_each = std::chrono::minutes(1);
constexpr const char* dropped_state = "dead_full";  // how many were not kept, and not told yet

}  // namespace

DeadLetters::DeadLetters(Loop& loop, Log& log, Metrics& metrics, Options options)
    : loop_(loop),
      log_(log),
      options_(std::move(options)),
      kept_(metrics.counter("millrace_dead_letters_total", "Payloads and records kept in the dead lane")),
      full_(metrics.counter("millrace_dead_full_total",
                            "Undecodable payloads not kept because the dead lane is full")) {
  if (const auto noted = log_.state(dropped_state)) dropped_ = wire::Reader(*noted).get_varint();
  if (dropped_ > 0) tell_dropped_in({});
}

bool DeadLetters::has_room_for(const Arrival& arrival, const std::string& reason) {
  const LogStats stats = log_.stats();
  if (stats.dead_bytes <= stats.bytes_max / dead_share) return true;
  const std::uint64_t kind = digest64(bytes_of(reason), digest64(bytes_of(arrival.input)));
  const Instant now = loop_.now();
  std::erase_if(sampled_, [now](const auto& sample) { return now - sample.second >= sample_each; });
  return sampled_.size() < samples_max && sampled_.emplace(kind, now).second;
}

bool DeadLetters::bury(const Arrival& arrival, const std::string& reason, ValueRuns missing, WriteSet& set) {
  if (!has_room_for(arrival, reason)) {
    drop(set);
    return false;
  }
  put(arrival, reason, std::move(missing), options_.boot_id, set);
  return true;
}

// Who sent it takes it for accepted: how many there were is known after a kill, too.
void DeadLetters::drop(WriteSet& set) {
  full_.add();
  ++dropped_;
  note_dropped(set);
  if (!tell_timer_)
    tell_dropped_in(told_at_ ? std::max(Duration{0}, *told_at_ + sample_each - loop_.now()) : Duration{0});
}

void DeadLetters::tell_dropped_in(Duration delay) {
  tell_timer_ = loop_.after(delay, [this] { tell_dropped(); });
}

void DeadLetters::tell_dropped() {
  tell_timer_.reset();
  if (dropped_ == 0) return;
  Record loss =
      loss_record(Lane::dead, {"", "dead_full", std::exchange(dropped_, 0), 0, 0, {}, 0}, loop_.wall());
  if (!options_.clock_vouched()) stamp_unsynced(loss, options_.boot_id, loop_.now());
  told_at_ = loop_.now();
  WriteSet set;
  set.records.emplace_back(Lane::alarm, std::move(loss));
  note_dropped(set);
  log_.commit(std::move(set), {});
}

void DeadLetters::note_dropped(WriteSet& set) const {
  Bytes count;
  if (dropped_ > 0) wire::Writer(count).put_varint(dropped_);
  const auto noted = std::ranges::find(set.states, dropped_state, &WriteSet::State::name);
  if (noted != set.states.end()) noted->bytes = std::move(count);
  else set.states.push_back({dropped_state, std::move(count), WriteSet::State::NoRoom::left_out});
}

Record DeadLetters::letter_of(const Arrival& arrival, const std::string& reason, ValueRuns missing,
                              std::uint64_t boot_id) {
  auto detail = std::make_shared<Detail>();
  DeadDetail dead;
  dead.source = DeadDetail::Source::input;
  dead.consumer = arrival.input;
  dead.reason = shown(reason, reason_max);
  dead.channel = arrival.channel;
  dead.whole_size = arrival.whole_bytes;
  dead.missing = std::move(missing);
  dead.payload.assign(arrival.bytes.begin(), arrival.bytes.end());
  if (arrival.publisher) {
    const Publisher& by = *arrival.publisher;
    dead.publisher = {std::string(by.client_id),
                      std::string(by.username),
                      std::string(by.subject),
                      std::string(by.content_type),
                      {}};
    for (const auto& [name, value] : by.properties) dead.publisher.properties.emplace_back(name, value);
  }
  detail->body = std::move(dead);
  if (!arrival.clock_trusted && !arrival.other_boot) {
    detail->boot_id = boot_id;
    detail->monotonic_us = arrival.received_monotonic.ns / 1000;
  }
  Record record;
  record.kind = Kind::dead;
  record.time = arrival.received;
  record.trust = arrival.clock_trusted ? TimeTrust::gateway : TimeTrust::unsynced;
  record.detail = std::move(detail);
  return record;
}

void DeadLetters::put(const Arrival& arrival, const std::string& reason, ValueRuns missing,
                      std::uint64_t boot_id, WriteSet& set) {
  Record letter = letter_of(arrival, reason, std::move(missing), boot_id);
  make_fit(letter, log_.stats().row_bytes_max);
  set.records.emplace_back(Lane::dead, std::move(letter));
  kept_.add();
}

OpenedLetter::OpenedLetter(const Record& letter) {
  const Detail& detail = *letter.detail;
  const auto& dead = std::get<DeadDetail>(detail.body);
  const DeadPublisher& by = dead.publisher;
  properties_.assign(by.properties.begin(), by.properties.end());
  publisher_ = {by.client_id, by.username, by.subject, by.content_type, properties_};
  missing_ = dead.missing;
  tidy_runs(missing_);
  arrival_.input = dead.consumer;
  arrival_.channel = dead.channel;
  arrival_.bytes = dead.payload;
  arrival_.publisher = &publisher_;
  arrival_.clock_trusted = letter.trust != TimeTrust::unsynced;
  arrival_.received = letter.time;
  arrival_.received_monotonic = {detail.monotonic_us * 1000};
  arrival_.only = missing_;
  arrival_.again = true;
}

}  // namespace millrace
