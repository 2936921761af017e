// Protocol Buffers wire format (encoding.html of its public documentation): the parts the columnar batch
// needs. Writing appends to Bytes; reading is bounded and fails softly: after a fault ok() is false and every
// read gives 0.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/bytes.h"

namespace millrace::wire {

// What a column of decimals is divided by, by its exponent.
inline constexpr double powers_of_ten[] = {1e0, 1e1, 1e2, 1e3,  1e4,  1e5, 1e6,
                                           1e7, 1e8, 1e9, 1e10, 1e11, 1e12};

enum Type : std::uint32_t { varint = 0, fixed64 = 1, length = 2, fixed32 = 5 };

constexpr std::uint64_t zigzag(std::int64_t v) {
  return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t v) {
  return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
}
constexpr std::size_t varint_size(std::uint64_t v) {
  std::size_t size = 1;
  while (v >= 0x80) {
    v >>= 7;
    ++size;
  }
  return size;
}

class Writer {
 public:
  explicit Writer(Bytes& out) : out_(out) {}

  void put_varint(std::uint64_t v) {
    std::uint8_t buffer[10] = {};
    std::size_t n = 0;
    while (v >= 0x80) {
      buffer[n++] = static_cast<std::uint8_t>(v | 0x80);
      v >>= 7;
    }
    buffer[n++] = static_cast<std::uint8_t>(v);
    append(buffer, n);
  }
  void tag(std::uint32_t field, Type type) { put_varint((field << 3) | type); }
  // proto3: a zero is not written.
  void uint_field(std::uint32_t field, std::uint64_t v) {
    if (v == 0) return;
    tag(field, varint);
    put_varint(v);
  }
  void sint_field(std::uint32_t field, std::int64_t v) { uint_field(field, zigzag(v)); }
  void fixed64_field(std::uint32_t field, std::uint64_t v) {
    if (v == 0) return;
    tag(field, fixed64);
    put_fixed64(v);
  }
  void put_fixed64(std::uint64_t v) {
    std::uint8_t buffer[8] = {};
    for (int i = 0; i < 8; ++i) buffer[i] = static_cast<std::uint8_t>(v >> (8 * i));
    append(buffer, 8);
  }
  void put_fixed32(std::uint32_t v) {
    std::uint8_t buffer[4] = {};
    for (int i = 0; i < 4; ++i) buffer[i] = static_cast<std::uint8_t>(v >> (8 * i));
    append(buffer, 4);
  }
  void bytes_field(std::uint32_t field, BytesView v) {
    tag(field, length);
    put_varint(v.size());
    append(v.data(), v.size());
  }
  void text_field(std::uint32_t field, std::string_view v) {
    if (!v.empty()) bytes_field(field, bytes_of(v));
  }
  void append(const void* from, std::size_t n) {
    const auto* at = static_cast<const std::byte*>(from);
    out_.insert(out_.end(), at, at + n);
  }

 private:
  Bytes& out_;
};

class Reader {
 public:
  explicit Reader(BytesView bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return ok_; }
  bool at_end() const { return at_ == end_; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  void fail() {
    ok_ = false;
    at_ = end_;
  }

  std::uint64_t get_varint() {
    if (at_ != end_ && static_cast<std::uint8_t>(*at_) < 0x80) return static_cast<std::uint8_t>(*at_++);
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) break;
      const auto b = static_cast<std::uint8_t>(*at_++);
      v |= static_cast<std::uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return v;
    }
    fail();
    return 0;
  }
  std::int64_t get_sint() { return unzigzag(get_varint()); }
  std::uint64_t get_fixed64() {
    if (left() < 8) {
      fail();
      return 0;
    }
    std::uint64_t v = 0;
    for (int i = 7; i >= 0; --i) v = (v << 8) | static_cast<std::uint8_t>(at_[i]);
    at_ += 8;
    return v;
  }
  std::uint32_t get_fixed32() {
    if (left() < 4) {
      fail();
      return 0;
    }
    std::uint32_t v = 0;
    for (int i = 3; i >= 0; --i) v = (v << 8) | static_cast<std::uint8_t>(at_[i]);
    at_ += 4;
    return v;
  }
  BytesView get_bytes() { return get_bytes(get_varint()); }
  BytesView get_bytes(std::uint64_t size) {
    if (size > left()) {
      fail();
      return {};
    }
    const BytesView view{at_, static_cast<std::size_t>(size)};
    at_ += size;
    return view;
  }
  // Reads a field's tag; false at the end or after a fault.
  bool next(std::uint32_t& field, std::uint32_t& type) {
    if (at_end() || !ok_) return false;
    const std::uint64_t key = get_varint();
    field = static_cast<std::uint32_t>(key >> 3);
    type = static_cast<std::uint32_t>(key & 7);
    if (!ok_ || key > 0xFFFFFFFFu || field == 0) {
      fail();
      return false;
    }
    return true;
  }
  void skip(std::uint32_t type) {
    switch (type) {
      case varint: get_varint(); return;
      case fixed64: get_fixed64(); return;
      case length: get_bytes(); return;
      case fixed32: get_fixed32(); return;
      default: fail();
    }
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  bool ok_ = true;
};

}  // namespace millrace::wire
