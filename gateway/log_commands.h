// `millrace log` and `millrace dlq`: requests as the control socket takes them, answered from a log. The same
// beside a running daemon and on a stopped log; paged, so that a large answer neither holds the loop nor
// keeps a file from shrinking.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "latest_values.h"
#include "letter_commands.h"
#include "log/sqlite_log.h"
#include "observe/control.h"

namespace millrace {

class LogCommands {
 public:
  // The logs that other versions left in the folder (leftover.h), as they are now.
  using Leftovers = std::function<std::vector<SqliteLog*>()>;

  // `retry` is null on a stopped log: nobody is there to deliver to.
  LogCommands(Loop& loop, SqliteLog& log, LetterCommands::Retry retry, Leftovers leftovers = nullptr)
      : loop_(loop), log_(log), letters_(log, std::move(retry)), leftovers_(std::move(leftovers)) {}

  struct Command {
    bool changes;
    ControlServer::Command run;
    bool of_leftovers = false;  // it concerns the logs of other versions, too
  };
  // A change that the disk does not take is answered as that after a few seconds, and still made when it
  // does. By the names of the requests: log.ls, log.stat, log.read, log.device, log.salvage, log.seal,
  // log.seal_leftovers, log.forget, log.last, dlq.ls, dlq.show, dlq.letters, dlq.retry, dlq.drop
  std::map<std::string, Command> table();

 private:
  void ls(ControlServer::Reply reply);
  void stat(ControlServer::Reply reply);
  void read(const ControlRequest& request, ControlServer::Reply reply);
  void last(const ControlRequest& request, ControlServer::Reply reply);
  void check_all(ControlServer::Reply reply);
  void seal(ControlServer::Reply reply);
  void seal_leftovers(ControlServer::Reply reply);
  void forget(const ControlRequest& request, ControlServer::Reply reply);
  void device(const ControlRequest& request, ControlServer::Reply reply);
  struct Sought;
  void look_for(LatestValues::Wish wish, ControlServer::Reply reply);
  void tell_where(const LatestValues::Found& found, ControlServer::Reply reply);
  void count_since(const std::shared_ptr<Sought>& sought, Sequence from, std::size_t pages);
  void look_for_letters(const std::shared_ptr<Sought>& sought, Sequence from, std::size_t pages);
  std::string answer_of(const Sought& sought) const;
  struct Asked;
  ControlServer::Reply unless_stuck(ControlServer::Reply reply, bool of_leftovers);
  void look_whether_stuck(const std::shared_ptr<Asked>& asked, Duration stuck);
  std::string trouble(bool of_leftovers) const;
  std::vector<SqliteLog*> leftovers();
  struct Forgetting;

  Loop& loop_;
  SqliteLog& log_;
  LetterCommands letters_;
  Leftovers leftovers_;
};

}  // namespace millrace
