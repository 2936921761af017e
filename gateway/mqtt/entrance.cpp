#include "mqtt/entrance.h"

#include "base/rng.h"

namespace millrace::mqtt {
namespace {

constexpr std::size_t guests_max = 16;          // the oldest leaves for one more: ours speaks at once
constexpr std::size_t connect_max = 128 << 10;  // a client id and a token of any length

std::string new_token() {
  std::byte bytes[16];
  fill_from_kernel(bytes, sizeof bytes);
  return to_hex(bytes);
}

}  // namespace

struct Entrance::Guest {
  std::unique_ptr<Stream> stream;
  Framer framer{connect_max};
};

Entrance::Entrance(Loop& loop, Admitted admitted)
    : loop_(loop), admitted_(std::move(admitted)), token_(new_token()) {}
Entrance::~Entrance() = default;

Status Entrance::open() {
  auto listener =
      loop_.listen("127.0.0.1:0", [this](std::unique_ptr<Stream> stream) { arrived(std::move(stream)); });
  if (!listener.ok()) return listener.status();
  listener_ = std::move(listener).value();
  return {};
}

void Entrance::arrived(std::unique_ptr<Stream> stream) {
  if (guests_.size() == guests_max) guests_.pop_front();
  const auto guest = guests_.insert(guests_.end(), std::make_unique<Guest>());
  (*guest)->stream = std::move(stream);
  (*guest)->stream->read([this, guest](BytesView chunk) { said(guest, chunk); });
}

void Entrance::said(Guests::iterator at, BytesView chunk) {
  Guest& guest = **at;
  Packet packet;
  Connect connect;
  const bool begins = guest.framer.memory() == 0;
  if (!chunk.empty() && (!begins || chunk[0] == std::byte{0x10})) {
    guest.framer.push(chunk);
    const Framer::Next next = guest.framer.next(packet);
    if (next == Framer::Next::more) return;
    const bool whole = next == Framer::Next::packet && packet.type == PacketType::connect;
    if (whole && parse_connect(packet, connect).ok() && connect.username && *connect.username == token_) {
      const std::unique_ptr<Guest> ours = std::move(*at);  // `packet` lies in it, also when we are gone
      listener_.reset();
      guests_.clear();
      const Admitted admitted = std::move(admitted_);
      return admitted(std::move(ours->stream), packet);
    }
  }
  guests_.erase(at);
}

}  // namespace millrace::mqtt
