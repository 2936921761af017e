#include "drivers/serial/device_link.h"

#include <algorithm>

namespace millrace {

DeviceLink::Verdict DeviceLink::judge(const DeviceFrame& frame, std::uint64_t& missed) const {
  missed = 0;
  const auto at = streams_.find(frame.stream);
  if (at == streams_.end()) return frame.sequence == frame.oldest ? Verdict::fresh : Verdict::early;
  const std::uint32_t accepted = at->second.accepted;
  if (frame.sequence <= accepted) return Verdict::known;
  if (frame.sequence == accepted + 1) return Verdict::fresh;
  if (frame.sequence != frame.oldest) return Verdict::early;
  missed = frame.sequence - accepted - 1;
  return Verdict::fresh;
}

std::optional<std::uint32_t> DeviceLink::accepted(const DeviceFrame& frame) {
  std::optional<std::uint32_t> gone;
  if (!streams_.contains(frame.stream) && streams_.size() >= streams_max) {
    const auto oldest = std::min_element(streams_.begin(), streams_.end(), [](const auto& a, const auto& b) {
      return a.second.turn < b.second.turn;
    });
    gone = oldest->first;
    streams_.erase(oldest);
  }
  Stream& stream = streams_[frame.stream];
  stream.accepted = frame.sequence;
  stream.turn = ++turn_;
  return gone;
}

void DeviceLink::committed(std::uint64_t ticket) {
  for (auto& [id, stream] : streams_) {
    const std::uint32_t last = stream.pending.empty() ? stream.durable : stream.pending.back().second;
    if (stream.accepted == last) continue;
    if (!stream.pending.empty() && stream.pending.back().first == ticket)
      stream.pending.back().second = stream.accepted;
    else stream.pending.emplace_back(ticket, stream.accepted);
  }
}

std::vector<std::uint32_t> DeviceLink::durable(std::uint64_t through) {
  std::vector<std::uint32_t> told;
  for (auto& [id, stream] : streams_) {
    const auto behind = std::find_if(stream.pending.begin(), stream.pending.end(),
                                     [through](const auto& one) { return one.first > through; });
    if (behind == stream.pending.begin()) continue;
    stream.durable = std::prev(behind)->second;
    stream.pending.erase(stream.pending.begin(), behind);
    told.push_back(id);
  }
  return told;
}

std::uint32_t DeviceLink::told(std::uint32_t stream) const {
  const auto at = streams_.find(stream);
  return at == streams_.end() ? 0 : at->second.durable;
}

// Version 1: accepted (4 bytes), turn (8), the low byte first.
Bytes DeviceLink::saved(std::uint32_t stream) const {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return {};
  Bytes out{std::byte{1}};
  for (int shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<std::byte>(at->second.accepted >> shift));
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<std::byte>(at->second.turn >> shift));
  return out;
}

void DeviceLink::load(std::uint32_t stream, BytesView saved) {
  if (saved.size() != 13 || saved[0] != std::byte{1} || streams_.size() >= streams_max) return;
  Stream& one = streams_[stream];
  for (std::size_t i = 0; i < 4; ++i) one.accepted |= static_cast<std::uint32_t>(saved[1 + i]) << 8 * i;
  for (std::size_t i = 0; i < 8; ++i) one.turn |= static_cast<std::uint64_t>(saved[5 + i]) << 8 * i;
  one.durable = one.accepted;
  turn_ = std::max(turn_, one.turn);
}

}  // namespace millrace
