#include "drivers/mqtt_endpoint/client_session.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace millrace {
namespace {

// Of a client that is there; as many more of one that has left.
constexpr std::uint8_t version = 1, version_with_bits = 2, versions_of_left = 2;
constexpr std::uint32_t ids = 65535;  // identifiers 1 to 65535, then 1 again
constexpr std::uint32_t run_max = 1 << 20;

std::uint32_t distance(std::uint16_t from, std::uint16_t to) {
  return (static_cast<std::uint32_t>(to) + ids - from) % ids;
}

void put(Bytes& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

std::uint32_t get(BytesView& in, int bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < bytes; ++i)
    value |= static_cast<std::uint32_t>(in[static_cast<std::size_t>(i)]) << (8 * i);
  in = in.subspan(static_cast<std::size_t>(bytes));
  return value;
}

}  // namespace

std::uint16_t message_digest(std::string_view topic, BytesView payload) {
  const std::uint64_t digest = digest64(payload, digest64(bytes_of(topic)));
  return static_cast<std::uint16_t>(digest ^ digest >> 32);
}

bool ClientSession::holds(std::uint16_t id) const {
  return bits_.empty() ? std::binary_search(few_.begin(), few_.end(), id) : bit(id);
}

void ClientSession::hold(std::uint16_t id) {
  if (holds(id)) return;
  ++held_;
  if (bits_.empty() && few_.size() < few_max) {
    few_.insert(std::lower_bound(few_.begin(), few_.end(), id), id);
    return;
  }
  if (bits_.empty()) {
    bits_.resize(words_of_bits);
    for (const std::uint16_t one : std::exchange(few_, {}))
      bits_[one / 64u] |= std::uint64_t{1} << (one % 64u);
  }
  bits_[id / 64u] |= std::uint64_t{1} << (id % 64u);
}

bool ClientSession::release(std::uint16_t id) {
  if (!holds(id)) return false;
  --held_;
  if (bits_.empty()) few_.erase(std::lower_bound(few_.begin(), few_.end(), id));
  else bits_[id / 64u] &= ~(std::uint64_t{1} << (id % 64u));
  if (!bits_.empty() && held_ <= few_max / 2) {  // half: not to and fro at the border
    for (std::uint32_t one = 1; one <= ids; ++one) {
      if (bit(static_cast<std::uint16_t>(one))) few_.push_back(static_cast<std::uint16_t>(one));
    }
    bits_ = {};
  }
  return true;
}

std::size_t ClientSession::remembered() const { return std::min<std::size_t>(run_, digests_.size()); }

// A longer ring, the newest digests kept.
void ClientSession::widen(std::size_t window) {
  std::vector<std::uint16_t> wider;
  wider.reserve(window);
  for (std::size_t i = remembered(); i > 0; --i)
    wider.push_back(digests_[(next_ + digests_.size() - i) % digests_.size()]);
  next_ = wider.size() % window;
  wider.resize(window);
  digests_ = std::move(wider);
}

void ClientSession::note(std::uint16_t id, std::uint16_t digest, std::size_t unacknowledged) {
  const bool counted_up = last_ != 0 && distance(last_, id) == 1;
  if (!counted_up) run_ = 0;
  const std::size_t window = std::clamp<std::size_t>(unacknowledged, 1, window_max);
  if (window > digests_.size()) widen(window);
  run_ = std::min(run_ + 1, run_max);
  last_ = id;
  digests_[next_] = digest;
  next_ = (next_ + 1) % digests_.size();
}

bool ClientSession::knows(std::uint16_t id, std::uint16_t digest) const {
  if (run_ <= digests_.size()) return false;  // not shown yet that identifiers are counted up
  const std::uint32_t back = distance(id, last_);
  if (back >= remembered()) return false;
  return digests_[(next_ + digests_.size() - 1 - back) % digests_.size()] == digest;
}

// version, expiry, when it left (8 bytes; of versions 3 and 4), held identifiers (count, each; of versions 2
// and 4 a bit for each), last identifier, run, digests (count, each, oldest first); little-endian.
Bytes ClientSession::encode() const {
  Bytes out;
  out.reserve(24 + 2 * few_.size() + 8 * bits_.size() + 2 * digests_.size());
  put(out,
      static_cast<std::uint32_t>((bits_.empty() ? version : version_with_bits) +
                                 (left_at_us ? versions_of_left : 0)),
      1);
  put(out, expiry_seconds, 4);
  if (left_at_us) {
    put(out, static_cast<std::uint32_t>(*left_at_us), 4);
    put(out, static_cast<std::uint32_t>(*left_at_us >> 32), 4);
  }
  if (bits_.empty()) {
    put(out, static_cast<std::uint32_t>(few_.size()), 2);
    for (const std::uint16_t id : few_) put(out, id, 2);
  }
  for (const std::uint64_t word : bits_) {
    put(out, static_cast<std::uint32_t>(word), 4);
    put(out, static_cast<std::uint32_t>(word >> 32), 4);
  }
  put(out, last_, 2);
  put(out, run_, 3);
  put(out, static_cast<std::uint32_t>(digests_.size()), 2);
  for (std::size_t i = 0; i < digests_.size(); ++i) put(out, digests_[(next_ + i) % digests_.size()], 2);
  return out;
}

std::optional<ClientSession> ClientSession::decode(BytesView bytes) {
  if (bytes.size() < 7) return std::nullopt;
  std::uint32_t form = get(bytes, 1);
  if (form < version || form > version_with_bits + versions_of_left) return std::nullopt;
  ClientSession session;
  session.expiry_seconds = get(bytes, 4);
  if (form > versions_of_left) {
    if (bytes.size() < 10) return std::nullopt;
    const std::uint64_t low = get(bytes, 4);
    session.left_at_us = static_cast<std::int64_t>(low | static_cast<std::uint64_t>(get(bytes, 4)) << 32);
    form -= versions_of_left;
  }
  if (form == version_with_bits) {
    if (bytes.size() < 8 * words_of_bits + 7) return std::nullopt;
    for (std::size_t i = 0; i < words_of_bits; ++i) {
      const std::uint64_t low = get(bytes, 4);
      session.bits_.push_back(low | static_cast<std::uint64_t>(get(bytes, 4)) << 32);
      session.held_ += static_cast<std::size_t>(std::popcount(session.bits_.back()));
    }
    if (session.held_ <= few_max / 2) return std::nullopt;  // it would have been a list
  } else {
    const std::size_t held = get(bytes, 2);
    if (bytes.size() < 2 * held + 7) return std::nullopt;
    for (std::size_t i = 0; i < held; ++i) session.hold(static_cast<std::uint16_t>(get(bytes, 2)));
  }
  session.last_ = static_cast<std::uint16_t>(get(bytes, 2));
  session.run_ = std::min(get(bytes, 3), run_max);
  const std::size_t digests = get(bytes, 2);
  if (bytes.size() != 2 * digests || digests > window_max) return std::nullopt;
  for (std::size_t i = 0; i < digests; ++i)
    session.digests_.push_back(static_cast<std::uint16_t>(get(bytes, 2)));
  return session;
}

}  // namespace millrace
