#include "decode/json_path.h"

#include <charconv>
#include <cstring>

#include "base/text.h"

namespace millrace {
namespace {

// Whether there is a dot or a [ among eight characters.
bool has_special(std::uint64_t eight) {
  constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
  const std::uint64_t dots = eight ^ ('.' * ones), brackets = eight ^ ('[' * ones);
  return (((dots - ones) & ~dots) | ((brackets - ones) & ~brackets)) & tops;
}

Status wrong(std::string_view path, std::string_view what) {
  return {Code::invalid, text("path \"", path, "\"", what)};
}

// A quoted name, as in TOML: between ' as it is, between " with \" and \\.
Status take_quoted(std::string_view whole, std::string_view& rest, std::string& name) {
  const char quote = rest.front();
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      rest.remove_prefix(i + 1);
      return {};
    }
    if (quote == '"' && rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\'))
      ++i;
    name += rest[i];
  }
  return wrong(whole, text(": the ", quote, " has no second"));
}

Status take_bracket(std::string_view whole, std::string_view& rest, PathStep& step) {
  const std::size_t close = rest.find(']');
  if (close == std::string_view::npos) return wrong(whole, ": the [ has no ]");
  const std::string_view digits = rest.substr(1, close - 1);
  step.kind = digits.empty() ? PathStep::each_element : PathStep::index;
  if (!digits.empty()) {
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), step.number);
    if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size() || step.number < 0) {
      std::string name;
      append_step(name, text("[", digits, "]"));
      return wrong(whole,
                   text(": [", digits, "] is no index; a name with brackets stands in quotes: ", name));
    }
  }
  rest.remove_prefix(close + 1);
  return {};
}

Status take_name(std::string_view whole, std::string_view& rest, PathStep& step) {
  if (rest.front() == '\'' || rest.front() == '"') return take_quoted(whole, rest, step.text);
  const std::size_t end = std::min(rest.find_first_of(".["), rest.size());
  if (end == 0) return wrong(whole, " has an empty name (a name with a dot stands in quotes: 'a.b')");
  step.text = rest.substr(0, end);
  if (step.text == "*") step = {PathStep::each_member, "", 0};
  rest.remove_prefix(end);
  return {};
}

}  // namespace

// Asked for each value of a payload whose route names no metrics.
bool needs_quotes(std::string_view name) {
  if (name.empty()) return true;
  const char* at = name.data();
  std::uint64_t eight = 0;
  if (name.size() >= 8) {
    for (std::size_t i = 0; i + 8 < name.size(); i += 8) {
      std::memcpy(&eight, at + i, 8);
      if (has_special(eight)) return true;
    }
    std::memcpy(&eight, at + name.size() - 8, 8);
  } else if (name.size() >= 4) {
    std::uint32_t head, tail;
    std::memcpy(&head, at, 4);
    std::memcpy(&tail, at + name.size() - 4, 4);
    eight = static_cast<std::uint64_t>(tail) << 32 | head;
  } else {
    for (const char c : name) eight = eight << 8 | static_cast<unsigned char>(c);
  }
  if (has_special(eight)) return true;
  const char first = name.front();
  if (first >= 'a' || (first >= 'A' && first <= 'Z')) return false;
  return first == '\'' || first == '"' || name == "*" || name == "@" || name == "@key" || name == "$" ||
         name == "^";
}

Result<JsonPath> parse_json_path(std::string_view path) {
  JsonPath out;
  std::string_view rest = path;
  if (rest.empty()) return Status{Code::invalid, "an empty path"};
  if (rest == "@key") {
    out.from = JsonPath::key;
    return out;
  }
  if (rest == "@") return out;
  for (const auto& [sign, from] : {std::pair{'$', JsonPath::root}, std::pair{'^', JsonPath::parent}}) {
    if (rest.front() != sign || (rest.size() > 1 && rest[1] != '.' && rest[1] != '[')) continue;
    out.from = from;
    rest.remove_prefix(rest.size() > 1 && rest[1] == '.' ? 2 : 1);
    if (path.ends_with('.') && rest.empty()) return wrong(path, " ends with a dot");
    break;
  }
  while (!rest.empty()) {
    PathStep step;
    if (Status status = rest.front() == '[' ? take_bracket(path, rest, step) : take_name(path, rest, step);
        !status.ok())
      return status;
    out.steps.push_back(std::move(step));
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      if (rest.empty()) return wrong(path, " ends with a dot");
    } else if (!rest.empty() && rest.front() != '[') {
      return wrong(path, text(": a dot belongs before \"", rest, "\""));
    }
  }
  if (out.steps.size() > static_cast<std::size_t>(path_steps_max)) return wrong(path, " is too deep");
  return out;
}

Result<std::vector<PathStep>> parse_each(std::string_view each) {
  const bool itself = each.ends_with("{}");
  auto path = parse_json_path(itself ? each.substr(0, each.size() - 2) : each);
  if (!path.ok()) return path.status();
  if (path.value().from != JsonPath::message && path.value().from != JsonPath::root)
    return Status{Code::invalid, text("each = \"", each, "\": not a list")};
  std::vector<PathStep> steps = std::move(path.value().steps);
  if (itself && steps.empty()) return Status{Code::invalid, text("each = \"", each, "\": not a member")};
  if (!itself && (steps.empty() || !steps.back().every())) steps.push_back({PathStep::each_element, "", 0});
  return steps;
}

void append_step(std::string& path, std::string_view name) {
  if (path.empty() && name.empty()) return;  // no name: the door says so
  if (!path.empty()) path += '.';
  if (!needs_quotes(name)) {
    path += name;
  } else if (name.find('\'') == std::string_view::npos) {
    path += '\'';
    path += name;
    path += '\'';
  } else {
    path += '"';
    for (const char c : name) {
      if (c == '"' || c == '\\') path += '\\';
      path += c;
    }
    path += '"';
  }
}

void append_index(std::string& path, std::int64_t index) { path += text("[", index, "]"); }

}  // namespace millrace
