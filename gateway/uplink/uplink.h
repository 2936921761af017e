// An uplink speaks one protocol northward: it sends batches and says what became of them. It keeps nothing:
// the log is the buffer. All calls and callbacks on the loop.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "log/log.h"

namespace millrace {

enum class Verdict : std::uint8_t {
  acknowledged,  // the far side has all of it and will keep it
  retryable,     // not now: network, timeout, throttling
  refused,       // not this: these rows will never be taken
  blocked,       // not until someone acts: credentials, missing topic
};
const char* verdict_name(Verdict verdict);
// One verdict for many rows: what needs a person outweighs what needs time, which outweighs what will never
// go.
bool outweighs(Verdict verdict, Verdict other);

struct Outcome {
  Verdict verdict = Verdict::acknowledged;  // about the rows in `open`
  std::vector<std::uint32_t> open;          // indices of rows not stored; all others are safe
  Duration retry_after{};                   // what the far side asked for, if it asked
  std::string reason;                       // for the operator
  bool late = false;                        // no answer came in time: less at once may pass
  // `retryable`: the far side ended a connection it had taken, so long after the last of these was sent.
  std::optional<Duration> hung_up_after;
  bool said_so = false;    // and named the data as its reason
  bool swallowed = false;  // `late`, though the far side answered what was sent after it
  bool too_large = false;  // `refused`: for its size
  // `refused`, in words that somebody on the way may have said of anything: to be believed while others of
  // its lane pass.
  bool doubtful = false;
  Duration rest{};       // acknowledged: what of its run is less than a full batch may wait so long
  bool some = false;     // not acknowledged as a whole, but an answer stored a part of it: the far side works
  bool unasked = false;  // nothing of it went out: it says nothing of the far side
  // Of how many records of a row there is no form there by nature: they were passed over.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> skipped;
};

struct Batch {
  std::vector<Row> rows;
  bool replay = false;  // older than `replay_after` when sent
  // For uplinks that keep markers: the consumer's cursor as it will be once all of this is acknowledged
  // (uplink/marker.h). Nothing when the batch is outside of the lanes.
  Bytes marker;
  // Not zero: goes out after the far side has answered, was left alone for so long, and has answered again.
  // If that fails, `hung_up_after` is not set.
  Duration control{0};
};

class Uplink {
 public:
  struct Limits {
    std::size_t batches_in_flight = 4;
    std::size_t bytes_max = 256 << 10;
    // After which a batch without an answer is given up, where bytes that move do not count.
    Duration patience = std::chrono::minutes(10);
    // Each goes a way of its own: it may be there before one that was sent before it, and what becomes of it
    // says nothing of the others.
    bool apart = false;
  };
  // Whether the far side can be reached. Said again when it is up anew.
  struct Reach {
    bool up = false;
    std::string reason;         // why it cannot
    bool needs_person = false;  // trying again will not mend it: a certificate, a password
  };
  using StateChanged = std::function<void(const Reach&)>;

  virtual ~Uplink() = default;
  virtual Limits limits() const = 0;
  // Whether the far side keeps the cursor in the same transaction as the data: then it is the truth.
  virtual bool keeps_marker() const { return false; }
  // What it kept last, as found before StateChanged said up; empty: nothing. Read inside that call.
  virtual Bytes marker() const { return {}; }
  // Connects in the background and keeps reconnecting. Fails only for configuration.
  virtual Status start(StateChanged changed) = 0;
  // Up to `batches_in_flight` at once. `done` runs exactly once, on the loop, never inside send().
  virtual void send(Batch batch, std::function<void(Outcome)> done) = 0;
  // Gives up what is in flight (every `done` still runs, with `retryable`) and disconnects; `done` comes
  // last.
  virtual void stop(std::function<void()> done) = 0;
};

}  // namespace millrace
