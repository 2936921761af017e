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
#include "log/sqlite_log.h"
#include "observe/control.h"

namespace millrace {

class LogCommands {
 public:
  // Takes a dead letter (a record with a DeadDetail) up again: `done` with success when it was delivered or
  // decoded, and the log was told to strike it. `strike`: the letter's number is the last of it, those before
  // are no letters'.
  using Retry = std::function<void(Range strike, const Record& letter, std::function<void(Status)> done)>;

  // The logs that other versions left in the folder (leftover.h), as they are now.
  using Leftovers = std::function<std::vector<SqliteLog*>()>;

  // `retry` is null on a stopped log: nobody is there to deliver to.
  LogCommands(Loop& loop, SqliteLog& log, Retry retry, Leftovers leftovers = nullptr)
      : loop_(loop), log_(log), retry_(std::move(retry)), leftovers_(std::move(leftovers)) {}

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
  void dead_ls(const ControlRequest& request, ControlServer::Reply reply);
  void dead_show(const ControlRequest& request, ControlServer::Reply reply);
  void dead_letters(const ControlRequest& request, ControlServer::Reply reply);
  void dead_retry(const ControlRequest& request, ControlServer::Reply reply);
  void dead_drop(const ControlRequest& request, ControlServer::Reply reply);
  struct Letters {
    std::vector<std::pair<Sequence, Record>> letters;
    // the last numbers of rows that could not be read: there may be letters
    std::vector<Sequence> unreadable;
    Sequence next = 0;  // where the next page begins; 0: there is none
  };
  using Found = std::function<void(Result<Letters>)>;
  // `unreadable`: of the rows before `range`, where nothing else was found.
  void find_dead(Range range, Log::Direction direction, std::size_t max, Found found,
                 std::vector<Sequence> unreadable = {});
  struct Retrying;
  void retry_one(const std::shared_ptr<Retrying>& work);
  void retry_next(const std::shared_ptr<Retrying>& work);

  struct Asked;
  ControlServer::Reply unless_stuck(ControlServer::Reply reply, bool of_leftovers);
  void look_whether_stuck(const std::shared_ptr<Asked>& asked, Duration stuck);
  std::string trouble(bool of_leftovers) const;
  std::vector<SqliteLog*> leftovers();
  struct Forgetting;

  Loop& loop_;
  SqliteLog& log_;
  Retry retry_;
  Leftovers leftovers_;
  std::weak_ptr<Retrying> retrying_;  // there is one at a time
};

// Letters whole, for whoever decodes them: "NUMBER HEX" a line, the record of each as it is stored.
std::string letters_in_hex(const std::vector<std::pair<Sequence, Record>>& letters);

}  // namespace millrace
