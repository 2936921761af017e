// The answer of a meter on wired M-Bus that needs more than one telegram (EN 13757-3: DIF 1F, more records
// follow): it is asked again by the same request with its frame count bit turned (EN 13757-2: the same bit
// would have the last telegram said again), until a telegram says no more. What came is one frame: the head
// of the first, and the records of all, so that it is read as a whole and has one time. Meters that a request
// has selected by their number (address 253) are told apart by it, for they may all have address 0. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "decode/framer.h"

namespace millrace {

// The sum that a short frame (10, control, address, sum, 16) must have, where it has another; nothing: it is
// right, or the bytes are none.
std::optional<std::uint8_t> mbus_sum_missed(std::string_view request);
constexpr std::uint8_t mbus_selected = 253;  // the address of the meter that was selected by its number
// Which meter a REQ_UD2 asks; nothing: the bytes are none.
std::optional<std::uint8_t> mbus_meter_asked(std::string_view request);

class MbusAnswer {
 public:
  struct Gathered {
    Bytes bytes;
    std::string channel;
    bool cut = false;  // there would have been more: too many telegrams, or the next did not come
  };

  // A request was sent. Only the answer to REQ_UD2 (10 7B, or 5B, address, sum, 16) is gathered.
  void begin(std::string_view request, std::size_t telegrams_max);
  // Forgets what there is.
  void reset() { *this = MbusAnswer(); }
  // False: the frame is no part of it (another meter's, another kind), or nothing is gathered.
  bool take(const Framer::Frame& frame);
  // What asks for the telegram after the one that was taken; empty: nothing is to be sent. Says it once.
  std::string next_request() { return std::exchange(next_, {}); }
  // The answer once it is whole; `over`: what there is of it, for nothing more comes. Gives it once.
  std::optional<Gathered> done(bool over = false);

 private:
  std::string request_, next_;
  std::size_t telegrams_max_ = 0, telegrams_ = 0;
  Gathered gathered_;
  std::string from_;  // whose telegrams
  Bytes last_;        // records of the telegram before
  bool whole_ = false;
};

}  // namespace millrace
