#include "cli/command.h"

#include <cmath>
#include <cstdlib>

#include "base/text.h"

namespace millrace::command_detail {

namespace {

// "--lane" of an option, "NUMBER" of an operand.
std::string spelled(const Option& option) {
  if (!option.operand) return text("--", option.name);
  std::string_view name = option.name;
  if (name.starts_with('[')) name = name.substr(1, name.size() - 2);
  return std::string(name);
}

std::string in_words(const std::vector<std::string_view>& known) {
  std::string list;
  for (const std::string_view word : known) list += text(list.empty() ? "" : ", ", word);
  return list;
}

}  // namespace

std::string take_text(const Option& option, std::string& to, std::string_view said) {
  const auto known = split(option.choices, '|');
  bool fits = option.choices.empty();
  for (const std::string_view word : known) fits = fits || word == said;
  if (!fits) {
    const std::string_view nearest = nearest_word(said, known);
    return text(spelled(option), ": there is no \"", said, "\"; ",
                nearest.empty() ? "there are " + in_words(known) : text("did you mean ", nearest, "?"));
  }
  to = said;
  return {};
}

std::string take_number(const Option& option, double& to, std::string_view said) {
  const std::string copy(said);
  char* end = nullptr;
  to = std::strtod(copy.c_str(), &end);
  if (copy.empty() || *end != '\0' || !std::isfinite(to) || to <= 0)
    return text(spelled(option), ": \"", said, "\" is not a positive number");
  return {};
}

std::string take_whole(const Option& option, std::uint64_t& to, std::string_view said) {
  const auto parsed = std::from_chars(said.data(), said.data() + said.size(), to);
  if (parsed.ec != std::errc{} || parsed.ptr != said.data() + said.size() || to < option.least ||
      to > option.most)
    return text(spelled(option), ": \"", said, "\" is not a number from ", option.least, " to ", option.most);
  return {};
}

std::string take_duration(const Option& option, Duration& to, std::string_view said) {
  const auto duration = parse_duration(said);
  if (!duration || duration->count() <= 0)
    return text(spelled(option), ": \"", said, "\" is not a duration, like 5min");
  to = *duration;
  return {};
}

}  // namespace millrace::command_detail
