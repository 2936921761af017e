// What formats remember of an input from payload to payload (names behind numbers, say), and what they say
// beside readings. A memory is a value: whoever decodes keeps one an input and format, hands it in with each
// payload, and stores what has changed in the commit that holds the readings, so that after a kill the two
// agree. No clock: what is rate-limited goes by the times of arrivals.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "record/record.h"

namespace millrace {

// What is to be said back, through the input's driver, to those who listen there.
struct Saying {
  std::string topic;
  Bytes payload;
};

// What a payload gave beside readings. Whoever takes it leaves it empty.
struct Beside {
  std::vector<Record> events;  // for the alarm lane: a device came, or is gone
  std::vector<Saying> replies;
  std::vector<std::string> noted;     // words of a counter: "sequence_gap"
  std::vector<std::string> warnings;  // lines for the journal; a format says each once until it changes

  bool any() const { return !(events.empty() && replies.empty() && noted.empty() && warnings.empty()); }
};

class FormatMemory {
 public:
  struct Piece {
    std::string name;
    Bytes bytes;  // empty: it is no more
  };

  virtual ~FormatMemory() = default;
  // A piece that was saved by this version or an earlier one; one that makes no sense is not there.
  virtual void load(std::string_view name, BytesView bytes) = 0;
  // Whether save() would give something.
  virtual bool changed() const = 0;
  // What has changed since the last call.
  virtual void save(std::vector<Piece>& out) = 0;
  // How much it remembers, in words of a gauge: {"metrics", 1234}.
  virtual std::vector<std::pair<std::string, double>> figures() const = 0;
};

// All that the formats of an input remember, by format.
struct Remembered {
  std::map<std::string, std::unique_ptr<FormatMemory>, std::less<>> memories;
  Beside beside;  // of the payload that was decoded last
};

}  // namespace millrace
