// Who reads how far: of each consumer and lane a cursor, and the ledger that says how its records were
// settled. What a consumer settles, and what is lost to it, is here; what must be told of it is the log's.
// Pure: no clock, no files.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "log/log.h"
#include "log/segment.h"

namespace millrace {

class Cursors {
 public:
  struct Cursor {
    SettledSet settled;
    LaneLedger ledger;
    Sequence admitted_through = 0;
    Log::SubscriptionId subscription = 0;  // 0: of nobody that is here
    bool subscribed() const { return subscription != 0; }
  };
  using Key = std::pair<std::string, Lane>;

  // ---- who there is
  // Whose it is from now on. A cursor that was not there begins with nothing settled: true.
  bool subscribe(const Key& key, Log::SubscriptionId id);
  void unsubscribe(Log::SubscriptionId id);
  void erase(const Key& key) { cursors_.erase(key); }
  std::vector<std::string> consumers() const;
  bool knows(std::string_view consumer) const;
  std::vector<std::string> absent() const;  // those with a cursor that nobody is subscribed to
  std::vector<Key> absent_of(std::string_view consumer) const;
  Cursor* find(const Key& key);
  const Cursor* find(const Key& key) const { return const_cast<Cursors*>(this)->find(key); }
  bool empty() const { return cursors_.empty(); }
  auto begin() const { return cursors_.begin(); }
  auto end() const { return cursors_.end(); }

  // ---- what becomes of records
  void admit(Lane lane, std::uint64_t records, Sequence through);
  // What was settled before stays as it was. `starting`: what a note settles may be admitted after it
  // (balance()). Parts that would open a ninth range are left unsettled: `left_open` has them.
  void settle(const WriteSet::Settle& settle, bool starting, std::vector<Range>& left_open);
  // What will never arrive, of `records` at most; how many of them were unsettled. A ninth range is never
  // opened: the cursor passes over these numbers when it settles their neighbours. Without such a cursor: all
  // of them.
  std::uint64_t lose(const Key& who, const std::vector<Range>& ranges, std::uint64_t records, How how);
  // What was admitted after a cursor was last written lies in the head, or in one above it: cursors are
  // written at each commit.
  void take_over(const std::vector<Row>& rows);
  // What the note settled and the storage has lost since: it had been admitted.
  void balance();

  // ---- questions
  std::vector<Range> unsettled(const Key& key, Sequence end) const;
  LaneLedger ledger(const Key& key) const;
  bool can_settle(const Key& key, Range range) const;
  // Whether somebody still wants rows of `lane` in the segment. Nobody reads dead letters: they stay until
  // there is no room.
  bool wanted(const SegmentInfo& segment, Lane lane) const;

  // ---- as they lie in the head's state table, under cursor_key()
  static Bytes encode(const Cursor& cursor);
  // Nothing where the entry is none of a cursor.
  void restore(const std::string& key, const Bytes& value);

  // Where the books know of more unsettled records than `rows` has behind the cursor, it begins with the
  // oldest there is. Of `doubtful` ones the books are put right. Whoever is sent records again, and how many;
  // `ran_ahead`: the cursor had.
  struct Again {
    Key who;
    std::uint64_t found = 0, booked = 0, sent_again = 0;
    bool ran_ahead = false;
  };
  std::vector<Again> check(const std::map<Sequence, Row>& rows, const std::set<Key>& doubtful,
                           Sequence committed);

 private:
  std::map<Key, Cursor> cursors_;
};

// How many numbers there are in all of them.
std::uint64_t numbers_in(const std::vector<Range>& ranges);

}  // namespace millrace
