// commit = "when-unsent": while the uplinks keep up, groups are numbered and shown but not written to flash,
// only to a journal on tmpfs. What every consumer has settled by then never is. A room of the log
// (log_parts.h); on the loop.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "log/withheld_journal.h"
#include "log/log.h"
#include "loop/loop.h"

namespace millrace {

struct LogParts;

class WithheldGroups {
 public:
  explicit WithheldGroups(LogParts& parts) : p_(parts) {}

  bool may_hold(const GroupWrite& group, bool must_write) const;
  // Shows the group as if it were committed. False when the journal cannot be written: then flash must do.
  bool hold(GroupWrite& group);
  // What is withheld goes with the group that is about to be written.
  void take(GroupWrite& group);
  // All of it is to be written soon.
  void flush();
  // Somebody settled something: what nobody wants any longer need not be written.
  void let_go();

  // At start: what a killed process withheld; and, once it is known what is on flash, it is shown again.
  Status recover(HeadContents& contents);
  void show_recovered();

  bool flush_next = false;

 private:
  using Done = Log::Done;
  bool row_settled(const Row& row) const;

  LogParts& p_;
  std::unique_ptr<WithheldJournal> journal_;
  std::uint64_t serial_ = 0;
  std::vector<Row> rows_;
  std::set<std::string> changed_;
  std::vector<Done> dones_;
  std::optional<InboxPosition> inbox_;
  std::size_t bytes_ = 0;
  Instant since_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
