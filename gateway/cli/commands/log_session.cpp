#include "cli/commands/log_session.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/json.h"
#include "base/logger.h"
#include "base/rng.h"
#include "base/text.h"
#include "base/utf8.h"
#include "kinds.h"
#include "log/segment.h"
#include "registry.h"

namespace millrace {
namespace {

constexpr int long_work_seconds = 3600, work_seconds = 30;

// What root has made in a folder of the daemon's user becomes that user's: root's umask may keep others out,
// and a gateway that cannot open its log does not start. A file of a second name may be anybody's, and so may
// what a name leads to a moment later, once its owner has put a link in the folder's place: of the folder
// that was looked at nothing but what lies in it is given away.
void give_to_owner(const std::string& path) {
  if (::geteuid() != 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  struct stat owner {};
  if (!folder || ::fstat(::dirfd(folder.get()), &owner) != 0 || owner.st_uid == 0) return;
  while (const dirent* entry = ::readdir(folder.get())) {
    const Fd file(::openat(::dirfd(folder.get()), entry->d_name,
                           O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat info {};
    if (!file.valid() || ::fstat(file.get(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) || info.st_uid != 0 || info.st_nlink != 1) continue;
    if (::fchown(file.get(), owner.st_uid, owner.st_gid) != 0)
      complain(0, text(path, "/", entry->d_name, " cannot be given to the folder's owner"));
  }
}

}  // namespace

LogSession::LogSession(const Config& config) : config_(config) {}

LogSession::~LogSession() {
  if (log_ && changed_) stop_logs();
  if (!lock_.valid()) return;
  for (const std::string& folder : {config_.log.path, config_.gateway.runtime_dir}) give_to_owner(folder);
  for (const auto& leftover : leftovers_) give_to_owner(leftover->log().folder().path());
}

void LogSession::stop_logs() {
  std::size_t open = leftovers_.size() + 1;
  const auto stopped = [this, &open] {
    if (--open == 0) loop_.stop();
  };
  log_->stop(stopped);
  for (const auto& leftover : leftovers_) leftover->log().stop(stopped);
  loop_.run();
}

Status LogSession::open() {
  auto lock = lock_file(config_.log.path + "/lock");
  if (!lock.ok()) return {Code::unavailable, text("log.path: ", lock.status().detail())};
  lock_ = std::move(lock).value();
  folder_ = open_folder(config_.log.path);
  LogOptions options;
  options.bytes_max = config_.log.max_size;
  runtime_folder_ = open_folder(config_.gateway.runtime_dir);
  options.withheld_folder = runtime_folder_.get();
  auto log = SqliteLog::open(loop_, *folder_, options, random_from_kernel());
  if (!log.ok()) return log.status();
  log_ = std::move(log).value();
  commands_ = std::make_unique<LogCommands>(loop_, *log_, nullptr, [this] { return leftovers(); });
  return {};
}

std::vector<SqliteLog*> LogSession::leftovers() {
  if (leftovers_.empty()) {
    LogOptions options;
    options.bytes_max = config_.log.max_size;
    leftovers_ = Leftover::find(loop_, config_.log.path, options, random_from_kernel());
  }
  std::vector<SqliteLog*> logs;
  for (const auto& leftover : leftovers_) logs.push_back(&leftover->log());
  return logs;
}

Result<std::string> LogSession::say(const std::string& command, const Words& words, bool takes_long) {
  if (!log_) {
    auto answer = ask_daemon(config_.gateway.runtime_dir + "/control.sock", request_of(command, words),
                             takes_long ? long_work_seconds : work_seconds);
    if (answer.ok() || answer.status().code() != Code::unavailable) return answer;
    if (Status status = open(); !status.ok())
      return Status{status.code(), text(status.detail(), "; ", answer.status().detail())};
  }
  ControlRequest request{{"command", command}};
  request.insert(words.begin(), words.end());
  const auto table = commands_->table();
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

Result<std::string> LogSession::ask_text(const std::string& command, const Words& words, bool takes_long) {
  auto said = say(command, words, takes_long);
  if (!said.ok()) return said;
  if (const auto answer = read_answer(said.value()); !answer.ok()) return answer.status();
  return said;
}

Result<DaemonAnswer> LogSession::ask(const std::string& command, const Words& words, bool takes_long) {
  const auto said = say(command, words, takes_long);
  if (!said.ok()) return said.status();
  return read_answer(said.value());
}

int with_log(const std::string& path, const std::function<int(LogSession&)>& work) {
  const LoadedConfig loaded = load_config_file(path, built_kinds());
  if (!loaded.errors.empty()) return report_errors(path, loaded);
  set_log_level(Level::error);
  LogSession session(loaded.config);
  return work(session);
}

int fail(const std::string& why) { return complain(exit_no, shown(why, 4000)); }

int fail(const Status& why) {
  const bool nobody = why.code() == Code::unavailable || why.code() == Code::timeout;
  return nobody ? no_answer(why) : fail(why.detail());
}

int show(const AskOptions& options, const std::string& command, const Words& words, bool takes_long) {
  return with_log(options.config, [&](LogSession& session) {
    const auto answer = session.ask_text(command, words, takes_long);
    if (!answer.ok()) return fail(answer.status());
    print((options.json ? answer.value() : pretty_json(answer.value())) + "\n");
    return int{exit_ok};
  });
}

std::string lanes_given_up(const Config& config, const DaemonAnswer& stat) {
  const auto uplinks = plan_uplinks(config);
  std::string lines;
  for (const DaemonAnswer& consumer : stat["consumers"].items()) {
    const std::string &name = consumer["consumer"].text(), &lane = consumer["lane"].text();
    const auto plan = std::ranges::find(uplinks, name, &UplinkPlan::name);
    if (plan == uplinks.end() || !plan->shipper.standby_of.empty()) continue;
    if (std::ranges::count(plan->shipper.drain.lanes, lane) > 0 || consumer["unsettled"].whole() == 0)
      continue;
    lines += text("warning: uplink ", name, ": drain.lanes has lane ", lane, " no longer: the ",
                  consumer["unsettled"].whole(),
                  " records of it that have not gone out are given up at the next start or reload\n");
  }
  return lines;
}

std::string absent_in_stopped_log(const Config& config) {
  struct stat info {};
  // Whoever opens a log leaves files of his in it: that is for its owner only.
  if (::stat(config.log.path.c_str(), &info) != 0 || info.st_uid != ::geteuid()) return {};
  const auto names = open_folder(config.log.path)->list();
  if (!names.ok() || std::ranges::none_of(
                         names.value(), [](const std::string& name) { return segment_id(name).has_value(); }))
    return {};
  set_log_level(Level::error);
  LogSession session(config);
  const auto stat = session.ask("log.stat");
  if (!stat.ok()) return {};
  std::map<std::string, std::uint64_t> kept;
  for (const DaemonAnswer& consumer : stat.value()["consumers"].items()) {
    const std::string& name = consumer["consumer"].text();
    const auto is = [&name](const auto& uplink) { return uplink.name == name; };
    if (name.starts_with('@') || std::ranges::any_of(config.uplinks, is)) continue;
    kept[name] += consumer["unsettled"].whole();
  }
  std::string lines;
  for (const auto& [name, records] : kept) {
    if (records == 0) continue;
    lines += text("warning: uplink ", name, " left the configuration: the log keeps ", records,
                  " records for it, ", format_duration(config.log.forget_after),
                  " from when the daemon missed it first (log.forget_after)\n");
  }
  return lines + lanes_given_up(config, stat.value());
}

}  // namespace millrace
