#include "log_tool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "app.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/answers.h"
#include "log/salvage.h"
#include "log/segment.h"
#include "log/state_file.h"
#include "log_commands.h"
#include "record/batch.h"
#include "record/record_text.h"

namespace millrace {
namespace {

constexpr int long_work_seconds = 3600;

std::string member(const std::string& json, const std::string& name) {
  std::vector<std::pair<std::string, std::string>> members;
  if (!read_flat_json(bytes_of(json), members).ok()) return {};
  for (const auto& [key, value] : members) {
    if (key == name) return value;
  }
  return {};
}

// Where the requests go: to the daemon that holds the log, or into the log itself.
class LogSession {
 public:
  explicit LogSession(const Config& config) : config_(config), socket_(config.gateway.runtime_dir + "/control.sock") {}
  ~LogSession() {
    if (!log_ || !changed_) return;
    log_->stop([this] { loop_.stop(); });
    loop_.run();
  }

  Result<std::string> ask(const std::string& command, const std::vector<std::pair<std::string, std::string>>& words, bool takes_long = false) {
    JsonWriter json;
    json.begin_object().member("command", command);
    for (const auto& [key, value] : words) {
      if (!value.empty()) json.member(key, value);
    }
    json.end_object();
    if (!log_) {
      auto answer = ask_daemon(socket_, json.text(), takes_long ? long_work_seconds : 30);
      if (answer.ok() || answer.status().code() != Code::unavailable) return answer;
      if (Status status = open(); !status.ok()) return status;
    }
    ControlRequest request{{"command", command}};
    request.insert(words.begin(), words.end());
    LogCommands commands(*log_, *folder_, nullptr);
    auto table = commands.table();
    const LogCommands::Command& found = table.at(command);
    changed_ = changed_ || found.changes;
    std::string answer;
    bool waiting = false;  // a loop that is stopped before it runs would stay so
    found.run(request, [&](std::string reply) {
      answer = std::move(reply);
      if (waiting) loop_.stop();
    });
    waiting = answer.empty();
    if (waiting) loop_.run();
    return answer;
  }

 private:
  Status open() {
    auto lock = lock_file(config_.log.path + "/lock");
    if (!lock.ok()) return lock.status();
    lock_ = std::move(lock).value();
    folder_ = open_folder(config_.log.path);
    LogOptions options;
    options.bytes_max = config_.log.max_size;
    runtime_folder_ = open_folder(config_.gateway.runtime_dir);
    options.held_folder = runtime_folder_.get();
    auto log = SqliteLog::open(loop_, *folder_, options, random_from_kernel());
    if (!log.ok()) return log.status();
    log_ = std::move(log).value();
    return {};
  }

