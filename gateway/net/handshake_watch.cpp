#include "net/handshake_watch.h"

namespace millrace {

void HandshakeWatch::push(BytesView bytes) {
  for (const std::byte byte : bytes) {
    if (over_) return;
    take(static_cast<std::uint8_t>(byte));
  }
}

// A record is type, version (2), length (2); a handshake message type, length (3). Messages may be split over
// records.
void HandshakeWatch::take(std::uint8_t byte) {
  if (record_left_ == 0) {
    header_[header_size_++] = byte;
    if (header_size_ < record_header) return;
    header_size_ = 0;
    record_left_ = static_cast<std::size_t>(header_[3]) << 8 | header_[4];
    over_ = header_[0] ==
            static_cast<std::uint8_t>(ContentType::change_cipher_spec);  // what follows is encrypted
    return;
  }
  --record_left_;
  if (header_[0] != static_cast<std::uint8_t>(ContentType::handshake)) return;
  if (message_left_ > 0) {
    --message_left_;
    return;
  }
  message_[message_size_++] = byte;
  if (message_size_ < message_header) return;
  message_size_ = 0;
  message_left_ =
      static_cast<std::size_t>(message_[1]) << 16 | static_cast<std::size_t>(message_[2]) << 8 | message_[3];
  requested_ |= message_[0] == certificate_request;
}

}  // namespace millrace
