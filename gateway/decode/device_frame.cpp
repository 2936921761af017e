#include "decode/device_frame.h"

#include <bit>

namespace millrace {
namespace {

// Fields of a protobuf message one by one (encoding: protobuf.dev, "Wire types"). Groups are none of ours.
class Fields {
 public:
  explicit Fields(std::string_view rest) : rest_(rest) {}

  // False at the end, or when what comes is no field: then good() says which.
  bool next() {
    std::uint64_t tag = 0;
    if (rest_.empty() || !good_) return false;
    if (!varint(tag) || tag >> 3 == 0 || tag >> 32 != 0) return fail();
    number = static_cast<std::uint32_t>(tag >> 3);
    switch (type = static_cast<unsigned>(tag & 7)) {
      case 0: return varint(value) || fail();
      case 1: return fixed(8);
      case 2: {
        std::uint64_t size = 0;
        if (!varint(size) || size > rest_.size()) return fail();
        bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return true;
      }
      case 5: return fixed(4);
      default: return fail();
    }
  }
  bool good() const { return good_; }
  bool is(std::uint32_t field, unsigned wire_type) const { return number == field && type == wire_type; }
  std::int64_t zigzag() const { return static_cast<std::int64_t>(value >> 1 ^ (~(value & 1) + 1)); }

  std::uint32_t number = 0;
  unsigned type = 0;
  std::uint64_t value = 0;
  std::string_view bytes;

 private:
  bool fail() {
    good_ = false;
    return false;
  }
  bool varint(std::uint64_t& out) {
    out = 0;
    for (unsigned shift = 0; shift < 70 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) out |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool fixed(std::size_t size) {
    if (rest_.size() < size) return fail();
    value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(rest_[i])) << 8 * i;
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool good_ = true;
};

bool read_reading(std::string_view bytes, DeviceReading& out) {
  Fields f(bytes);
  while (f.next()) {
    if (f.is(1, 2)) out.metric = f.bytes;
    if (f.is(2, 5)) out.real = std::bit_cast<float>(static_cast<std::uint32_t>(f.value));
    if (f.is(3, 1)) out.real = std::bit_cast<double>(f.value);
    if (f.is(2, 5) || f.is(3, 1)) out.kind = DeviceReading::number;
    if (f.is(4, 0)) out.kind = DeviceReading::integer;
    if (f.is(4, 0)) out.whole = f.zigzag();
    if (f.is(5, 0)) out.kind = DeviceReading::flag;
    if (f.is(5, 0)) out.whole = f.value != 0 ? 1 : 0;
    if (f.is(6, 2)) out.kind = DeviceReading::text;
    if (f.is(6, 2)) out.string = f.bytes;
    if (f.is(7, 2)) out.unit = f.bytes;
    if (f.is(8, 0)) out.offset_ms = static_cast<std::int32_t>(f.zigzag());
    if (f.is(9, 0)) out.quality = static_cast<std::uint32_t>(f.value);
  }
  return f.good();
}

void put_varint(Bytes& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
  out.push_back(static_cast<std::byte>(value));
}

}  // namespace

Status read_device_frame(BytesView bytes, DeviceFrame& frame,
                         const std::function<void(const DeviceReading&)>& reading) {
  frame = {};
  Fields f(text_of(bytes));
  while (f.next()) {
    if (f.is(1, 5)) frame.stream = static_cast<std::uint32_t>(f.value);
    if (f.is(2, 0)) frame.sequence = static_cast<std::uint32_t>(f.value);
    if (f.is(3, 0)) frame.oldest = static_cast<std::uint32_t>(f.value);
    if (f.is(4, 0)) frame.time_us = f.zigzag();
    DeviceReading one;
    if (reading && f.is(5, 2) && !read_reading(f.bytes, one))
      return {Code::invalid, "no device frame: a reading is none"};
  }
  if (!f.good()) return {Code::invalid, "no device frame"};
  if (frame.stream == 0 || frame.sequence == 0)
    return {Code::invalid, "a device frame without a stream or a number"};
  if (frame.oldest == 0 || frame.oldest > frame.sequence) frame.oldest = frame.sequence;
  if (!reading) return {};
  Fields again(text_of(bytes));
  while (again.next()) {
    DeviceReading one;
    if (again.is(5, 2) && read_reading(again.bytes, one)) reading(one);
  }
  return {};
}

Bytes encode_device_ack(std::uint32_t stream, std::uint32_t sequence, std::int64_t time_us) {
  Bytes out{std::byte{1 << 3 | 5}};
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<std::byte>(stream >> shift));
  out.push_back(std::byte{2 << 3});
  put_varint(out, sequence);
  if (time_us != 0) {
    out.push_back(std::byte{3 << 3});
    put_varint(out, static_cast<std::uint64_t>(time_us) << 1 ^ static_cast<std::uint64_t>(time_us >> 63));
  }
  return out;
}

}  // namespace millrace
