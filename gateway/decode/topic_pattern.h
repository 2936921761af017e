// Topic patterns with named levels: "plant/{line}/{device}/telemetry", "+" for a level nobody names, and at
// the end "#" or "{rest...}" for all that follows. As MQTT filters (MQTT 5, section 4.7), levels beginning
// with $ match only literally.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace millrace {

// What the named levels of a pattern matched. Views into the topic. Made for each message: a few names cost
// no allocation.
class TopicMatch {
 public:
  std::string_view value(std::string_view name) const;
  bool has(std::string_view name) const;
  void clear();
  void add(std::string_view name, std::string_view value) {
    if (few_used_ < few_.size()) few_[few_used_++] = {name, value};
    else more_.emplace_back(name, value);
  }

 private:
  using Level = std::pair<std::string_view, std::string_view>;
  const Level* find(std::string_view name) const;
  std::array<Level, 8> few_;
  std::size_t few_used_ = 0;
  std::vector<Level> more_;
};

class TopicPattern {
 public:
  static Result<TopicPattern> parse(std::string_view pattern);
  bool matches(std::string_view topic, TopicMatch& match) const;
  std::string filter() const;  // as an MQTT topic filter
  bool names(std::string_view level) const;
  // Templates may use it, though no level is called so: a format gives its value.
  void also_names(std::string name) { others_.push_back(std::move(name)); }

 private:
  struct Level {
    enum Kind { literal, one, rest } kind;
    std::string text;  // the literal, or the name
  };
  std::vector<Level> levels_;
  std::vector<std::string> others_;
};

// "{line}-{device}": literals and names of levels. Of formats whose payloads have members also
// "{.model}-{.id}": what a path (json_path.h) finds in the message; "{$.gw}" at the root of the payload,
// "{^.id}" above the list of `each`, "{@key}".
class Template {
 public:
  // `invalid` when a name is none of `pattern`'s levels; {input} is always known. With `publisher_known` so
  // are {client_id}, {username}, {subject} and {property.NAME}, which render() then finds in its match.
  static Result<Template> parse(std::string_view text, const TopicPattern& pattern,
                                bool publisher_known = false);
  // The paths into the payload that it needs, in order; of two equal ones both.
  const std::vector<std::string>& members() const { return members_; }
  bool constant() const { return parts_.empty() || (parts_.size() == 1 && parts_[0].kind == Part::literal); }
  // `members`: what was found of members(), in their order.
  void render(const TopicMatch& match, std::string_view input, std::string& out,
              std::span<const std::string_view> members = {}) const;

 private:
  struct Part {
    enum Kind { literal, level, member, input } kind;
    std::string text;
  };
  std::vector<Part> parts_;
  std::vector<std::string> members_;
};

// Whether `name` says something of the publisher: client_id, username, subject, property.NAME.
bool names_publisher(std::string_view name);

}  // namespace millrace