  const Config& config_;
  std::string socket_;
  UvLoop loop_;
  Fd lock_;
  std::unique_ptr<Folder> folder_, runtime_folder_;
  std::unique_ptr<SqliteLog> log_;
  bool changed_ = false;
};

int fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", shown(why, 4000).c_str());
  return 1;
}

// Prints the answer; an error goes to stderr.
int show(const Arguments& arguments, const Result<std::string>& answer) {
  if (!answer.ok()) return fail(answer.status().detail());
  if (answer.value().starts_with("{\"error\":")) return fail(member(answer.value(), "error"));
  std::printf("%s\n", arguments.json ? answer.value().c_str() : pretty_json(answer.value()).c_str());
  return exit_ok;
}

// Page after page, so that the daemon goes on with its work in between.
int print_records(LogSession& session, const Arguments& arguments, const std::string& lane, bool csv, std::FILE* out) {
  std::uint64_t unreadable = 0;
  for (std::string from = arguments.from; from != "0";) {
    const auto answer = session.ask("log.read", {{"lane", lane}, {"from", from}, {"to", arguments.to}, {"format", csv ? "csv" : "json"}});
    if (!answer.ok()) return fail(answer.status().detail());
    if (const std::string error = member(answer.value(), "error"); !error.empty()) return fail(error);
    const std::string lines = member(answer.value(), "lines");
    if (std::fwrite(lines.data(), 1, lines.size(), out) != lines.size()) return fail("the output cannot be written");
    unreadable += std::strtoull(member(answer.value(), "unreadable").c_str(), nullptr, 10);
    from = member(answer.value(), "next");
    if (from.empty()) return fail("the daemon's answer was cut off");
  }
  if (unreadable > 0) std::fprintf(stderr, "%llu records of lane %s are whole on disk and cannot be decoded\n", static_cast<unsigned long long>(unreadable), lane.c_str());
  return exit_ok;
}

// As many as were asked for, a page at a time.
int list_letters(LogSession& session, const Arguments& arguments) {
  std::string all = "{\"dead\":[", from;
  std::uint64_t left = arguments.max;
  while (left > 0 && from != "0") {
    const auto answer = session.ask("dlq.ls", {{"max", text(left)}, {"from", from}});
    if (!answer.ok()) return fail(answer.status().detail());
    if (const std::string error = member(answer.value(), "error"); !error.empty()) return fail(error);
    from = member(answer.value(), "next");
    if (from.empty()) return fail("the daemon's answer was cut off");
    const std::string lines = member(answer.value(), "lines");
    for (const std::string_view line : split(std::string_view(lines), '\n')) {
      if (line.empty()) continue;
      if (all.back() != '[') all += ',';
      all += line;
      --left;
    }
  }
  return show(arguments, all + "]}");
}

int export_records(LogSession& session, const Arguments& arguments) {
  const bool csv = arguments.format == "csv";
  std::FILE* out = arguments.output.empty() ? stdout : std::fopen(arguments.output.c_str(), "wbx");
  if (!out) return fail(arguments.output + " cannot be made (or is there already)");
  if (csv) std::fprintf(out, "%s\n", csv_header().c_str());
  int code = exit_ok;
  for (const Lane lane : all_lanes) {
    if (code == exit_ok && (arguments.lane.empty() || arguments.lane == lane_name(lane))) {
      code = print_records(session, arguments, lane_name(lane), csv, out);
    }
  }
  const bool written = std::fflush(out) == 0 && std::ferror(out) == 0;
  if (out != stdout && std::fclose(out) != 0) return fail("the output cannot be written");
  return written ? code : fail("the output cannot be written");
}

Status copy_file(const Folder& from, Folder& to, const std::string& name, std::uint64_t& bytes) {
  for (std::uint64_t offset = 0;;) {
    const auto part = from.read(name, offset, 4 << 20);
    if (!part.ok()) return part.status();
    if (part.value().empty()) return {};  // the end
    if (Status status = to.write(name, offset, part.value()); !status.ok()) return status;
    offset += part.value().size();
    bytes += part.value().size();
  }
}

// The head is sealed, then the state files and every sealed segment are copied: the newest of them carries the cursors, and names
// state files, which are kept until there is another head. A log that is opened on the copy gets a new epoch.
int backup(LogSession& session, const Arguments& arguments) {
  const auto answer = session.ask("log.seal", {}, true);
  if (!answer.ok()) return fail(answer.status().detail());
  if (answer.value().starts_with("{\"error\":")) return fail(member(answer.value(), "error"));
  const std::string& json = answer.value();
  const std::size_t folder_at = json.find("\"folder\":\"") + 10;
  if (Status status = make_folders(arguments.output); !status.ok()) return fail(status.detail());
  const auto from = open_folder(json.substr(folder_at, json.find('"', folder_at) - folder_at)), to = open_folder(arguments.output);
  std::uint64_t bytes = 0;
  std::size_t copied = 0;
  const auto names = from->list();
  if (!names.ok()) return fail(names.status().detail());
  for (const std::string& name : names.value()) {
    if (!state_file_id(name)) continue;
    if (Status status = copy_file(*from, *to, name, bytes); !status.ok()) return fail(status.detail());
  }
  for (std::size_t at = json.find("\"name\":\""); at != std::string::npos;) {
    const std::size_t next = json.find("\"name\":\"", at + 1);
    const std::string name = json.substr(at + 8, json.find('"', at + 8) - at - 8);
    const bool sealed = json.substr(at, next - at).find("\"sealed\":true") != std::string::npos;
    at = next;
    if (!sealed) continue;
    if (to->size_of(name) > 0) return fail(to->join(name) + " is there already");
    const std::uint64_t before = bytes;
    if (Status status = copy_file(*from, *to, name, bytes); !status.ok()) return fail(status.detail());
    const auto still = from->look(name);
    if (!still.ok()) return fail(still.status().detail());
    if (still.value() == 0) {  // delivered and given back meanwhile, perhaps half-way
      if (Status status = to->remove(name); !status.ok()) return fail(status.detail());
      bytes = before;
      continue;
    }
    ++copied;
  }
  std::printf("%zu segments, %llu bytes in %s\n", copied, static_cast<unsigned long long>(bytes), arguments.output.c_str());
  return exit_ok;
}

}  // namespace

