#include "drivers/modbus/asker.h"

#include <algorithm>

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr Duration late_for = 60s;  // an answer that is later is not believed to come
constexpr std::size_t late_max = 8;
constexpr Duration noise_silence = 10ms;  // behind a damaged frame
constexpr Duration exact_for = 1h;        // who refused more than was wanted is not asked for more again
constexpr int backlog = 5;                // timeouts that old answers, one behind the other, may take to come
constexpr int odd_max = 2;         // questions of odd length that went unanswered: it may be mute to them
constexpr int unanswered_max = 3;  // questions for more than was wanted; then it may be mute to them
constexpr std::uint64_t odd_lengths = 8;  // so many there are

bool covers(const Span& asked, const Span& span) {
  return asked.first <= span.first && asked.end() >= span.end() &&
         !(is_bit_table(span.table) && asked.first % 8 != span.first % 8);
}

// The part of an answer to `asked` that is one to `span`, which lies in it.
Reply cut(Reply outcome, const Span& asked, const Span& span) {
  const std::size_t unit = is_bit_table(span.table) ? 8 : 1, bytes = is_bit_table(span.table) ? 1 : 2;
  const auto begin =
      outcome.data.begin() + static_cast<std::ptrdiff_t>((span.first - asked.first) / unit * bytes);
  outcome.data = Bytes(begin, begin + static_cast<std::ptrdiff_t>(data_bytes(span)));
  return outcome;
}

}  // namespace

Asker::Asker(const Clock& clock, Line& line, int retries, std::uint64_t seed,
             std::shared_ptr<const std::atomic<bool>> stopping)
    : clock_(clock), line_(line), retries_(retries), rng_(seed), stopping_(std::move(stopping)) {}

void Asker::opened(Duration quiet) {
  if (line_.numbered()) return;
  for (auto& [number, unit] : units_) {
    unit.heard = false;
    unit.unanswered = 0;
  }
  counts_.drained += line_.drain(quiet, quiet);
}

Reply Asker::ask(const Addressee& whom, const Span& span) {
  Reply outcome;
  for (int tries = 0; tries <= retries_ && !*stopping_; ++tries) {
    outcome = line_.numbered() ? once(whom, span) : ask_safely(whom, span);
    if (outcome.answer != Answer::damaged) break;
    ++counts_.damaged;
    if (!line_.numbered()) counts_.drained += line_.drain(noise_silence, whom.timeout);
    else if (!reopen(outcome)) break;  // the stream is out of step: a fresh one is not
  }
  if (outcome.answer == Answer::gone) line_.close();
  return outcome;
}

Reply Asker::ask_afresh(const Addressee& whom, const Span& span) {
  Reply outcome = ask(whom, span);
  return outcome.answer == Answer::gone && reopen(outcome) ? ask(whom, span) : outcome;
}

bool Asker::reopen(Reply& outcome) {
  line_.close();
  if (Status status = line_.open(); !status.ok()) {
    outcome.answer = Answer::gone;
    outcome.words = status.detail();
    outcome.needs_person = status.code() == Code::invalid;
    return false;
  }
  ++counts_.opens;
  return true;
}

Reply Asker::once(const Addressee& whom, const Span& span) {
  counts_.drained += line_.drain(Duration{0}, noise_silence);
  const Instant asked = clock_.now();
  ++counts_.polls;
  Reply outcome = line_.ask(whom.unit, span, whom.timeout);
  outcome.took = clock_.now() - asked;
  counts_.strays += static_cast<std::uint64_t>(outcome.strays);
  if (line_.numbered()) return outcome;
  Unit& unit = units_[whom.unit];
  if (is_settled(outcome)) {
    // The length of data is none of theirs, and a device answers in order. Whose an exception is cannot be
    // told: what may still come is waited for.
    if (outcome.answer == Answer::exception && !unit.late.empty())
      counts_.drained += line_.drain(whom.timeout, whom.timeout);
    unit.late.clear();
    unit.last_bytes = outcome.data.size();
    unit.last_at = clock_.now();
  } else {
    if (unit.late.size() == late_max) unit.late.erase(unit.late.begin());
    unit.late.push_back({data_bytes(span), asked});
  }
  return outcome;
}

bool Asker::answered_just_now(const Addressee& whom, const Unit& unit) const {
  return unit.last_at.ns != 0 && clock_.now() - unit.last_at < whom.timeout;
}

