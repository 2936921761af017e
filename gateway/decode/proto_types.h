// The types of Protocol Buffers messages as a descriptor set says them (descriptor.proto of its public
// documentation; what `protoc --include_imports --descriptor_set_out` writes): as much as it takes to read
// payloads. Bounded; no code is generated and nothing is looked up by name while payloads come.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace {

struct ProtoField {
  enum Type : std::uint8_t {
    real64 = 1,
    real32,
    int64,
    uint64,
    int32,
    fixed64,
    fixed32,
    truth,
    string,
    group,
    message,
    bytes,
    uint32,
    enumeration,
    sfixed32,
    sfixed64,
    sint32,
    sint64
  };
  std::uint32_t number = 0;
  std::string name;
  Type type = int32;
  bool repeated = false;
  bool implicit = false;  // where it is not on the wire it is 0 (proto3, section "Field Presence")
  int of = -1;            // which message or enumeration
  std::string of_name;    // ... as the set calls it
};

struct ProtoMessage {
  // What stands for a value of another kind (well-known types).
  enum As : std::uint8_t { itself, timestamp, duration, wrapper } as = itself;
  std::string name;  // with its package, without a leading dot
  bool map_entry = false;
  std::vector<ProtoField> fields;  // by number

  const ProtoField* field(std::uint32_t number) const;
};

class ProtoTypes {
 public:
  static constexpr std::size_t set_bytes_max = 1 << 20, types_max = 10'000, fields_max = 100'000;

  // `invalid` with what makes no sense, or names what it lacks.
  static Result<ProtoTypes> read(BytesView descriptor_set);
  // -1: there is none of that name.
  int find(std::string_view message) const;
  std::vector<std::string> names() const;
  const ProtoMessage& message(int at) const { return messages_[static_cast<std::size_t>(at)]; }
  // Null: the enumeration has no such number.
  const std::string* enumerator(int enumeration, std::int32_t number) const;

 private:
  friend class DescriptorReader;
  std::vector<ProtoMessage> messages_;
  std::vector<std::map<std::int32_t, std::string>> enumerations_;
  std::map<std::string, int, std::less<>> message_names_, enumeration_names_;
};

}  // namespace millrace
