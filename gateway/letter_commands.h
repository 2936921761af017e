// `millrace dlq`: what is asked of dead letters, answered from a log: a page of them, one, whole ones for who
// decodes them, and to take them up again or strike them. On the loop; `reply` is called once, now or later.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "log/sqlite_log.h"
#include "observe/control.h"

namespace millrace {

class LetterCommands {
 public:
  static constexpr std::size_t page_max = 200;

  // Takes a dead letter (a record with a DeadDetail) up again: `done` with success when it was delivered or
  // decoded, and the log was told to strike it. `strike`: the letter's number is the last of it, those before
  // are no letters'.
  using Retry = std::function<void(Range strike, const Record& letter, std::function<void(Status)> done)>;

  // `retry` is null on a stopped log: nobody is there to deliver to.
  LetterCommands(SqliteLog& log, Retry retry) : log_(log), retry_(std::move(retry)) {}

  void ls(const ControlRequest& request, ControlServer::Reply reply);
  void show(const ControlRequest& request, ControlServer::Reply reply);
  void whole(const ControlRequest& request, ControlServer::Reply reply);
  void retry(const ControlRequest& request, ControlServer::Reply reply);
  void drop(const ControlRequest& request, ControlServer::Reply reply);

  struct Letters {
    std::vector<std::pair<Sequence, Record>> letters;
    // the last numbers of rows that could not be read: there may be letters
    std::vector<Sequence> unreadable;
    Sequence next = 0;  // where the next page begins; 0: there is none
  };
  using Found = std::function<void(Result<Letters>)>;
  // A page of the letters of `range`, the newest first (down) or the oldest (up), without those that were
  // struck: `max` at most, and no more behind some megabytes of payloads. A page has at least one unless
  // there is none left. `unreadable`: of the rows before `range`, where nothing else was found.
  void find(Range range, Log::Direction direction, std::size_t max, Found found,
            std::vector<Sequence> unreadable = {});

 private:
  struct Retrying;
  void retry_one(const std::shared_ptr<Retrying>& work);
  void retry_next(const std::shared_ptr<Retrying>& work);

  SqliteLog& log_;
  Retry retry_;
  std::weak_ptr<Retrying> retrying_;  // there is one at a time
};

// Letters whole, for whoever decodes them: "NUMBER HEX" a line, the record of each as it is stored.
std::string letters_in_hex(const std::vector<std::pair<Sequence, Record>>& letters);

}  // namespace millrace
