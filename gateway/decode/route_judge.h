// What a route expects of its readings beyond what it takes, and what it makes of the unexpected. Formats ask
// it for each reading where the route says so, the router shows it what entered in the end, and formats tell
// it of wanted members that did not come; a route that says nothing pays nothing. declared (`expected`) a
// reading of another name, type, unit or range is refused: it is told with the payload's bytes learned
// (`schema`) it enters; what is new or of another type since the route knows its devices is counted and told
// wanted members one that never comes is a gauge and, once it stayed away from absent_told messages, a line
// Knows no clock; what it learned is remembered with the input (format_memory.h). On the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "config/routes.h"
#include "decode/unread.h"
#include "record/record.h"

namespace millrace {

// Names and types as they came.
class LearnedSchema {
 public:
  static constexpr std::uint64_t first_readings = 1000;  // so many are no news
  static constexpr std::size_t names_max = 2000;

  struct Known {
    std::uint8_t type = 0;  // of values: 0 numbers, 1 truths, 2 texts
    bool told = false;      // that it changed
  };
  std::map<std::string, Known, std::less<>> known;
  std::uint64_t readings = 0;

  void load(BytesView bytes);
  bool changed() const { return changed_; }
  Bytes save();
  void touch() { changed_ = true; }

 private:
  bool changed_ = false;
};

class RouteJudge {
 public:
  static constexpr std::uint64_t absent_told = 100;
  // Wanted members that are no metric's: their numbers follow those of the metrics.
  enum Beside : std::size_t { time, time_of_day, quality, each };
  // `note`: a word to count: unexpected, type, unit, range. `tell`: a line for the journal.
  struct Ears {
    std::function<void(std::string_view note)> note;
    std::function<void(const std::string& line)> tell;
  };

  // Null: the route expects nothing and wants nothing by name. `invalid`: what it expects makes no sense.
  static Result<std::shared_ptr<RouteJudge>> make(const RouteConfig& route);

  // Whether readings are looked at.
  bool looks() const { return !expected_.empty() || learns_; }
  // Whether the reading is not to enter; then `why` says so, and `surprises` has one more. Nothing else
  // changes: what it lies in may still turn out to be somebody else's.
  bool refuses(const Record& record, std::string& why, Surprises& surprises) const {
    return !expected_.empty() && is_unexpected(record, why, surprises);  // what is not known yet may be good
  }
  // A payload of the route, once it has been decoded: `surprises` are counted, `entered` is learned.
  void settle(const Surprises& surprises, std::span<const Record> entered);
  // A wanted member: of the route's metrics, by their order, then those beside them. Missed is what the
  // router has of a payload once it knows whose that is.
  void came(std::size_t number);
  void missed(std::size_t number);
  // How many wanted members have never come, while at least one message did.
  std::size_t absent() const { return absent_; }
  // What was unexpected since the configuration is in force, by what was wrong; and the route in words.
  const std::array<std::uint64_t, 4>& counts() const { return counts_; }
  const std::string& called() const { return called_; }

  void listen(Ears ears) { ears_ = std::move(ears); }
  bool learns() const { return learns_; }
  // What is learned is kept there, and was learned before.
  void learn_into(std::shared_ptr<LearnedSchema> schema) { learned_ = std::move(schema); }

 private:
  struct Wanted {
    std::string called, path;
    bool has_come = false;
    std::uint64_t missed = 0;
  };
  bool is_unexpected(const Record& record, std::string& why, Surprises& surprises) const;
  void learn(const Record& record);
  void note(Surprises::What what);
  void tell(const std::string& line) const;

  std::map<std::string, ExpectedConfig, std::less<>> expected_;
  bool learns_ = false;
  std::string called_;  // the route, in words
  std::shared_ptr<LearnedSchema> learned_;
  std::vector<Wanted> wanted_;
  std::size_t absent_ = 0;
  std::array<std::uint64_t, 4> counts_{};
  Ears ears_;
};

}  // namespace millrace
