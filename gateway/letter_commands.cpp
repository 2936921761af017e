#include "letter_commands.h"

#include <algorithm>

#include "base/text.h"
#include "clock_notes.h"
#include "record/redate.h"
#include "record/record_proto.h"
#include "record/record_text.h"

namespace millrace {
namespace {

constexpr std::size_t whole_letters_max = 8;
constexpr std::size_t letter_bytes_max = 4 << 20;  // of payloads, about: unpacked they are held
constexpr std::size_t retried_at_once = 64;        // payloads that are decoded again and share a commit

void write_letter(JsonWriter& json, Sequence number, const Record& record, std::size_t payload_max) {
  const auto& dead = std::get<DeadDetail>(record.detail->body);
  json.begin_object()
      .member("number", number)
      .member("time", format_time(record.time))
      .member("from", dead.consumer);
  if (dead.source != DeadDetail::Source::unknown || dead.number != 0)
    json.member("source", dead.from_uplink() ? "uplink" : "input");
  json.member("reason", dead.reason)
      .member("channel", dead.channel)
      .member("size", static_cast<std::uint64_t>(dead.payload.size()));
  if (dead.whole_size > 0) json.member("whole_size", dead.whole_size);
  if (!dead.missing.empty()) json.member("partly", true);  // the rest of it has entered
  json.member("payload", printable(dead.payload, payload_max)).end_object();
}

}  // namespace

void LetterCommands::find(Range range, Log::Direction direction, std::size_t max, Found found,
                          std::vector<Sequence> unreadable) {
  if (range.first > range.last) return found(Letters{});
  log_.read(Lane::dead, range, direction, 256 << 10,
            [this, range, direction, max, times = boot_times_of(log_), found = std::move(found),
             unreadable = std::move(unreadable)](const Result<std::vector<Row>>& rows) {
              if (!rows.ok()) return found(rows.status());
              const bool down = direction == Log::Direction::down;
              Letters page;
              page.unreadable = unreadable;
              std::size_t bytes = 0;
              for (const Row& row : rows.value()) {
                page.next = down ? row.first - 1 : row.last() + 1;
                std::vector<Record> records;
                if (!decode_redated(*row.columns, row.zstd, times, records).ok()) {
                  page.unreadable.push_back(row.last());
                  continue;
                }
                for (std::size_t k = 0; k < records.size(); ++k) {
                  const std::size_t i = down ? records.size() - 1 - k : k;
                  const Sequence number = row.first + i;
                  if (number < range.first || number > range.last || log_.is_struck(number)) continue;
                  if (!records[i].detail || !std::holds_alternative<DeadDetail>(records[i].detail->body))
                    continue;
                  if (page.letters.size() == max || bytes >= letter_bytes_max) {
                    page.next = number;
                    return found(std::move(page));
                  }
                  bytes += std::get<DeadDetail>(records[i].detail->body).payload.size();
                  page.letters.emplace_back(number, std::move(records[i]));
                }
              }
              const Range rest = down ? Range{range.first, page.next} : Range{page.next, range.last};
              if (rows.value().empty() || page.next < range.first || page.next > range.last) page.next = 0;
              if (page.letters.empty() && page.next != 0)
                return find(rest, direction, max, found, std::move(page.unreadable));
              found(std::move(page));
            });
}

// A page: {"next": the number to go on with as `from`, 0 at the end, "lines": a JSON object a letter, the
// newest first}.
void LetterCommands::ls(const ControlRequest& request, ControlServer::Reply reply) {
  const std::size_t max = std::min<std::size_t>(page_max, control_number(request, "max", 20));
  const Sequence from = control_number(request, "from", UINT64_MAX);
  find({1, from}, Log::Direction::down, max, [reply](const Result<Letters>& page) {
    if (!page.ok()) return reply(control_error(page.status().detail()));
    std::string lines;
    for (const auto& [number, record] : page.value().letters) {
      JsonWriter json;
      write_letter(json, number, record, 256);
      lines += json.text();
      lines += '\n';
    }
    JsonWriter json;
    json.begin_object().member("next", page.value().next).member("lines", lines).end_object();
    reply(json.take());
  });
}

void LetterCommands::show(const ControlRequest& request, ControlServer::Reply reply) {
  const Sequence number = control_number(request, "number", 0);
  find({number, number}, Log::Direction::down, 1, [reply](const Result<Letters>& page) {
    if (!page.ok()) return reply(control_error(page.status().detail()));
    if (page.value().letters.empty()) return reply(control_error("there is no dead letter of this number"));
    const auto& [number_of_letter, record] = page.value().letters[0];
    JsonWriter json;
    write_letter(json, number_of_letter, record, 1 << 20);
    reply(json.take());
  });
}

std::string letters_in_hex(const std::vector<std::pair<Sequence, Record>>& letters) {
  std::string lines;
  for (const auto& [number, letter] : letters)
    lines += text(number, " ", to_hex(encode_record(letter)), "\n");
  return lines;
}

// {"next": ..., "letters": "NUMBER HEX" a line}; the newest first.
void LetterCommands::whole(const ControlRequest& request, ControlServer::Reply reply) {
  const std::size_t max =
      std::min<std::size_t>(whole_letters_max, control_number(request, "max", whole_letters_max));
  find({1, control_number(request, "from", UINT64_MAX)}, Log::Direction::down, max,
       [reply](const Result<Letters>& page) {
         if (!page.ok()) return reply(control_error(page.status().detail()));
         std::string lines;
         Sequence next = page.value().next;
         for (const auto& [number, letter] : page.value().letters) {
           if (lines.size() >= ControlServer::answer_bytes_max) {
             next = number;
             break;
           }
           lines += letters_in_hex({{number, letter}});
         }
         JsonWriter json;
         json.begin_object().member("next", next).member("letters", lines).end_object();
         reply(json.take());
       });
}

// The oldest first; what dies again meanwhile lies behind `range` and is left alone. Records go to their
// uplink one after the other; payloads are decoded some at a time, so that they and what is struck share a
// commit.
struct LetterCommands::Retrying {
  ControlServer::Reply reply;
  Range range;
  std::vector<std::pair<Sequence, Record>> left;  // of this page, the last comes first
  std::vector<Sequence> unreadable;
  Sequence struck_from = 0;  // behind the letter before this one; 0: not known, it is the first
  std::size_t flying = 0;
  bool sending = false;  // what flies is on its way to an uplink
  bool walking = false;
  std::uint64_t done = 0, failed = 0;
  std::string reason;

