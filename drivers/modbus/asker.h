// Asks one question of a bus so that an old answer is never taken for its own. The daemon's poller and the
// commands for people ask by it alike.
//
// TCP has transaction numbers. RTU's frames say only whose they are and how long: what tells an old answer
// from a new one is its length, and that a device answers in order. So a question has an answer of a length
// that no other may still have: after one that went unanswered, and within a timeout of one that was answered
// (some adapters give an answer twice). Where there is no such length, an unanswered one gets a timeout of
// silence first. An exception has no length: where an old one may still come, it is asked for again. The
// first answer of a unit proves nothing: somebody else may have asked, or we before a restart. What is asked
// next has a length that hardly anybody has asked for, and that answer proves it. What lies further back than
// a minute is not believed to come.
//
// What waits on the line is thrown away before each question. Blocks; on the bus's worker.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "drivers/modbus/line.h"
#include "drivers/modbus/poll_plan.h"

namespace millrace {

// Who is asked.
struct Addressee {
  std::uint8_t unit = 1;
  Duration timeout{0};
  PlanLimits limits;
};

constexpr bool is_settled(const Reply& outcome) {
  return outcome.answer == Answer::data || outcome.answer == Answer::exception;
}
// A gateway says that the device does not answer.
constexpr bool is_away(const Reply& outcome) {
  return outcome.answer == Answer::exception &&
         (outcome.exception == Exception::gateway_path || outcome.exception == Exception::no_response);
}

class Asker {
 public:
  struct Counts {
    std::uint64_t polls = 0, silent = 0, strays = 0, drained = 0, damaged = 0, opens = 0;
  };

  // `retries`: after a damaged frame.
  Asker(const Clock& clock, Line& line, int retries, std::uint64_t seed,
        std::shared_ptr<const std::atomic<bool>> stopping);

  // `gone`: the line is closed then.
  Reply ask(const Addressee& whom, const Span& span);
  // Where the connection ends it is asked once more, on a fresh one: some servers end it after each answer.
  Reply ask_afresh(const Addressee& whom, const Span& span);
  // The line was opened, and others may have had it: nobody's answers are known, and what comes within
  // `quiet` is nobody's.
  void opened(Duration quiet);
  // Since the last call; `silent` has only what ask() did not return.
  Counts take_counts() { return std::exchange(counts_, {}); }

 private:
  struct Late {
    std::size_t bytes;  // of the data of an answer that may still come
    Instant asked;
  };
  struct Unit {  // two devices of a configuration may be one unit
    std::vector<Late> late;
    std::size_t last_bytes = 0;  // of the answer that came last; 0: an exception
    Instant last_at;             // 0: none came
    Instant exact_until;         // it has refused to say more than was wanted
    int unanswered = 0;          // questions in a row that had another length than was wanted
    bool heard = false;
  };

  Reply ask_safely(const Addressee& whom, const Span& span);
  Reply meet(const Addressee& whom, const Span& span, Unit& unit);
  Reply once(const Addressee& whom, const Span& span);
  Span span_to_ask(const Addressee& whom, const Span& span, Unit& unit);
  std::optional<Span> odd_span(const Span& span, const PlanLimits& limits, const Unit& unit);
  bool answered_just_now(const Addressee& whom, const Unit& unit) const;
  bool reopen(Reply& outcome);

  const Clock& clock_;
  Line& line_;
  int retries_;
  Rng rng_;
  std::shared_ptr<const std::atomic<bool>> stopping_;
  std::map<std::uint8_t, Unit> units_;
  Counts counts_;
};

}  // namespace millrace
