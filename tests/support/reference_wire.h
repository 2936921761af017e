// Slow decoders of what comes in the wire format of Protocol Buffers, written against its public description
// and the Sparkplug specification, not against ours; see reference.h for what they promise. They copy all
// they read. For tests.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/reference.h"

namespace millrace::reference {

// A field as it stands on the wire; `number` of varints and fixed ones, `bytes` of those with a length.
struct WireField {
  std::uint32_t field = 0, type = 0;
  std::uint64_t number = 0;
  std::string bytes = {};
};
// `odd`: there is something in it that readers take differently: a group, a varint of more than 64 bits.
// Nothing: it is no message.
std::optional<std::vector<WireField>> wire_fields(std::string_view bytes, bool& odd);
bool take_wire_varint(std::string_view& bytes, std::uint64_t& out, bool& odd);

// A type of messages, as a descriptor set says it.
struct WireType {
  enum Kind {
    real64 = 1,
    real32,
    int64,
    uint64,
    int32,
    fixed64,
    fixed32,
    truth,
    text,
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
  struct Member {
    std::string name;
    std::uint32_t field;
    Kind kind;
    bool repeated = false, has_presence = false;
    std::string of = {};  // the type of a message or an enumeration
  };
  std::string name;
  std::vector<Member> members;
  bool is_map = false;  // an entry of one
};
struct WireTypes {
  std::map<std::string, WireType> messages;
  std::map<std::string, std::map<std::int32_t, std::string>> enumerations;
};
// A payload that is one message: every scalar by where it stands; what proto3 leaves out is 0.
Expected of_protobuf(const WireTypes& types, const std::string& type, std::string_view payload);

// A birth of an edge node, and data behind it, as a host application has to take them. The names and types
// that the birth gave stay until the next one.
class SparkplugNode {
 public:
  // False in `whole`: something in it is taken differently by different readers.
  Expected born(std::string_view payload);
  Expected told(std::string_view payload) const;

 private:
  struct Known {
    std::string name;
    std::uint32_t type;
  };
  Expected take(std::string_view payload, bool birth, std::map<std::uint64_t, Known>& aliases,
                std::map<std::string, std::uint32_t>& names) const;
  std::map<std::uint64_t, Known> aliases_;  // type 99: said of two
  std::map<std::string, std::uint32_t> names_;
  bool in_doubt_ = false;  // something in the birth may have taught more, or something else
};

}  // namespace millrace::reference
