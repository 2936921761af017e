#include "log_commands.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "clock_notes.h"
#include "decode/timestamps.h"
#include "record/redate.h"
#include "record/record_proto.h"
#include "record/record_text.h"

namespace millrace {
namespace {

constexpr std::size_t page_bytes = 16 << 10;  // of columns: about a megabyte of JSON
// of lines in one answer, about: the client comes back for the rest
constexpr std::size_t answer_bytes_max = 1 << 20;
constexpr std::size_t last_max = 200, dead_page_max = 200, whole_letters_max = 8;
constexpr std::size_t dead_page_bytes = 4 << 20;  // of payloads, about: unpacked they are held
// for one number among those around it: some megabytes
constexpr std::size_t look_pages_max = 32, look_page_bytes = 256 << 10;
constexpr std::size_t retried_at_once = 64;  // payloads that are decoded again and share a commit
// A commit that fails once may succeed on a fresh head.
constexpr Duration stuck_look_every = std::chrono::seconds(1), stuck_after = std::chrono::seconds(3);

std::string word(const ControlRequest& request, const std::string& key, const std::string& otherwise = {}) {
  const auto found = request.find(key);
  return found == request.end() ? otherwise : found->second;
}

Sequence number_of(const ControlRequest& request, const std::string& key, Sequence otherwise) {
  const std::string text = word(request, key);
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}

std::optional<Lane> lane_of(const std::string& name) {
  for (const Lane lane : all_lanes) {
    if (name == lane_name(lane)) return lane;
  }
  return std::nullopt;
}

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

std::string ok_reply() { return R"({"ok":true})"; }

std::string segments_of(const SqliteLog& log) {
  const auto segments = log.segments();
  JsonWriter json;
  json.begin_object().member("folder", log.folder().path()).key("segments").begin_array();
  for (const SegmentInfo& segment : segments) {
    json.begin_object().member("name", segment_name(segment.id)).member("bytes", segment.file_bytes);
    json.member("sealed", &segment != &segments.back());
    for (const Lane lane : all_lanes) {
      const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
      if (span.empty()) continue;
      json.key(lane_name(lane))
          .begin_object()
          .member("first", span.first)
          .member("last", span.last)
          .member("records", span.records)
          .end_object();
    }
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace

std::map<std::string, LogCommands::Command> LogCommands::table() {
  const auto with_request = [this](void (LogCommands::*run)(const ControlRequest&, ControlServer::Reply)) {
    return [this, run](const ControlRequest& request, ControlServer::Reply reply) {
      (this->*run)(request, std::move(reply));
    };
  };
  const auto plain = [this](void (LogCommands::*run)(ControlServer::Reply)) {
    return [this, run](const ControlRequest&, ControlServer::Reply reply) { (this->*run)(std::move(reply)); };
  };
  std::map<std::string, Command> commands{
      {"log.ls", {false, plain(&LogCommands::ls)}},
      {"log.stat", {false, plain(&LogCommands::stat)}},
      {"log.read", {false, with_request(&LogCommands::read)}},
      {"log.last", {false, with_request(&LogCommands::last)}},
      {"log.device", {false, with_request(&LogCommands::device)}},
      {"log.salvage", {true, plain(&LogCommands::check_all)}},
      {"log.seal", {true, plain(&LogCommands::seal)}},
      {"log.seal_leftovers", {true, plain(&LogCommands::seal_leftovers), true}},
      {"log.forget", {true, with_request(&LogCommands::forget), true}},
      {"dlq.ls", {false, with_request(&LogCommands::dead_ls)}},
      {"dlq.show", {false, with_request(&LogCommands::dead_show)}},
      {"dlq.letters", {false, with_request(&LogCommands::dead_letters)}},
      {"dlq.retry", {true, with_request(&LogCommands::dead_retry)}},
      {"dlq.drop", {true, with_request(&LogCommands::dead_drop)}},
  };
  for (auto& [name, command] : commands) {
    if (!command.changes) continue;
    command.run = [this, run = std::move(command.run), of_leftovers = command.of_leftovers](
                      const ControlRequest& request, ControlServer::Reply reply) {
      run(request, unless_stuck(std::move(reply), of_leftovers));
    };
  }
  return commands;
}

// ---- who asks for a change while nothing can be written

struct LogCommands::Asked {
  ControlServer::Reply reply;  // empty once it was answered
  bool of_leftovers = false;
  std::unique_ptr<Timer> look;

  void answer(std::string json) {
    look.reset();
    if (const auto to = std::exchange(reply, nullptr)) to(std::move(json));
  }
};

ControlServer::Reply LogCommands::unless_stuck(ControlServer::Reply reply, bool of_leftovers) {
  const auto asked = std::make_shared<Asked>(Asked{std::move(reply), of_leftovers, nullptr});
  look_whether_stuck(asked, {});
  return [asked](std::string json) { asked->answer(std::move(json)); };
}

void LogCommands::look_whether_stuck(const std::shared_ptr<Asked>& asked, Duration stuck) {
  asked->look = loop_.after(stuck_look_every, [this, weak = std::weak_ptr(asked), stuck] {
    const auto asked = weak.lock();
    if (!asked) return;
    const std::string why = trouble(asked->of_leftovers);
    if (why.empty() || stuck < stuck_after)
      return look_whether_stuck(asked, why.empty() ? Duration{0} : stuck + stuck_look_every);
    asked->answer(control_error(text("the log cannot be written: ", why, "; ask again when that is over")));
  });
}

std::string LogCommands::trouble(bool of_leftovers) const {
  std::string why = log_.stats().trouble;
  if (!of_leftovers || !leftovers_) return why;
  for (const SqliteLog* log : leftovers_()) {
    if (why.empty()) why = log->stats().trouble;
  }
  return why;
}

std::vector<SqliteLog*> LogCommands::leftovers() {
  return leftovers_ ? leftovers_() : std::vector<SqliteLog*>();
}

void LogCommands::ls(ControlServer::Reply reply) { reply(segments_of(log_)); }

void LogCommands::stat(ControlServer::Reply reply) {
  const LogStats stats = log_.stats();
  JsonWriter json;
  json.begin_object()
      .member("folder", log_.folder().path())
      .member("format", log_format)
      .member("epoch", log_.epoch());
  json.member("last_number", log_.last_committed())
      .member("bytes_used", stats.bytes_used)
      .member("bytes_max", stats.bytes_max);
  json.member("segments", stats.segments)
      .member("dead_bytes", stats.dead_bytes)
      .member("files_set_aside", stats.files_set_aside);
  json.member("vanished_records", stats.vanished_records)
      .member("trouble", stats.trouble)
      .key("consumers")
      .begin_array();
  for (const std::string& consumer : log_.consumers()) {
    for (const Lane lane : all_lanes) {
      const LaneLedger ledger = log_.ledger(consumer, lane);
      const auto open = log_.unsettled(consumer, lane);
      if (ledger.admitted == 0 && open.empty()) continue;
      json.begin_object()
          .member("consumer", consumer)
          .member("lane", lane_name(lane))
          .member("admitted", ledger.admitted);
      for (std::size_t how = 0; how < how_count; ++how) {
        if (ledger.settled[how] > 0) json.member(how_name(static_cast<How>(how)), ledger.settled[how]);
      }
      json.member("unsettled", ledger.unsettled())
          .member("from", open.empty() ? log_.last_committed() + 1 : open.front().first)
          .end_object();
    }
  }
  json.end_array().end_object();
  reply(json.take());
}

// A page of a lane: {"next": the number to go on with, 0 at the end, "unreadable": records that could not be
// shown, "lines": as text}.
void LogCommands::read(const ControlRequest& request, ControlServer::Reply reply) {
  const auto lane = lane_of(word(request, "lane", "raw"));
  if (!lane) return reply(control_error("there is no such lane; there are alarm, window, raw, held, dead"));
  const Sequence from = std::max<Sequence>(1, number_of(request, "from", 1)),
                 to = number_of(request, "to", UINT64_MAX);
  const bool csv = word(request, "format") == "csv";
  if (from > std::min(to, log_.last_committed())) return reply(R"({"next":0,"unreadable":0,"lines":""})");
  const BootTimes times = boot_times_of(log_);
  log_.read(
      *lane, {from, to}, Log::Direction::up, page_bytes,
      [lane = *lane, from, to, csv, times, reply = std::move(reply)](const Result<std::vector<Row>>& rows) {
        if (!rows.ok()) return reply(control_error(rows.status().detail()));
        std::string lines;
        Sequence next = 0;
        std::uint64_t unreadable = 0;
        for (const Row& row : rows.value()) {
          std::vector<Record> records;
          next = row.last() + 1;
          if (!decode_redated(*row.columns, row.zstd, times, records).ok()) {
            unreadable += row.count;  // told, and what lies behind it is shown all the same
            continue;
          }
          for (std::size_t i = 0; i < records.size() && lines.size() < answer_bytes_max; ++i) {
            const Sequence number = row.first + i;
            if (number < from || number > to) continue;
            lines += csv ? record_as_csv(number, lane, records[i]) : record_as_json(number, lane, records[i]);
            lines += '\n';
            next = number + 1;
          }
          if (lines.size() >= answer_bytes_max) break;
        }
        JsonWriter json;
        json.begin_object()
            .member("next", next > to ? 0 : next)
            .member("unreadable", unreadable)
            .member("lines", lines)
            .end_object();
        reply(json.take());
      });
}

// What came last in a lane, the newest first: {"next": the number to go on with as `from`, 0 at the end,
// "lines": as text}. A page may have less than `max` of them, or none, and go on all the same.
void LogCommands::last(const ControlRequest& request, ControlServer::Reply reply) {
  const auto lane = lane_of(word(request, "lane"));
  if (!lane) return reply(control_error("there is no such lane; there are alarm, window, raw, held, dead"));
  const std::size_t max = std::min<std::size_t>(last_max, number_of(request, "max", 20));
  const Sequence from = number_of(request, "from", UINT64_MAX);
  if (from == 0) return reply(R"({"next":0,"lines":""})");
  log_.read(*lane, {1, from}, Log::Direction::down, page_bytes,
            [lane = *lane, from, max, times = boot_times_of(log_),
             reply = std::move(reply)](const Result<std::vector<Row>>& rows) {
              if (!rows.ok()) return reply(control_error(rows.status().detail()));
              std::string lines;
              Sequence next = 0;
              std::size_t told = 0;
              for (const Row& row : rows.value()) {
                std::vector<Record> records;
                if (told == max) break;
                next = row.first - 1;
                if (!decode_redated(*row.columns, row.zstd, times, records).ok()) continue;
                for (std::size_t i = records.size(); i-- > 0 && told < max;) {
                  const Sequence number = row.first + i;
                  if (number > from) continue;
                  lines += record_as_json(number, lane, records[i]) + "\n";
                  next = number - 1;
                  ++told;
                }
              }
              JsonWriter json;
              json.begin_object().member("next", next).member("lines", lines).end_object();
              reply(json.take());
            });
}

// Reads everything once: what is damaged is found and mended on the way.
void LogCommands::check_all(ControlServer::Reply reply) {
  struct Work {
    std::size_t lane = 0;
    Sequence next = 1;
    std::uint64_t records = 0;
    LogStats before;
    std::function<void()> step;
  };
  auto work = std::make_shared<Work>();
  work->before = log_.stats();
  work->step = [this, weak = std::weak_ptr(work), reply] {
    const auto w = weak.lock();
    if (w->lane == lane_count) {
      const LogStats now = log_.stats();
      JsonWriter json;
      json.begin_object()
          .member("whole_records", w->records)
          .member("files_mended", now.files_set_aside - w->before.files_set_aside);
      json.member("lost_records", now.lost_records - w->before.lost_records).end_object();
      return reply(json.take());
    }
    log_.read(all_lanes[w->lane], {w->next, UINT64_MAX}, Log::Direction::up, 256 << 10,
              [w, reply](const Result<std::vector<Row>>& rows) {
                if (!rows.ok()) return reply(control_error(rows.status().detail()));
                for (const Row& row : rows.value()) w->records += row.count;
                if (rows.value().empty()) {
                  ++w->lane;
                  w->next = 1;
                } else {
                  w->next = rows.value().back().last() + 1;
                }
                w->step();
              });
  };
  work->step();
}

void LogCommands::seal(ControlServer::Reply reply) {
  log_.seal([this, reply](const Status& status) {
    reply(status.ok() ? segments_of(log_) : control_error(status.detail()));
  });
}

// {"logs": [as log.ls of each]}. One that closes meanwhile is drained, and what was left of it is in ours.
void LogCommands::seal_leftovers(ControlServer::Reply reply) {
  const std::vector<SqliteLog*> logs = leftovers();
  struct Work {
    std::size_t open;
    std::string logs;
    Status fault;
  };
  const auto work = std::make_shared<Work>(Work{logs.size()});
  const auto answer = [work, reply] {
    reply(work->fault.ok() ? text("{\"logs\":[", work->logs, "]}") : control_error(work->fault.detail()));
  };
  if (logs.empty()) return answer();
  for (SqliteLog* log : logs) {
    log->seal([work, answer, log](const Status& status) {
      if (status.ok()) work->logs += text(work->logs.empty() ? "" : ",", segments_of(*log));
      else if (status.code() != Code::closed) work->fault = status;
      if (--work->open == 0) answer();
    });
  }
}

struct LogCommands::Forgetting {
  ControlServer::Reply reply;
  std::size_t leftovers = 0;
  std::uint64_t records = 0;
  Status fault;

  void add(const Result<std::uint64_t>& forgotten) {
    if (forgotten.ok()) records += forgotten.value();
    else fault = forgotten.status();
  }
  void answer() const {
    if (!fault.ok()) return reply(control_error(text(fault.detail(), "; ask again")));
    JsonWriter json;
    json.begin_object().member("forgotten", records).end_object();
    reply(json.take());
  }
};

// Ours comes last: dead letters of those that others left move into it meanwhile (leftover.h), and what was
// read of them before the device was out of them is in its open group by then.
void LogCommands::forget(const ControlRequest& request, ControlServer::Reply reply) {
  const std::string device = word(request, "device"), before = word(request, "before");
  if (device.empty()) return reply(control_error("which device?"));
  std::optional<WallTime> until;
  if (!before.empty()) {
    until = parse_time_text(before);
    if (!until) return reply(control_error("a time is like 2026-11-20 or 2026-11-20T12:00:00Z (UTC)"));
  }
  const auto work = std::make_shared<Forgetting>(Forgetting{std::move(reply)});
  const auto ours = [this, work, device, until] {
    log_.forget_device(device, until, [work](const Result<std::uint64_t>& records) {
      work->add(records);
      work->answer();
    });
  };
  const std::vector<SqliteLog*> logs = leftovers();
  if (logs.empty()) return ours();
  work->leftovers = logs.size();
  for (SqliteLog* log : logs) {
    log->forget_device(device, until, [work, ours](const Result<std::uint64_t>& records) {
      work->add(records);
      if (--work->leftovers == 0) ours();
    });
  }
}

// ---- where a device's readings are

void LogCommands::device(const ControlRequest& request, ControlServer::Reply reply) {
  LatestValues::Wish wish;
  const std::string device = word(request, "device");
  if (device.empty()) return reply(control_error("which device?"));
  wish.devices.insert(device);
  wish.after = number_of(request, "after", 0);
  // of this one it is asked how far uplinks are
  if (const Sequence number = number_of(request, "number", 0); number > 0) {
    LatestValues::Found asked;
    asked.number = number;
    asked.lane = lane_of(word(request, "lane")).value_or(Lane::raw);
    return tell_where(asked, std::move(reply));
  }
  look_for(std::move(wish), std::move(reply));
}

// Where no reading of it is left, what was made of them may still wait: windows, and events of the device.
void LogCommands::look_for(LatestValues::Wish wish, ControlServer::Reply reply) {
  LatestValues::look(log_, wish,
                     [this, wish, reply = std::move(reply)](const Result<LatestValues::Found>& sought) {
                       if (!sought.ok()) return reply(control_error(sought.status().detail()));
                       if (sought.value().number > 0 || wish.after > 0 || wish.lanes.front() == Lane::window)
                         return tell_where(sought.value(), reply);
                       LatestValues::Wish others = wish;
                       others.lanes = {Lane::window, Lane::alarm};
                       look_for(std::move(others), reply);
                     });
}

// What is known of a number, and of who has it.
struct LogCommands::Sought {
  LatestValues::Found found;
  ControlServer::Reply reply;
  std::uint64_t since = 0;  // records of its lane from it on, as far as they matter
  std::map<std::string, std::string, std::less<>> refused;  // by uplink: why
};

// A number that no cursor waits for went to the far side, or it did not: it was refused, it was lost with
// others of its lane, or it is older than the uplink. What cannot be told is not called acknowledged.
void LogCommands::tell_where(const LatestValues::Found& found, ControlServer::Reply reply) {
  auto sought = std::make_shared<Sought>();
  sought->found = found;
  sought->reply = std::move(reply);
  if (found.number == 0) return sought->reply(answer_of(*sought));
  count_since(sought, found.number, look_pages_max);
}

// Of a cursor that began behind the number fewer records were admitted than lie there from it on.
void LogCommands::count_since(const std::shared_ptr<Sought>& sought, Sequence from, std::size_t pages) {
  const Sequence number = sought->found.number, end = log_.last_committed();
  const Lane lane = sought->found.lane;
  std::uint64_t in_doubt = 0;  // the largest ledger that could be of one who began behind it
  for (const std::string& consumer : log_.consumers()) {
    if (consumer.starts_with('@') || !log_.takes(consumer, lane)) continue;  // nobody is told of it
    const std::uint64_t admitted = log_.ledger(consumer, lane).admitted;
    if (end >= number && admitted < end - number + 1) in_doubt = std::max(in_doubt, admitted + 1);
  }
  if (sought->since >= in_doubt || from > end || pages == 0)
    return look_for_letters(sought, end, look_pages_max);
  log_.read(lane, {from, end}, Log::Direction::up, look_page_bytes,
            [this, sought, from, pages](const Result<std::vector<Row>>& rows) {
              if (!rows.ok() || rows.value().empty())
                return look_for_letters(sought, log_.last_committed(), look_pages_max);
              for (const Row& row : rows.value()) {
                const Sequence first = std::max(row.first, from);
                if (row.last() >= first) sought->since += row.last() - first + 1;
              }
              count_since(sought, rows.value().back().last() + 1, pages - 1);
            });
}

// Only where an uplink refused something of the lane at all.
void LogCommands::look_for_letters(const std::shared_ptr<Sought>& sought, Sequence from, std::size_t pages) {
  bool any = false;
  for (const std::string& consumer : log_.consumers())
    any = any || log_.ledger(consumer, sought->found.lane).settled[static_cast<std::size_t>(How::dead)] > 0;
  // A letter is younger than what it is about.
  if (!any || pages == 0 || from <= sought->found.number) return sought->reply(answer_of(*sought));
  find_dead({sought->found.number + 1, from}, Log::Direction::down, dead_page_max,
            [this, sought, pages](const Result<Letters>& page) {
              if (!page.ok()) return sought->reply(answer_of(*sought));
              for (const auto& [number, record] : page.value().letters) {
                const auto& dead = std::get<DeadDetail>(record.detail->body);
                if (dead.from_uplink() && dead.number == sought->found.number)
                  sought->refused.emplace(dead.consumer, dead.reason);
              }
              look_for_letters(sought, page.value().next, pages - 1);
            });
}

// {"number": of the newest, 0: none was found, "committed": the log's last number, "records": [...],
// "uplinks": [{"name", "state": "acknowledged", "waiting" (with how many numbers are before it), "refused"
// (with the reason), "settled" (not all of the lane was delivered: whether this was nobody knows any more),
// "older than it", "not its lane", and "undelivered": how many of the lane were settled in another way}]}
std::string LogCommands::answer_of(const Sought& sought) const {
  const Sequence asked = sought.found.number;
  const Lane lane = sought.found.lane;
  JsonWriter json;
  std::string records;
  for (const auto& [device, metrics] : sought.found.devices) {
    for (const auto& [metric, record] : metrics) records += text(records.empty() ? "" : ",", record.second);
  }
  json.begin_object()
      .member("number", asked)
      .member("committed", log_.last_committed())
      .key("uplinks")
      .begin_array();
  const std::vector<std::string> consumers = log_.consumers();
  for (const std::string& consumer : consumers) {
    if (asked == 0 || consumer.starts_with('@')) continue;
    const LaneLedger ledger = log_.ledger(consumer, lane);
    std::uint64_t before = 0, undelivered = 0;
    for (std::size_t how = 0; how < how_count; ++how)
      undelivered += how == static_cast<std::size_t>(How::delivered) ? 0 : ledger.settled[how];
    bool waiting = false;
    for (const Range& range : log_.unsettled(consumer, lane)) {
      waiting = waiting || (range.first <= asked && asked <= range.last);
      if (range.first < asked) before += std::min(range.last, asked - 1) - range.first + 1;
    }
    // A standby refuses under its own name, out of this one's cursor.
    const auto letter = std::ranges::find_if(sought.refused, [&](const auto& one) {
      return one.first == consumer || std::ranges::count(consumers, one.first) == 0;
    });
    const bool refused = letter != sought.refused.end();
    const bool older = sought.since > ledger.admitted;
    json.begin_object()
        .member("name", consumer)
        .member("state", !log_.takes(consumer, lane) ? "not its lane"
                         : waiting                   ? "waiting"
                         : refused                   ? "refused"
                         : older                     ? "older than it"
                         : undelivered > 0           ? "settled"
                                                     : "acknowledged");
    if (waiting) json.member("numbers_before", before);
    if (refused && !waiting) json.member("reason", letter->second);
    json.member("undelivered", undelivered).end_object();
  }
  json.end_array().end_object();
  std::string out = json.take();
  out.pop_back();
  return text(out, ",\"records\":[", records, "]}");
}

// ---- dead letters

// A page of the letters of `range`, the newest first (down) or the oldest (up), without those that were
// struck: `max` at most, and no more behind dead_page_bytes. A page has at least one unless there is none
// left.
void LogCommands::find_dead(Range range, Log::Direction direction, std::size_t max, Found found,
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
                  if (page.letters.size() == max || bytes >= dead_page_bytes) {
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
                return find_dead(rest, direction, max, found, std::move(page.unreadable));
              found(std::move(page));
            });
}

// A page: {"next": the number to go on with as `from`, 0 at the end, "lines": a JSON object a letter, the
// newest first}.
void LogCommands::dead_ls(const ControlRequest& request, ControlServer::Reply reply) {
  const std::size_t max = std::min<std::size_t>(dead_page_max, number_of(request, "max", 20));
  const Sequence from = number_of(request, "from", UINT64_MAX);
  find_dead({1, from}, Log::Direction::down, max, [reply](const Result<Letters>& page) {
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

void LogCommands::dead_show(const ControlRequest& request, ControlServer::Reply reply) {
  const Sequence number = number_of(request, "number", 0);
  find_dead({number, number}, Log::Direction::down, 1, [reply](const Result<Letters>& page) {
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
void LogCommands::dead_letters(const ControlRequest& request, ControlServer::Reply reply) {
  const std::size_t max =
      std::min<std::size_t>(whole_letters_max, number_of(request, "max", whole_letters_max));
  find_dead({1, number_of(request, "from", UINT64_MAX)}, Log::Direction::down, max,
            [reply](const Result<Letters>& page) {
              if (!page.ok()) return reply(control_error(page.status().detail()));
              std::string lines;
              Sequence next = page.value().next;
              for (const auto& [number, letter] : page.value().letters) {
                if (lines.size() >= answer_bytes_max) {
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
struct LogCommands::Retrying {
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

void LogCommands::dead_retry(const ControlRequest& request, ControlServer::Reply reply) {
  if (!retry_) return reply(control_error("the gateway must run: it is what decodes and delivers"));
  if (!retrying_.expired()) return reply(control_error("a retry is under way; try again when it is over"));
  const Sequence number = number_of(request, "number", 0);
  auto work = std::make_shared<Retrying>();
  retrying_ = work;
  work->reply = std::move(reply);
  work->range = number ? Range{number, number} : Range{1, log_.last_committed()};
  retry_next(work);
}

void LogCommands::retry_one(const std::shared_ptr<Retrying>& work) {
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

void LogCommands::retry_next(const std::shared_ptr<Retrying>& work) {
  if (std::exchange(work->walking, true)) return;  // of a letter that failed at once: the loop below goes on
  while (work->may_start()) retry_one(work);
  work->walking = false;
  if (work->flying > 0) return;
  find_dead(work->range, Log::Direction::up, dead_page_max, [this, work](Result<Letters> page) {
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

void LogCommands::dead_drop(const ControlRequest& request, ControlServer::Reply reply) {
  const Sequence number = number_of(request, "number", 0);
  if (number == 0 && word(request, "all") != "true")
    return reply(control_error("which one? (a number, or --all)"));
  find_dead(number ? Range{number, number} : Range{1, UINT64_MAX}, Log::Direction::down, 1,
            [this, number, reply](const Result<Letters>& page) {
              if (!page.ok()) return reply(control_error(page.status().detail()));
              if (page.value().letters.empty())
                return reply(control_error(number ? "there is no dead letter of this number"
                                                  : "there are no dead letters"));
              const Range dropped = number ? Range{number, number} : Range{1, log_.last_committed()};
              if (!log_.can_strike(dropped)) return reply(control_error(StruckLetters::full_words));
              log_.commit({.struck = {dropped}, .urgent = true}, [reply](const Status& status) {
                reply(status.ok() ? ok_reply() : control_error(status.detail()));
              });
            });
}

}  // namespace millrace
