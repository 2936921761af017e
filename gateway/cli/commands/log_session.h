// Where `millrace log` and `millrace dlq` ask: the running daemon that holds the log, or a stopped log
// itself, under its lock. One at a time; answers are the same (log_commands.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "cli/commands/daemon.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "log_commands.h"
#include "loop/uv_loop.h"

namespace millrace {

class LogSession {
 public:
  explicit LogSession(const Config& config);
  ~LogSession();

  // An error that was answered is one. `unavailable`: nobody answers, and there is no log to be opened.
  Result<std::string> ask_text(const std::string& command, const Words& words = {}, bool takes_long = false);
  Result<DaemonAnswer> ask(const std::string& command, const Words& words = {}, bool takes_long = false);
  const Config& config() const { return config_; }

 private:
  Result<std::string> say(const std::string& command, const Words& words, bool takes_long);
  Status open();
  void stop_logs();
  std::vector<SqliteLog*> leftovers();

  const Config& config_;
  UvLoop loop_;
  Fd lock_;
  std::unique_ptr<Folder> folder_, runtime_folder_;
  std::unique_ptr<SqliteLog> log_;
  std::vector<std::unique_ptr<Leftover>> leftovers_;  // where they are asked for
  std::unique_ptr<LogCommands> commands_;
  bool changed_ = false;
};

// Loads the configuration, quietens what the log says on opening (that is for the daemon's journal), and does
// it.
int with_log(const std::string& config, const std::function<int(LogSession&)>& work);
// To stderr, whatever control characters are in it; 1.
int fail(const std::string& why);
// The same; 69 and what to do next, where a daemon hangs, or neither one nor the log of a stopped one is
// there.
int fail(const Status& why);
// Asks and prints the answer; an error goes to stderr. Of a daemon that does not answer it is one after half
// a minute, or an hour.
int show(const AskOptions& options, const std::string& command, const Words& words = {},
         bool takes_long = false);

// Lanes that an uplink of the configuration takes no longer and that the log keeps something of, a line each;
// `stat` is the answer to log.stat.
std::string lanes_given_up(const Config& config, const DaemonAnswer& stat);
// Those, and uplinks that are not in the configuration and that the stopped log keeps something for; empty
// where the log is not there, not ours, or a daemon holds it.
std::string absent_in_stopped_log(const Config& config);

}  // namespace millrace
