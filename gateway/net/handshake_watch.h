// Looks at what a server sends in clear during a handshake of TLS 1.2 (RFC 5246) for one thing that the
// library does not tell: whether it asked for a certificate of ours. What a server then refuses is that; what
// it refuses without having asked is not.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace millrace {

class HandshakeWatch {
 public:
  void push(BytesView bytes);
  bool certificate_requested() const { return requested_; }

 private:
  enum class ContentType : std::uint8_t { change_cipher_spec = 20, alert = 21, handshake = 22 };
  static constexpr std::uint8_t certificate_request = 13;  // RFC 5246, section 7.4
  static constexpr std::size_t record_header = 5, message_header = 4;

  void take(std::uint8_t byte);

  std::uint8_t header_[record_header] = {}, message_[message_header] = {};
  std::size_t header_size_ = 0, message_size_ = 0;
  std::size_t record_left_ = 0, message_left_ = 0;
  bool requested_ = false, over_ = false;
};

}  // namespace millrace
