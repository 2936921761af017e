#include "log_commands.h"

#include <algorithm>

#include "base/text.h"
#include "clock_notes.h"
#include "decode/timestamps.h"
#include "record/redate.h"
#include "record/record_proto.h"
#include "record/record_text.h"

namespace millrace {
namespace {

constexpr std::size_t page_bytes = 16 << 10;  // of columns: about a megabyte of JSON
constexpr std::size_t last_max = 200;
// for one number among those around it: some megabytes
constexpr std::size_t look_pages_max = 32, look_page_bytes = 256 << 10;
// A commit that fails once may succeed on a fresh head.
constexpr Duration stuck_look_every = std::chrono::seconds(1), stuck_after = std::chrono::seconds(3);

std::optional<Lane> lane_of(const std::string& name) {
  for (const Lane lane : all_lanes) {
    if (name == lane_name(lane)) return lane;
  }
  return std::nullopt;
}

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
  const auto of_letters = [this](void (LetterCommands::*run)(const ControlRequest&, ControlServer::Reply)) {
    return [this, run](const ControlRequest& request, ControlServer::Reply reply) {
      (letters_.*run)(request, std::move(reply));
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
      {"dlq.ls", {false, of_letters(&LetterCommands::ls)}},
      {"dlq.show", {false, of_letters(&LetterCommands::show)}},
      {"dlq.letters", {false, of_letters(&LetterCommands::whole)}},
      {"dlq.retry", {true, of_letters(&LetterCommands::retry)}},
      {"dlq.drop", {true, of_letters(&LetterCommands::drop)}},
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
  const auto lane = lane_of(control_word(request, "lane", "raw"));
  if (!lane) return reply(control_error("there is no such lane; there are alarm, window, raw, held, dead"));
  const Sequence from = std::max<Sequence>(1, control_number(request, "from", 1)),
                 to = control_number(request, "to", UINT64_MAX);
  const bool csv = control_word(request, "format") == "csv";
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
          for (std::size_t i = 0; i < records.size() && lines.size() < ControlServer::answer_bytes_max; ++i) {
            const Sequence number = row.first + i;
            if (number < from || number > to) continue;
            lines += csv ? record_as_csv(number, lane, records[i]) : record_as_json(number, lane, records[i]);
            lines += '\n';
            next = number + 1;
          }
          if (lines.size() >= ControlServer::answer_bytes_max) break;
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
  const auto lane = lane_of(control_word(request, "lane"));
  if (!lane) return reply(control_error("there is no such lane; there are alarm, window, raw, held, dead"));
  const std::size_t max = std::min<std::size_t>(last_max, control_number(request, "max", 20));
  const Sequence from = control_number(request, "from", UINT64_MAX);
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
  const std::string device = control_word(request, "device"), before = control_word(request, "before");
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
  const std::string device = control_word(request, "device");
  if (device.empty()) return reply(control_error("which device?"));
  wish.devices.insert(device);
  wish.after = control_number(request, "after", 0);
  // of this one it is asked how far uplinks are
  if (const Sequence number = control_number(request, "number", 0); number > 0) {
    LatestValues::Found asked;
    asked.number = number;
    asked.lane = lane_of(control_word(request, "lane")).value_or(Lane::raw);
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
  letters_.find({sought->found.number + 1, from}, Log::Direction::down, LetterCommands::page_max,
                [this, sought, pages](const Result<LetterCommands::Letters>& page) {
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

}  // namespace millrace
