#include "uplink/marker.h"

#include "record/varint.h"

namespace millrace {
namespace {
constexpr std::uint32_t magic = 0x314D524D;         // "MRM1"
constexpr Sequence number_max = Sequence{1} << 62;  // no log comes this far; numbers behind it could wrap
}  // namespace

Bytes encode_marker(const Marker& marker) {
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_fixed32(magic);
  writer.put_fixed64(marker.epoch);
  writer.put_fixed64(marker.instance);
  writer.put_varint(marker.lanes.size());
  for (const auto& [lane, settled] : marker.lanes) {
    writer.put_varint(static_cast<std::uint64_t>(lane));
    writer.put_varint(settled.low());
    writer.put_varint(settled.ranges().size());
    for (const Range& range : settled.ranges()) {
      writer.put_varint(range.first);
      writer.put_varint(range.last);
    }
  }
  return bytes;
}

Result<Marker> decode_marker(BytesView bytes) {
  const Status wrong{Code::invalid, "not a marker of ours"};
  wire::Reader reader(bytes);
  Marker marker;
  if (reader.get_fixed32() != magic) return wrong;
  marker.epoch = reader.get_fixed64();
  marker.instance = reader.get_fixed64();
  const std::uint64_t lanes = reader.get_varint();
  if (!reader.ok() || lanes > lane_count) return wrong;
  for (std::uint64_t i = 0; i < lanes; ++i) {
    const std::uint64_t lane = reader.get_varint();
    const Sequence low = reader.get_varint();
    const std::uint64_t count = reader.get_varint();
    if (!reader.ok() || lane >= lane_count || low > number_max || count > SettledSet::ranges_max)
      return wrong;
    std::vector<Range> ranges;
    Sequence end = low;
    for (std::uint64_t r = 0; r < count; ++r) {
      const Range range{reader.get_varint(), reader.get_varint()};
      // touching ranges are one
      if (!reader.ok() || range.empty() || range.first <= end + 1 || range.last > number_max) return wrong;
      end = range.last;
      ranges.push_back(range);
    }
    if (!marker.lanes.emplace(static_cast<Lane>(lane), SettledSet::restore(low, std::move(ranges))).second)
      return wrong;
  }
  return reader.at_end() ? Result<Marker>(std::move(marker)) : Result<Marker>(wrong);
}

}  // namespace millrace
