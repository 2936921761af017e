#include "decode/topic_pattern.h"

#include <algorithm>
#include <cstring>

#include "base/braces.h"
#include "base/text.h"
#include "base/topic_filter.h"

namespace millrace {

const TopicMatch::Level* TopicMatch::find(std::string_view name) const {
  for (std::size_t i = 0; i < few_used_; ++i) {
    if (few_[i].first == name) return &few_[i];
  }
  for (const Level& level : more_) {
    if (level.first == name) return &level;
  }
  return nullptr;
}

std::string_view TopicMatch::value(std::string_view name) const {
  const Level* level = find(name);
  return level ? level->second : std::string_view{};
}

bool TopicMatch::has(std::string_view name) const { return find(name) != nullptr; }

void TopicMatch::clear() {
  few_used_ = 0;
  more_.clear();
}

Result<TopicPattern> TopicPattern::parse(std::string_view pattern) {
  TopicPattern out;
  if (pattern.empty()) return Status{Code::invalid, "a topic pattern is empty"};
  const auto levels = split(pattern, '/');
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::string_view level = levels[i];
    const bool last = i + 1 == levels.size();
    Level parsed{Level::literal, std::string(level)};
    if (level == "+") {
      parsed = {Level::one, ""};
    } else if (level == "#") {
      parsed = {Level::rest, ""};
    } else if (level.starts_with('{') && level.ends_with('}')) {
      std::string_view name = level.substr(1, level.size() - 2);
      const bool rest = name.ends_with("...");
      if (rest) name.remove_suffix(3);
      if (name.empty() || name.find_first_of("{}+#") != std::string_view::npos)
        return Status{Code::invalid, text("\"", level, "\" is no level name")};
      if (out.names(name)) return Status{Code::invalid, text("the level {", name, "} is named twice")};
      parsed = {rest ? Level::rest : Level::one, std::string(name)};
    } else if (level.find_first_of("{}+#") != std::string_view::npos) {
      return Status{Code::invalid, text("\"", level, "\": a name or wildcard takes a whole level")};
    }
    if (parsed.kind == Level::rest && !last)
      return Status{Code::invalid, text("\"", level, "\" must be the last level")};
    out.levels_.push_back(std::move(parsed));
  }
  if (Status status = check_topic_filter(out.filter()); !status.ok()) return status;
  return out;
}

bool TopicPattern::names(std::string_view level) const {
  for (const Level& l : levels_) {
    if (l.kind != Level::literal && !l.text.empty() && l.text == level) return true;
  }
  return std::find(others_.begin(), others_.end(), level) != others_.end();
}

bool TopicPattern::matches(std::string_view topic, TopicMatch& match) const {
  match.clear();
  const char* const begin = topic.empty() ? "" : topic.data();
  const char* const end = begin + topic.size();
  const char* at = begin;
  const auto upto = [&at](const char* to) { return std::string_view(at, static_cast<std::size_t>(to - at)); };
  bool more = true;  // whether a level begins at `at`
  for (const Level& level : levels_) {
    if (level.kind == Level::rest) {
      if (!level.text.empty()) match.add(level.text, more ? upto(end) : std::string_view{});
      return at > begin || !topic.starts_with('$');
    }
    if (!more) return false;
    const std::size_t left = static_cast<std::size_t>(end - at);
    const char* slash = end;
    if (level.kind == Level::literal) {
      const std::size_t size = level.text.size();
      if (left < size || std::memcmp(at, level.text.data(), size) != 0) return false;
      slash = at + size;
      if (slash != end && *slash != '/') return false;
    } else {
      if (at == begin && topic.starts_with('$')) return false;
      if (const void* found = std::memchr(at, '/', left)) slash = static_cast<const char*>(found);
      if (!level.text.empty()) match.add(level.text, upto(slash));
    }
    more = slash != end;
    at = more ? slash + 1 : slash;
  }
  return !more;
}

std::string TopicPattern::filter() const {
  std::string out;
  for (const Level& level : levels_) {
    if (!out.empty() || &level != &levels_.front()) out += '/';
    out += level.kind == Level::literal ? level.text : level.kind == Level::one ? "+" : "#";
  }
  return out;
}

bool names_publisher(std::string_view name) {
  return name == "client_id" || name == "username" || name == "subject" ||
         (name.starts_with("property.") && name.size() > 9);
}

Result<Template> Template::parse(std::string_view source, const TopicPattern& pattern, bool publisher_known) {
  Template out;
  const auto literal = [&out](std::string_view words) {
    out.parts_.push_back({Part::literal, std::string(words)});
  };
  const auto named = [&](std::string_view name) -> Status {
    if (!name.empty() && std::string_view(".$^@").find(name.front()) != std::string_view::npos) {
      out.parts_.push_back({Part::member, ""});
      out.members_.emplace_back(name.substr(name.front() == '.' ? 1 : 0));
      return {};
    }
    if (name != "input" && !pattern.names(name) && !(publisher_known && names_publisher(name))) {
      return {Code::invalid,
              text("the topic has no level {", name, "} (a member of the payload is {.", name, "})")};
    }
    const bool of_input = name == "input" && !pattern.names(name);
    out.parts_.push_back({of_input ? Part::input : Part::level, std::string(name)});
    return {};
  };
  if (Status status = walk_braces(source, literal, named); !status.ok()) return status;
  return out;
}

void Template::render(const TopicMatch& match, std::string_view input, std::string& out,
                      std::span<const std::string_view> members) const {
  out.clear();
  std::size_t member = 0;
  for (const Part& part : parts_) {
    if (part.kind == Part::literal) out += part.text;
    else if (part.kind == Part::member) out += members[member++];
    else if (part.kind == Part::input) out += input;
    else out += match.value(part.text);
  }
}

}  // namespace millrace
