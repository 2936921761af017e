#include "drivers/serial/hearing.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

// As the configuration has it, or nearly.
std::string as_written(std::string_view request) {
  std::string out = shown(request, 40);
  for (const auto& [hex, letter] : {std::pair{"\\x0d", "\\r"}, std::pair{"\\x0a", "\\n"}}) {
    for (std::size_t at = 0; (at = out.find(hex, at)) != std::string::npos; at += 2)
      out.replace(at, 4, letter);
  }
  return out;
}

}  // namespace

Hearing::Hearing(std::string_view framing, std::size_t frame_max, const std::vector<std::string>& requests)
    : framing_(framing), frame_max_(frame_max), requests_(requests), asked_(requests.size()) {}

void Hearing::opened() {
  frame();
  ever_ = false;
}

void Hearing::lost(Instant now, std::uint64_t bytes, std::uint64_t bad_frames) {
  if (bytes + bad_frames > 0 && !since_) since_ = now;
  bytes_ += bytes;
  bad_ += bad_frames;
}

void Hearing::frame() {
  bytes_ = bad_ = 0;
  since_.reset();
  ever_ = true;
}

void Hearing::unanswered(std::size_t request, WallTime asked_at) {
  Asked& asked = asked_.at(request);
  if (!asked.since) asked.since = asked_at;
  ++asked.times;
}

std::string Hearing::trouble(Instant now) const {
  if (bad_ >= (ever_ ? bad_later : bad_first))
    return text(bad_, " frames with a wrong check", ever_ ? " since the last good one" : ", none good");
  const std::string bytes = of_bytes(now);
  return bytes.empty() ? of_answers() : bytes;
}

// A frame may be as long as frame_max, and one more may have been cut when the port was opened.
std::string Hearing::of_bytes(Instant now) const {
  const bool more_than_a_frame = bytes_ > std::max<std::uint64_t>(frame_max_ + frame_max_ / 4, bytes_least);
  const bool never = !ever_ && bytes_ >= bytes_least && since_ && now - *since_ >= first_frame_within;
  if (!more_than_a_frame && !never) return {};
  return text("no whole frame in ", bytes_, " bytes (framing = \"", framing_, "\", frame_max ", frame_max_,
              ")");
}

std::string Hearing::of_answers() const {
  std::string words;
  std::size_t others = 0;
  for (std::size_t i = 0; i < asked_.size(); ++i) {
    const Asked& asked = asked_[i];
    if (!asked.since || asked.times < (asked.ever ? lost_answers : 1)) continue;
    if (words.empty())
      words = text("no answer to request '", as_written(requests_[i]), "' since ", format_time(*asked.since));
    else ++others;
  }
  return others == 0 ? words : text(words, ", and to ", others, " more");
}

BytesView behind_echo(std::string& echo, BytesView bytes) {
  const std::string_view heard = text_of(bytes.first(std::min(bytes.size(), echo.size())));
  const auto same = static_cast<std::size_t>(std::ranges::mismatch(heard, echo).in1 - heard.begin());
  echo.erase(0, same < heard.size() ? echo.size() : same);
  return bytes.subspan(same);
}

// What ends it may be the framing's.
bool came_back(BytesView frame, std::string_view request) {
  const std::string_view words = trim(request);
  return !words.empty() && trim(text_of(frame)) == words;
}

std::string request_name(std::string_view request) {
  const std::string_view name = trim(request);
  return shown(name.empty() ? request : name, 256);
}

}  // namespace millrace
