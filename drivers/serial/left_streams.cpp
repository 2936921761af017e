#include "drivers/serial/left_streams.h"

#include "base/logger.h"
#include "base/text.h"
#include "drivers/serial/acknowledger.h"

namespace millrace {
namespace {

constexpr std::string_view since_prefix = "left-serial/";

std::string place_of(const std::string& input) { return text("serial input ", input); }

}  // namespace

void LeftStreams::find(const Present& present, const std::map<std::string, Kept>& before) {
  std::map<std::string, std::vector<std::string>> left;  // by input
  for (std::string& state : intake_.states(Acknowledger::prefix)) {
    std::string input(Acknowledger::input_of(state));
    if (!present.claims.contains(Acknowledger::claim(input)))
      left[std::move(input)].push_back(std::move(state));
  }
  for (const std::string& since : intake_.states(since_prefix)) {
    if (!left.contains(since.substr(since_prefix.size()))) remove(since);
  }
  for (const auto& [input, states] : left) look_at(input, states, before.contains(place_of(input)));
}

void LeftStreams::look_at(const std::string& input, const std::vector<std::string>& states, bool told) {
  const std::string since = text(since_prefix, input);
  const Duration left = left_since(since);
  if (left.count() > 0) {
    kept_[place_of(input)] = {states.size(), left};
    if (!told)
      LOG_WARN("input ", input, " acknowledges no devices any more; how far their streams were taken (",
               states.size(), ") is kept for ", format_duration(left), ", for an input of this name");
    return;
  }
  for (const std::string& state : states) remove(state);
  remove(since);
  LOG_INFO("input ", input,
           ", which acknowledged devices, is gone for too long; how far their streams were taken (",
           states.size(), ") is forgotten");
}

}  // namespace millrace
