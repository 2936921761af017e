#include "decode/device_frame.h"

#include <bit>

#include "record/varint.h"

namespace millrace {
namespace {

// A field of another type than ours is somebody else's, as one of another number.
constexpr std::uint32_t key_of(std::uint32_t field, wire::Type type) { return field << 3 | type; }
constexpr std::uint32_t readings = key_of(5, wire::length);

bool read_reading(BytesView bytes, DeviceReading& out) {
  wire::Reader reader(bytes);
  const auto number = [&out](double value) {
    out.kind = DeviceReading::number;
    out.real = value;
  };
  const auto whole = [&out](DeviceReading::Kind kind, std::int64_t value) {
    out.kind = kind;
    out.whole = value;
  };
  for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
    switch (field << 3 | type) {
      case key_of(1, wire::length): out.metric = text_of(reader.get_bytes()); break;
      case key_of(2, wire::fixed32): number(std::bit_cast<float>(reader.get_fixed32())); break;
      case key_of(3, wire::fixed64): number(std::bit_cast<double>(reader.get_fixed64())); break;
      case key_of(4, wire::varint): whole(DeviceReading::integer, reader.get_sint()); break;
      case key_of(5, wire::varint): whole(DeviceReading::flag, reader.get_varint() != 0 ? 1 : 0); break;
      case key_of(6, wire::length):
        out.kind = DeviceReading::text;
        out.string = text_of(reader.get_bytes());
        break;
      case key_of(7, wire::length): out.unit = text_of(reader.get_bytes()); break;
      case key_of(8, wire::varint): out.offset_ms = static_cast<std::int32_t>(reader.get_sint()); break;
      case key_of(9, wire::varint): out.quality = static_cast<std::uint32_t>(reader.get_varint()); break;
      default: reader.skip(type);
    }
  }
  return reader.ok();
}

}  // namespace

Status read_device_frame(BytesView bytes, DeviceFrame& frame,
                         const std::function<void(const DeviceReading&)>& reading) {
  frame = {};
  wire::Reader reader(bytes);
  for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
    switch (field << 3 | type) {
      case key_of(1, wire::fixed32): frame.stream = reader.get_fixed32(); break;
      case key_of(2, wire::varint): frame.sequence = static_cast<std::uint32_t>(reader.get_varint()); break;
      case key_of(3, wire::varint): frame.oldest = static_cast<std::uint32_t>(reader.get_varint()); break;
      case key_of(4, wire::varint): frame.time_us = reader.get_sint(); break;
      case readings: {
        DeviceReading one;
        if (const BytesView given = reader.get_bytes(); reading && !read_reading(given, one))
          return {Code::invalid, "no device frame: a reading is none"};
        break;
      }
      default: reader.skip(type);
    }
  }
  if (!reader.ok()) return {Code::invalid, "no device frame"};
  if (frame.stream == 0 || frame.sequence == 0)
    return {Code::invalid, "a device frame without a stream or a number"};
  if (frame.oldest == 0 || frame.oldest > frame.sequence) frame.oldest = frame.sequence;
  if (!reading) return {};
  wire::Reader again(bytes);
  for (std::uint32_t field = 0, type = 0; again.next(field, type);) {
    DeviceReading one;
    if ((field << 3 | type) != readings) again.skip(type);
    else if (read_reading(again.get_bytes(), one)) reading(one);
  }
  return {};
}

Bytes encode_device_ack(std::uint32_t stream, std::uint32_t sequence, std::int64_t time_us) {
  Bytes out;
  wire::Writer writer(out);
  writer.tag(1, wire::fixed32);
  writer.put_fixed32(stream);
  writer.tag(2, wire::varint);
  writer.put_varint(sequence);
  if (time_us != 0) {
    writer.tag(3, wire::varint);
    writer.put_varint(wire::zigzag(time_us));
  }
  return out;
}

}  // namespace millrace
