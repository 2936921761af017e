// How a meter of IEC 62056-21 is asked in mode C (section 6.3 and 6.4): the request "/?!" at 300 baud, the
// meter's identification "/XXXZ...", whose Z says how fast it can speak, an acknowledgement that chooses that
// speed for a data readout, and from then on both speak at it. Mode B's letters name a speed that the meter
// takes without being asked; with none of both (mode A) nothing changes. Pure; deaf to how the stream is cut.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace millrace {

class SignOn {
 public:
  struct Answer {
    std::string acknowledgement;  // to be sent at the old speed; empty: none
    int baud = 0;                 // from then on; 0: as it is
  };
  static constexpr std::size_t identification_max = 64;  // 5 to 23 characters as the standard has it

  // A request was sent: the identification comes next.
  void begin() {
    line_.clear();
    waiting_ = true;
  }
  void end() { waiting_ = false; }
  bool waiting() const { return waiting_; }
  // Takes from the front of `bytes` what belongs to the identification; it is whole when there is an answer.
  std::optional<Answer> push(BytesView bytes, std::size_t& taken);

 private:
  std::string line_;
  bool waiting_ = false;
};

// What the identification ("/ABC5...", without the line's end) asks for.
SignOn::Answer sign_on_answer(std::string_view identification);

}  // namespace millrace
