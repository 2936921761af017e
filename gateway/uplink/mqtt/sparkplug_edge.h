// An edge node of Sparkplug B (specification 3.0, chapters 4 to 6): which messages a session consists of, in
// their order. A session begins with the will of its connection; then NBIRTH (seq 0), a DBIRTH for each
// device, and data by alias. Nobody's data goes before its birth: what a row brings that is new is born
// first. Messages are to be published in the order they are given; each number of the sequence is given once.
// Pure: time is passed in, nothing is sent here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "log/log.h"
#include "mqtt/packet.h"
#include "uplink/mqtt/sparkplug_book.h"
#include "uplink/mqtt/sparkplug_config.h"
#include "uplink/name_template.h"

namespace millrace {

class SparkplugEdge {
 public:
  struct Message {
    std::string topic;
    std::shared_ptr<const Bytes> payload;
  };
  using Messages = std::vector<Message>;

  // `config` was checked: its templates parse. `session`: the bdSeq of the session before; the next has one
  // more, modulo 256.
  SparkplugEdge(const SparkplugUplinkConfig& config, std::string gateway, std::uint8_t session);

  // A connection is to be made: its will. Nobody is born from here on.
  mqtt::LastWord begin(WallTime now);
  // All births. A device whose birth would be larger than `bytes_max` is left out; its records are refused.
  void births(WallTime now, std::size_t bytes_max, Messages& out);
  // What becomes of a row: births that it needs, then its data. How many of its records were passed over: a
  // record without a value is null where its metric is known, else nobody can say yet of which type. Not ok:
  // it is refused whole, for good; nothing of it is in `out`. `full`: for its size.
  Result<std::uint32_t> add(const Row& row, bool historical, WallTime now, std::size_t bytes_max,
                            Messages& out);

  std::uint8_t session() const { return session_; }
  const std::string& commands() const { return commands_; }  // the topic on which a host asks for births
  // spBv1.0/STATE/ID of the primary host, or STATE/ID; empty: nobody is waited for.
  const std::string& state_topic() const { return state_topic_; }
  edge::Book& book() { return book_; }

 private:
  // A value of a record, and which metric of the book has it.
  struct Said {
    std::string device;
    std::size_t metric = 0;
    Value value;  // std::monostate: null
    std::int64_t time_ms = 0;
    Quality quality = Quality::good;
    std::string unit;  // where it is another than the metric's
  };
  // What a message consists of, before it has its number.
  struct Body {
    std::string device;
    Bytes metrics;
  };
  std::string topic(std::string_view type, const std::string& device = {}) const;
  Status say(const Record& record, Lane lane, std::vector<Said>& out);
  Status say_one(const Record& record, const std::string& device, const std::string& name, Value value,
                 std::int64_t time_us, std::vector<Said>& out);
  std::vector<Body> bodies_of(const std::vector<Said>& said, bool historical, std::size_t bytes_max);
  void renew_aliases(const std::vector<Said>& said);
  Body birth_of(const std::string& device);
  Message told(std::string_view type, Body body, WallTime now);
  Status bear(const std::vector<Said>& said, WallTime now, std::size_t bytes_max, Messages& out);
  bool is_born(const edge::KnownDevice& device) const { return node_born_ && device.births == births_; }

  const std::string gateway_;
  const NameTemplate device_, metric_;
  std::string group_, node_, commands_, state_topic_;
  edge::Book book_;
  std::uint8_t session_, seq_ = 0;
  std::uint64_t births_ = 0;  // of the node, over all sessions: who was born under an earlier one is not
  bool node_born_ = false;
};

}  // namespace millrace
