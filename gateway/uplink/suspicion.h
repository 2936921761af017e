// Finds the record that a far side will never take though it does not say so: a broker that hangs up on a
// message above its limit, a DISCONNECT without a PUBACK, one that swallows it and answers everything else.
// The danger is to blame a record for a link that is merely bad, or a far side that is busy, so it takes this
// much:
//
// 1. The same row is on its way at three losses in a row (where each batch goes a way of its own: in a row of
//    its own losses), or the far side said that one of those on their way is at fault. From then on one row
//    is on its way at a time, and what is lost alone is split, down to a record. Splitting harms nobody.
// 2. A record that was lost alone is sent again behind a control: the connection answers, is left alone for
//    twice as long as the record lived on it, answers again. Only a loss behind a good control counts, and it
//    must come soon; a control that fails starts the count anew and asks for more. With random losses at any
//    rate, controls die more often than records.
// 3. After four such losses in a row something smaller of the same lane must pass, at once; where nothing
//    else waits, something must have passed since the trial began. Where nothing passes, it is not this
//    record: the far side refuses the topic or everything, and somebody must act. Once that is mended, what
//    was lost before says nothing: the record is tried again behind what passes.
//
// Who is swallowed outlives any control: there something smaller must pass after each of six losses, and one
// that does not starts the count anew and asks for more.
//
// What is given up so teaches a limit: the largest that passed, the smallest that was refused. Later rows are
// kept below it and larger records given up without a try, until the limit is old: then one is tried, and if
// it passes the limit is forgotten. The same rule of "something smaller passes" holds where the far side
// announces its limit. Pure, time is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "log/log.h"

namespace millrace {

class Suspicion {
 public:
  struct Part {  // a row on its way, or a part of one
    Lane lane = Lane::raw;
    Range range;
    std::size_t bytes = 0;
    bool single() const { return range.first == range.last; }
  };
  struct Loss {
    Duration after{};        // it was sent
    bool proved = false;     // the control was good
    bool said_so = false;    // the far side named the data as the reason
    bool swallowed = false;  // it answered what came later, never this
    bool apart = false;      // on a way of its own: it says nothing of what else is on its way
  };
  enum class Finding : std::uint8_t { nothing, split, give_up, blocked };

  // The far side ended the connection, or swallowed these: they have no answer. What is to be done with the
  // first.
  Finding on_doubt(const std::vector<Part>& open, const Loss& loss, Instant now);
  // Lost in another way: the link, a deadline, the control. `apart`: as of a Loss.
  void on_lost(const std::vector<Part>& open, bool was_controlled, bool apart = false);
  void on_passed(const Part& part, Instant now);
  // A single record is refused in words, for its size or (`words`) for what may be true of everything:
  // whether it may be given up now. If not, something smaller of its lane must pass first.
  Finding on_too_large(const Part& part, const std::string& words = {});
  // What a smaller neighbour did after a round of `suspect`: passed (`give_up`, or nothing: it is tried
  // again) ...
  Finding on_neighbour_passed(const Part& suspect, Instant now);
  // ... or shared its fate. `blocked` after some.
  Finding on_neighbour_failed(const Part& suspect);

  // It left in another way: expired, split.
  void forget(const Part& part);
  // Another sent from the same cursor: what is not open any more was dealt with there.
  void keep_only(Lane lane, const std::vector<Range>& open);

  // One row is on its way at a time.
  bool alone() const { return alone_ || !trials_.empty(); }
  // How long the connection is to be seen good before this goes out; zero: not asked for.
  Duration control(const Part& part) const;
  // Those of this lane before which something smaller is to be sent, until they are tried again or given up.
  std::vector<Part> waiting_for_neighbours(Lane lane) const;
  // Which must have less than so many bytes: of who is refused in words, its own size is no matter.
  std::size_t neighbour_below(const Part& suspect) const;
  // There is none. True: others of the lane passed since the trial began, as on_neighbour_passed() wants it;
  // else the suspect is tried again.
  bool no_neighbour(const Part& suspect);
  // Where rows are cut, also when they are read again.
  void cut_at(Lane lane, Sequence first);
  const std::vector<std::pair<Lane, Sequence>>& cuts() const { return cuts_; }

  // What is known to be refused is not sent while this is fresh: rows are split, single records given up
  // (on_too_large).
  bool known_too_large(const Part& part, Instant now) const {
    const std::size_t limit = part.single() || row_refused_ == 0 ? refused_ : row_refused_;
    return limit > 0 && part.bytes >= limit && now < fresh_until_;
  }
  std::size_t smallest_refused() const { return refused_; }  // 0: no limit is suspected
  std::string limit_words() const;                           // empty: none
  // What is held against it, for people.
  std::string charge(const Part& part) const;

 private:
  struct Trial {
    Part part;
    int rounds = 0, failed_controls = 0, failed_neighbours = 0;
    Duration lived{};
    bool due = false;        // the rounds are over: a neighbour decides
    bool too_large = false;  // refused in words
    bool swallowed = false;
    std::string words;           // of who refused it, where it was not for its size
    bool others_passed = false;  // of its lane, no larger, since the trial began
    bool shared_fate = false;    // so did a neighbour: after one that passes it is tried once more
  };
  Trial* find(const Part& part);
  const Trial* find(const Part& part) const { return const_cast<Suspicion*>(this)->find(part); }
  void forget_seen(const std::vector<Part>& open);
  static int rounds_of(const Trial& trial);
  static void once_more(Trial& trial);  // a loss more, and a neighbour decides again
  Finding give_up(const Part& part, Instant now);

  bool alone_ = false;
  int passed_since_loss_ = 0;
  // what was on its way at the last losses in a row, and at how many
  std::vector<std::pair<Part, int>> seen_;
  // on their way when the suspicion began: until they passed or were given up
  std::vector<std::pair<Lane, Range>> watched_;
  std::vector<Trial> trials_;
  std::vector<std::pair<Lane, Sequence>> cuts_;
  std::map<Lane, int> credit_;  // of records that may be given up before something of the lane passes
  std::size_t passed_ = 0, refused_ = 0;
  std::size_t row_refused_ = 0;  // of several records, lost alone: a reason to split, not to give up
  Instant fresh_until_;
  Duration fresh_for_{};
};

inline Suspicion::Part part_of(Lane lane, const Row& row) {
  return {lane, {row.first, row.last()}, row.columns->size()};
}

}  // namespace millrace
