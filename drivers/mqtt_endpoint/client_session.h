// What the endpoint remembers of a client between its connections: the QoS 2 messages stored and not yet
// released (MQTT 5, section 4.3.3), and enough of the last messages to know a QoS 1 message that comes again.
// Saved in the commit that stores the messages it speaks of, so that it is true after a crash. Pure.
//
// A QoS 1 redelivery is recognised only where that is safe: the client has shown that it counts its packet
// identifiers up one by one for longer than it ever had messages unacknowledged, so that an identifier of the
// last of these can be no other message; and a 16-bit digest of topic and payload agrees. Clients that use
// identifiers otherwise are served at least once.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace millrace {

class ClientSession {
 public:
  static constexpr std::size_t window_max = 1024;  // messages that are remembered, at most

  // ---- QoS 2: PUBLISH holds an identifier until PUBREL lets it go. All 65,535 may be held: 3.1.1 knows no
  // receive maximum.
  bool holds(std::uint16_t id) const;
  void hold(std::uint16_t id);
  bool release(std::uint16_t id);  // false: not held
  std::size_t held() const { return held_; }

  // ---- QoS 1 and 2: a message was stored while `unacknowledged` were, itself among them.
  void note(std::uint16_t id, std::uint16_t digest, std::size_t unacknowledged);
  // Whether this is a message that was noted before.
  bool knows(std::uint16_t id, std::uint16_t digest) const;

  std::uint32_t expiry_seconds = 0;  // UINT32_MAX: never
  // When its client left, in the time that has passed for the log; nothing: it is connected, or was when this
  // was saved.
  std::optional<std::int64_t> left_at_us;

  Bytes encode() const;
  // Bytes it takes, about.
  std::size_t memory() const {
    return sizeof *this + 2 * few_.capacity() + 8 * bits_.capacity() + 2 * digests_.capacity();
  }
  // Nothing for bytes that are no session.
  static std::optional<ClientSession> decode(BytesView bytes);

 private:
  bool bit(std::uint16_t id) const { return bits_[id / 64u] >> (id % 64u) & 1u; }
  std::size_t remembered() const;
  void widen(std::size_t window);

  static constexpr std::size_t few_max = 1024;        // identifiers that are kept as a list
  static constexpr std::size_t words_of_bits = 1024;  // of 64 bits, for more: 8 KiB, however many there are

  std::size_t held_ = 0;
  std::vector<std::uint16_t> few_;      // ascending; empty while `bits_` is not
  std::vector<std::uint64_t> bits_;     // bit n of word n / 64: identifier n
  std::uint16_t last_ = 0;              // identifier noted last; 0: none
  std::uint32_t run_ = 0;               // how many were counted up one by one, `last_` the latest
  std::vector<std::uint16_t> digests_;  // a ring as long as the widest window seen
  std::size_t next_ = 0;                // where the next digest goes
};

std::uint16_t message_digest(std::string_view topic, BytesView payload);

}  // namespace millrace