  bool may_start() const {
    if (left.empty() || flying == 0) return !left.empty();
    const auto& letter = std::get<DeadDetail>(left.back().second.detail->body);
    return !sending && !letter.from_uplink() && flying < retried_at_once;
  }
  // Numbers are shared by all lanes: with those that lie between, ranges of struck letters touch and stay
  // one.
  Range strike_of(Sequence number) {
    Sequence first = struck_from == 0 ? number : struck_from;
    for (const Sequence last : unreadable) {
      if (last < number) first = std::max(first, last + 1);
    }
    struck_from = number + 1;
    return {first, number};
  }
};

void LetterCommands::retry(const ControlRequest& request, ControlServer::Reply reply) {
  if (!retry_) return reply(control_error("the gateway must run: it is what decodes and delivers"));
  if (!retrying_.expired()) return reply(control_error("a retry is under way; try again when it is over"));
  const Sequence number = control_number(request, "number", 0);
  auto work = std::make_shared<Retrying>();
  retrying_ = work;
  work->reply = std::move(reply);
  work->range = number ? Range{number, number} : Range{1, log_.last_committed()};
  retry_next(work);
}

void LetterCommands::retry_one(const std::shared_ptr<Retrying>& work) {
  const auto [number, letter] = std::move(work->left.back());
  work->left.pop_back();
  const Range strike = work->strike_of(number);
  if (log_.is_struck(number)) return;  // it was dropped meanwhile
  if (!log_.can_strike(strike)) {
    ++work->failed;
    work->reason = StruckLetters::full_words;
    return;
  }
  work->sending = std::get<DeadDetail>(letter.detail->body).from_uplink();
  ++work->flying;
  retry_(strike, letter, [this, work](const Status& status) {
    --work->flying;
    ++(status.ok() ? work->done : work->failed);
    if (!status.ok()) work->reason = status.detail();
    retry_next(work);
  });
}

void LetterCommands::retry_next(const std::shared_ptr<Retrying>& work) {
  if (std::exchange(work->walking, true)) return;  // of a letter that failed at once: the loop below goes on
  while (work->may_start()) retry_one(work);
  work->walking = false;
  if (work->flying > 0) return;
  find(work->range, Log::Direction::up, page_max, [this, work](Result<Letters> page) {
    if (!page.ok()) return work->reply(control_error(page.status().detail()));
    if (!page.value().letters.empty()) {
      const Sequence next = page.value().next;
      work->left = std::move(page.value().letters);
      // Those behind the last letter of the page before lie before the first of this one.
      std::erase_if(work->unreadable, [&](Sequence last) { return last < work->struck_from; });
      const auto& more = page.value().unreadable;
      work->unreadable.insert(work->unreadable.end(), more.begin(), more.end());
      work->range.first = next != 0 ? next : work->range.last + 1;
      std::reverse(work->left.begin(), work->left.end());
      return retry_next(work);
    }
    if (work->done + work->failed == 0) {
      return work->reply(control_error(work->range.first == work->range.last
                                           ? "there is no dead letter of this number"
                                           : "there are no dead letters"));
    }
    JsonWriter json;
    json.begin_object().member("retried", work->done).member("still_dead", work->failed);
    if (work->failed > 0) json.member("reason", work->reason);
    json.end_object();
    work->reply(json.take());
  });
}

void LetterCommands::drop(const ControlRequest& request, ControlServer::Reply reply) {
  const Sequence number = control_number(request, "number", 0);
  if (number == 0 && control_word(request, "all") != "true")
    return reply(control_error("which one? (a number, or --all)"));
  find(number ? Range{number, number} : Range{1, UINT64_MAX}, Log::Direction::down, 1,
       [this, number, reply](const Result<Letters>& page) {
         if (!page.ok()) return reply(control_error(page.status().detail()));
         if (page.value().letters.empty())
           return reply(control_error(number ? "there is no dead letter of this number"
                                             : "there are no dead letters"));
         const Range dropped = number ? Range{number, number} : Range{1, log_.last_committed()};
         if (!log_.can_strike(dropped)) return reply(control_error(StruckLetters::full_words));
         log_.commit({.struck = {dropped}, .urgent = true},
                     [reply](const Status& status) { reply(control_reply(status)); });
       });
}

}  // namespace millrace
