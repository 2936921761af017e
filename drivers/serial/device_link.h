// Which frames of microcontrollers are new, and what they may be told (proto/device_frame.proto). Every
// stream is taken in the order of its numbers: what comes twice is known, what comes too early is not taken,
// for the device sends again from the oldest frame that nobody acknowledged. What is accepted moves with the
// frames' records in one commit, and is told the device when that is on the disk: a frame is neither lost nor
// stored twice. Pure; on the loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "decode/device_frame.h"

namespace millrace {

class DeviceLink {
 public:
  static constexpr std::size_t streams_max = 32;  // beyond, the one that was silent longest is forgotten

  enum class Verdict : std::uint8_t {
    fresh,  // to be stored; then accepted()
    known,  // stored before
    early   // not before those that lie between
  };
  // `missed`: frames that the device gave up before anybody had them; only of a fresh one.
  Verdict judge(const DeviceFrame& frame, std::uint64_t& missed) const;
  // It was taken. The stream that had to go for it, if one had to.
  std::optional<std::uint32_t> accepted(const DeviceFrame& frame);
  // What was accepted so far is in the commit `ticket`.
  void committed(std::uint64_t ticket);
  // All up to this commit is on the disk. The streams that can be told more than before.
  std::vector<std::uint32_t> durable(std::uint64_t through);
  // What a stream can be told; 0: nothing yet.
  std::uint32_t told(std::uint32_t stream) const;

  // A stream as it is kept, and back: bytes of another version are of no stream.
  Bytes saved(std::uint32_t stream) const;
  void load(std::uint32_t stream, BytesView saved);

 private:
  struct Stream {
    std::uint32_t accepted = 0, durable = 0;
    std::uint64_t turn = 0;  // when it was last heard: a count, kept with it
    std::vector<std::pair<std::uint64_t, std::uint32_t>> pending;  // commit, and what it makes durable
  };
  std::map<std::uint32_t, Stream> streams_;
  std::uint64_t turn_ = 0;
};

}  // namespace millrace
