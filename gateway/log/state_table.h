// Names and values of the head's state table, as FORMAT.md lists them: small numbers as protobuf varints in a
// row.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "log/segment.h"
#include "record/varint.h"

namespace millrace {

Bytes varints(std::initializer_list<std::uint64_t> values);
// The number under `key`; `otherwise` when there is none or it cannot be read.
std::uint64_t one_varint(const StateTable& state, std::string_view key, std::uint64_t otherwise);

std::string cursor_key(const std::string& consumer, Lane lane);
std::string segment_key(std::uint32_t id);
std::string user_key(std::string_view name);
// What pipeline and inputs keep, not the log itself; and what an entry of it counts for.
bool is_user_key(std::string_view key);
std::uint32_t state_crc(std::string_view key, BytesView value);
std::uint64_t state_cost(std::string_view key, std::size_t value_bytes);

// What a cursor begins with: low, and the ranges above it.
SettledSet read_settled(wire::Reader& reader);

Bytes encode_segment(const SegmentInfo& segment);
bool decode_segment(const Bytes& bytes, SegmentInfo& segment);

}  // namespace millrace
