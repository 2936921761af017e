// Whether what comes on a line that is open can be read. Noise at a wrong speed, another framing than the
// device's, frames that are longer than frame_max, a device that does not answer: the port is open, and no
// reading will ever come of it. Counts since the last whole frame; a single bad frame, or a request that was
// lost on the line, is no trouble. Pure; on the loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

class Hearing {
 public:
  Hearing(std::string_view framing, std::size_t frame_max, const std::vector<std::string>& requests);

  void opened();  // another device may be there
  // Bytes of no frame, and frames whose check was wrong, or a byte of them.
  void lost(Instant now, std::uint64_t bytes, std::uint64_t bad_frames);
  void frame();
  void answered(std::size_t request) { asked_.at(request) = {{}, 0, true}; }
  void unanswered(std::size_t request, WallTime asked_at);

  // What is wrong, in words for whoever commissions it; empty: nothing that is known.
  std::string trouble(Instant now) const;

 private:
  static constexpr std::uint64_t bytes_least = 256, bad_first = 3, bad_later = 20, lost_answers = 3;
  static constexpr Duration first_frame_within = std::chrono::seconds(12);  // meters speak every ten

  struct Asked {
    std::optional<WallTime> since;  // of the first request that nobody answered
    std::uint64_t times = 0;
    bool ever = false;
  };
  std::string of_bytes(Instant now) const;
  std::string of_answers() const;

  const std::string framing_;
  const std::size_t frame_max_;
  const std::vector<std::string> requests_;
  std::vector<Asked> asked_;
  std::uint64_t bytes_ = 0, bad_ = 0;
  std::optional<Instant> since_;  // of the first byte that was lost
  bool ever_ = false;             // a frame came since it was opened
};

// What comes behind `echo`, a request that the adapter gives back: takes off both what came of it; what is
// something else ends it.
BytesView behind_echo(std::string& echo, BytesView bytes);

// Whether a frame is no more than the request, which an adapter gives back, and no answer.
bool came_back(BytesView frame, std::string_view request);

// A request as it is shown, and as routes know the answers to it: "S" of "S\r\n".
std::string request_name(std::string_view request);

}  // namespace millrace
