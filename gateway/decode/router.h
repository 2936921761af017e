// From arrivals of one input to records: the first route whose topic matches names the device, the tags and
// the format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decode/payload_format.h"
#include "decode/topic_pattern.h"

namespace millrace {

struct FormatKind;

class Router {
 public:
  // Compiles the routes; `invalid` with what is wrong with which.
  static Result<Router> make(const std::vector<RouteConfig>& routes);

  // Appends the records of `arrival`, as far as it is good: what of it could not be read is in `unread`.
  // `invalid` (no route, the payload is not what the format expects, or nothing of it could be read): `out`
  // is as it was. Records without a time of their own carry the arrival's, as trusted as the arrival says.
  // With `arrival.only`, which values are wanted: their readings and no others, and `unread.missing` is
  // within it.
  // `remembered`: of the input, where remembers(); without it nothing is known of earlier payloads.
  Status decode(const Arrival& arrival, std::vector<Record>& out, Unread& unread,
                Remembered* remembered = nullptr) const;
  // Whether a format of the routes has a memory.
  bool remembers() const;
  // Adds the memories that are missing, empty; the names of those it added.
  std::vector<std::string> add_memories(Remembered& remembered) const;
  // Who hears what the routes' schemas count and tell; and how many wanted members have never come.
  void listen(const RouteJudge::Ears& ears) const;
  std::size_t absent() const;
  // What the judges of the routes saw, a route each that has one.
  std::vector<const RouteJudge*> judges() const;
  // MQTT topic filters that cover the routes.
  std::vector<std::string> filters() const;

 private:
  struct Route {
    bool any_topic = false;  // serial inputs have no topics
    TopicPattern pattern;
    Template device;
    std::vector<std::string> tags;
    Tags fixed_tags;
    std::size_t tags_bytes = 0;                               // of all names, and of the fixed values
    std::vector<std::pair<std::string, Template>> made_tags;  // of fixed_tags, what depends on the topic
    std::string content_type;
    bool ignore = false, keep_good = true;
    bool device_of_payload = false;            // the format names the device
    bool of_publisher = false;                 // device or tags speak of the publisher
    bool conditional = false;                  // what it takes nothing of goes on to the next one
    bool special = false;                      // conditional, or with a memory
    RouteJudge* judge = nullptr;               // of its format, where that looks at readings
    std::shared_ptr<const ReportRules> rules;  // null: it says no more of its readings
    const FormatKind* kind = nullptr;
    std::unique_ptr<PayloadFormat> format;
    std::string learned;  // likewise of what is learned of its metrics
    std::string memory;   // by which name its memory is kept; empty: it has none
  };
  static Result<Route> compile(const RouteConfig& config);
  static Status compile_tags(const RouteConfig& config, Route& route);
  static Status name_prototype(const Route& route, const TopicMatch& match, const Arrival& arrival,
                               Record& prototype);
  static Status decode_special(const Route& route, const Payload& payload, std::vector<Record>& out,
                               Unread& unread, Remembered* remembered);
  static void learn_into(const Route& route, Remembered& remembered, std::vector<std::string>& added);
  static bool passes(const Status& status, std::size_t entered, Unread& unread);
  static bool matches(const Route& route, const Arrival& arrival, TopicMatch& match);
  static Status decode_by(const Route& route, TopicMatch& match, const Arrival& arrival,
                          std::span<const ValueRun> left, std::vector<Record>& out, Unread& unread,
                          Remembered* remembered);
  bool decode_left(std::size_t taker, const Arrival& arrival, std::vector<Record>& out, Unread& unread,
                   Remembered* remembered) const;
  static void settle(const Route& route, const Arrival& arrival, const Status& status, std::size_t before,
                     const std::vector<Record>& out, const Unread& unread);
  static void settle_absent(const Route& route, const Status& status, Unread& unread);
  static Status judge(bool keep_good, const Arrival& arrival, Status status, std::size_t before,
                      std::vector<Record>& out, Unread& unread);
  std::vector<Route> routes_;
};

}  // namespace millrace
