// A record as a JSON object of the user's own: each member is a constant, or text with {names} in it. A
// member that is one name and nothing else has that thing's own type: {value} is a number where the reading
// is one, a window's mean, a loss's count. "a.b" is a member of a member. What comes out is JSON, whatever
// the record has in it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "record/record.h"
#include "record/record_proto.h"

namespace millrace {

class JsonTemplate {
 public:
  using Members = std::vector<std::pair<std::string, std::string>>;
  // {device} {metric} {value} {unit} {quality} {time} (as text) {time_us} {time_ms} {time_s} {gateway}
  // {epoch} {sequence} {lane} {kind} {tag.NAME}; of windows {window} {end} {end_ms} {count} {min} {max}
  // {revision} {stat.NAME}: of what is none an empty text, alone null. `invalid`, with words for whoever
  // wrote it.
  static Result<JsonTemplate> parse(const Members& members);
  bool empty() const { return nodes_.empty(); }
  // Appends the object; no line end.
  void render(const Identity& identity, Lane lane, const Record& record, std::string& out) const;

 private:
  enum class Name : std::uint8_t {
    literal,
    device,
    metric,
    value,
    unit,
    quality,
    time,
    time_us,
    time_ms,
    time_s,
    gateway,
    epoch,
    sequence,
    lane,
    kind,
    window,
    end,
    end_ms,
    count,
    min,
    max,
    revision,
    stat,
    tag
  };
  struct Part {
    Name name;
    std::string text;  // a literal, or the name of the tag or aggregate
  };
  struct Node {
    std::string key;
    std::vector<Part> parts;
    std::vector<Node> nodes;  // an object, where there are any
  };
  struct Moment {
    const Identity& identity;
    Lane lane;
    const Record& record;
  };
  static Result<std::vector<Part>> parts_of(std::string_view source);
  static Status put(std::vector<Node>& nodes, std::string_view path, std::vector<Part> parts);
  static void write(const std::vector<Node>& nodes, const Moment& moment, JsonWriter& json);
  static void write_typed(const Part& part, const Moment& moment, JsonWriter& json);
  static Value window_value(const Part& part, const Record& record);
  static std::string words_of(const Part& part, const Moment& moment);

  std::vector<Node> nodes_;
};

}  // namespace millrace
