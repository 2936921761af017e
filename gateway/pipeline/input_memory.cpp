#include "pipeline/input_memory.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string_view InputMemory::input_of(std::string_view state) {
  if (!state.starts_with(prefix)) return {};
  state.remove_prefix(prefix.size());
  return state.substr(0, state.find('/'));
}

InputMemory::InputMemory(Log& log, Metrics& metrics, std::string input)
    : log_(log),
      metrics_(metrics),
      input_(std::move(input)),
      replies_(metrics.counter("millrace_input_replies_total",
                               "What formats said back to devices, a request to be born anew say",
                               {{"input", input_}})),
      unsaid_(metrics.counter(
          "millrace_input_replies_dropped_total",
          "What formats wanted to say back and could not: too much in a second, or nobody connected",
          {{"input", input_}})) {
  scrape_ = metrics_.before_scrape([this] {
    for (const auto& [format, memory] : remembered_.memories) {
      for (const auto& [what, value] : memory->figures()) {
        metrics_
            .gauge("millrace_format_memory", "What the formats of an input remember",
                   {{"input", input_}, {"format", format}, {"what", what}})
            .set(value);
      }
    }
  });
}

std::string InputMemory::state_name(std::string_view format, std::string_view piece) const {
  return text(prefix, input_, "/", format, "/", piece);
}

void InputMemory::join(const Router& router) {
  for (const std::string& format : router.add_memories(remembered_)) {
    const std::string begins = state_name(format, "");
    FormatMemory& memory = *remembered_.memories[format];
    for (const std::string& name : log_.states(begins)) {
      if (const auto bytes = log_.state(name))
        memory.load(std::string_view(name).substr(begins.size()), *bytes);
    }
  }
}

bool InputMemory::changed() const {
  return std::ranges::any_of(remembered_.memories, [](const auto& one) { return one.second->changed(); });
}

void InputMemory::save(WriteSet& set) {
  for (const auto& [format, memory] : remembered_.memories) {
    if (!memory->changed()) continue;
    std::vector<FormatMemory::Piece> pieces;
    memory->save(pieces);
    for (FormatMemory::Piece& piece : pieces)
      set.states.push_back(
          {state_name(format, piece.name), std::move(piece.bytes), WriteSet::State::NoRoom::removed});
  }
}

void InputMemory::take_beside(Instant now, const std::function<void(Saying)>& say) {
  Beside& beside = remembered_.beside;
  for (const std::string& what : beside.noted) {
    metrics_
        .counter("millrace_format_notes_total", "What formats saw happen that is no reading, by its name",
                 {{"input", input_}, {"what", what}})
        .add();
  }
  for (const std::string& line : beside.warnings) LOG_WARN("input ", input_, ": ", line);
  for (Saying& reply : beside.replies) {
    if (now - second_ >= std::chrono::seconds(1)) {
      second_ = now;
      this_second_ = 0;
    }
    if (++this_second_ > replies_a_second) sent(false);
    else say(std::move(reply));
  }
  beside.noted.clear();
  beside.warnings.clear();
  beside.replies.clear();
}

void InputMemory::sent(bool said) { (said ? replies_ : unsaid_).add(); }

}  // namespace millrace
