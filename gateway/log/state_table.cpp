#include "log/state_table.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

Bytes varints(std::initializer_list<std::uint64_t> values) {
  Bytes out;
  wire::Writer writer(out);
  for (const std::uint64_t v : values) writer.put_varint(v);
  return out;
}

std::uint64_t one_varint(const StateTable& state, std::string_view key, std::uint64_t otherwise) {
  const auto found = state.find(key);
  if (found == state.end()) return otherwise;
  wire::Reader reader(*found->second);
  const std::uint64_t value = reader.get_varint();
  return reader.ok() ? value : otherwise;
}

std::string cursor_key(const std::string& consumer, Lane lane) {
  return text("cursor/", lane_name(lane), "/", consumer);
}
std::string segment_key(std::uint32_t id) { return "segment/" + segment_name(id); }
std::string user_key(std::string_view name) { return text("state/", name); }

bool is_user_key(std::string_view key) { return key.starts_with("state/"); }
std::uint32_t state_crc(std::string_view key, BytesView value) {
  constexpr std::byte between{0};
  return crc32c(value, crc32c({&between, 1}, crc32c(bytes_of(key))));
}
// A state file has its name twice, and beside that twice 16 bytes at most: lengths, the mark and the CRC.
std::uint64_t state_cost(std::string_view key, std::size_t value_bytes) {
  return key.size() + value_bytes + 32;
}

SettledSet read_settled(wire::Reader& reader) {
  const Sequence low = reader.get_varint();
  std::vector<Range> ranges(std::min<std::uint64_t>(reader.get_varint(), SettledSet::ranges_max));
  for (Range& r : ranges) {
    r.first = reader.get_varint();
    r.last = reader.get_varint();
  }
  return SettledSet::restore(low, std::move(ranges));
}

Bytes encode_segment(const SegmentInfo& segment) {
  Bytes out = varints({segment.file_bytes, segment.valid_through});
  wire::Writer writer(out);
  for (const LaneSpan& span : segment.lanes) {
    for (const std::uint64_t v : {span.first, span.last, span.records, span.bytes}) writer.put_varint(v);
  }
  return out;
}

bool decode_segment(const Bytes& bytes, SegmentInfo& segment) {
  wire::Reader reader(bytes);
  segment.file_bytes = reader.get_varint();
  segment.valid_through = reader.get_varint();
  for (LaneSpan& span : segment.lanes) {
    span.first = reader.get_varint();
    span.last = reader.get_varint();
    span.records = reader.get_varint();
    span.bytes = reader.get_varint();
  }
  return reader.ok();
}

}  // namespace millrace