Span Asker::span_to_ask(const Addressee& whom, const Span& span, Unit& unit) {
  std::vector<std::size_t> lengths;
  for (const Late& one : unit.late) lengths.push_back(one.bytes);
  const bool twice = unit.last_bytes > 0 && answered_just_now(whom, unit);
  if (twice) lengths.push_back(unit.last_bytes);
  if (lengths.empty()) return span;
  const auto other = distinct_span(span, lengths, whom.limits);
  if (unit.late.empty()) {  // one that was given twice is no reason to ask for less than is wanted
    const bool exact = clock_.now() < unit.exact_until;
    return other && covers(*other, span) && !exact ? *other : span;
  }
  const bool mute =
      unit.unanswered >= unanswered_max && clock_.now() - unit.late.back().asked >= backlog * whom.timeout;
  if (other && !mute) return *other;
  counts_.drained += line_.drain(whom.timeout, whom.timeout);  // the last chance of what is late
  unit.late.clear();
  return span;
}

Reply Asker::ask_safely(const Addressee& whom, const Span& span) {
  Unit& unit = units_[whom.unit];
  if (!unit.heard) return meet(whom, span, unit);
  std::erase_if(unit.late, [&](const Late& one) { return clock_.now() - one.asked > late_for; });
  const bool late = !unit.late.empty();
  const bool doubtful = late || (unit.last_bytes == 0 && answered_just_now(whom, unit));
  const Span asked = span_to_ask(whom, span, unit);
  Reply outcome = once(whom, asked);
  if (asked == span) {
    const bool again = outcome.answer == Answer::exception && doubtful && !is_away(outcome);
    return again ? once(whom, span) : outcome;
  }
  unit.unanswered = is_settled(outcome) ? 0 : unit.unanswered + 1;
  if (outcome.answer == Answer::data && covers(asked, span)) return cut(std::move(outcome), asked, span);
  if (is_away(outcome) || (!is_settled(outcome) && (late || outcome.answer != Answer::silent)))
    return outcome;
  // Refused, less than is wanted, or mute to what it does not have: more was our own idea, and costs no poll.
  // Nothing old can come any more.
  if (outcome.answer == Answer::silent) ++counts_.silent;
  const bool wanted_more = covers(asked, span);
  outcome = once(whom, span);
  if (wanted_more && is_settled(outcome)) unit.exact_until = clock_.now() + exact_for;
  return outcome;
}

// By so many registers, of bits by eight times as many, that neither a plan nor distinct_span() comes to it.
std::optional<Span> Asker::odd_span(const Span& span, const PlanLimits& limits, const Unit& unit) {
  const bool bits = is_bit_table(span.table);
  const std::uint32_t most = bits ? limits.bits_max : limits.registers_max;
  // Even: some devices have pairs of registers only.
  const std::uint64_t from = rng_.below(odd_lengths);
  for (std::uint64_t i = 0; i < odd_lengths; ++i) {
    const auto by = static_cast<std::uint32_t>((bits ? 16 : 2) * (5 + (from + i) % odd_lengths));
    std::uint32_t first = span.first, count = span.count + by;
    if (count > most) count = span.count > by ? span.count - by : 0;
    else if (first + count > 65536) first = first >= by ? first - by : 65536;
    const Span odd{span.table, static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(count)};
    const auto is_its = [&](const Late& one) { return one.bytes == data_bytes(odd); };
    if (count > 0 && first < 65536 && !std::ranges::any_of(unit.late, is_its)) return odd;
  }
  return std::nullopt;
}

// Its first answer may be to what was asked before us: in all that follows ours may still come.
Reply Asker::meet(const Addressee& whom, const Span& span, Unit& unit) {
  auto late = unit.late;
  const Reply first = once(whom, span);
  if (!is_settled(first) || is_away(first)) return first;
  late.push_back({data_bytes(span), clock_.now()});
  unit.late = std::move(late);
  const bool shy = unit.unanswered >= odd_max;
  if (const auto odd = shy ? std::nullopt : odd_span(span, whom.limits, unit)) {
    Reply outcome = once(whom, *odd);
    if (!is_settled(outcome) || is_away(outcome)) {
      if (outcome.answer != Answer::gone) ++unit.unanswered;
      return outcome;
    }
    unit.heard = true;
    unit.unanswered = 0;
    const bool more = covers(*odd, span);
    if (outcome.answer == Answer::data && more) return cut(std::move(outcome), *odd, span);
    if (outcome.answer == Answer::exception && more) unit.exact_until = clock_.now() + exact_for;
    return once(whom, span);
  }
  unit.heard = true;
  unit.unanswered = 0;
  // The answer of its own may be late by a timeout.
  counts_.drained += line_.drain((shy ? backlog : 2) * whom.timeout, backlog * whom.timeout);
  unit.late.clear();
  return once(whom, span);
}

}  // namespace millrace