int salvage_file(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const auto folder = open_folder(slash == std::string::npos ? "." : path.substr(0, slash + 1));
  const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  if (folder->size_of(name) == 0) return fail(path + " is not there, or empty");
  std::uint64_t records = 0;
  const Status status = salvage_rows(*folder, name, [&](const Row& row) {
    std::vector<Record> decoded;
    if (!decode_batch(*row.columns, row.zstd, decoded).ok()) return;
    for (std::size_t i = 0; i < decoded.size(); ++i) std::printf("%s\n", record_as_json(row.first + i, row.lane, decoded[i]).c_str());
    records += decoded.size();
  });
  if (!status.ok()) return fail(status.detail());
  std::fprintf(stderr, "%llu whole records\n", static_cast<unsigned long long>(records));
  return exit_ok;
}

std::string absent_in_stopped_log(const Config& config) {
  struct stat info {};
  // Whoever opens a log leaves files of his in it: that is for its owner only.
  if (::stat(config.log.path.c_str(), &info) != 0 || info.st_uid != ::geteuid()) return {};
  const auto names = open_folder(config.log.path)->list();
  if (!names.ok() || std::ranges::none_of(names.value(), [](const std::string& name) { return segment_id(name).has_value(); })) return {};
  set_log_level(Level::error);
  LogSession session(config);
  const auto stat = session.ask("log.stat", {});
  if (!stat.ok()) return {};
  std::map<std::string, std::uint64_t> kept;
  for (const auto& consumer : objects_in(stat.value(), "consumers")) {
    const std::string& name = consumer.at("consumer");
    const auto is = [&name](const auto& uplink) { return uplink.name == name; };
    if (name.front() == '@' || std::ranges::any_of(config.uplinks, is)) continue;
    kept[name] += std::strtoull(consumer.at("unsettled").c_str(), nullptr, 10);
  }
  std::string lines;
  for (const auto& [name, records] : kept) {
    if (records == 0) continue;
    lines += text("warning: uplink ", name, " left the configuration: the log keeps ", records, " records for it, ", format_duration(config.log.forget_after),
                  " from when the daemon missed it first (log.forget_after)\n");
  }
  return lines;
}

int log_tool(const Arguments& arguments, const Config& config) {
  set_log_level(Level::error);  // what the log says on opening is for the daemon's journal
  LogSession session(config);
  const std::string& command = arguments.command;
  if (command == "dlq.ls") return list_letters(session, arguments);
  if (command == "log.cat" || command == "log.export") return export_records(session, arguments);
  if (command == "log.backup") return backup(session, arguments);
  if (command == "log.forget") return show(arguments, session.ask(command, {{"device", arguments.device}, {"before", arguments.before}}, true));
  const std::string number = arguments.number == 0 ? "" : text(arguments.number);
  return show(arguments, session.ask(command, {{"number", number}, {"all", arguments.all ? "true" : ""}, {"max", text(arguments.max)}}, true));
}

}  // namespace millrace
