// As payload_oracle_test.cpp, of what comes in the wire format of Protocol Buffers: messages by a descriptor
// set, and births and data of Sparkplug. What a slow decoder is sure of is read, exactly, and nothing else.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>

#include "tests/support/oracle.h"
#include "tests/support/reference_wire.h"

namespace payload_oracle_wire_test {
using namespace millrace;
using namespace millrace::oracle;
using reference::WireType;
using reference::WireTypes;

namespace {

// Some encoders make numbers longer than they need to be.
void put_varint(std::string& out, std::uint64_t v, Rng* rng = nullptr) {
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  const bool longer = rng && rng->below(50) == 0;
  out += static_cast<char>(longer ? v | 0x80 : v);
  if (longer) out += '\0';
}
void put_fixed(std::string& out, std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i));
}
void put_number(std::string& out, std::uint32_t field, std::uint64_t v, Rng* rng = nullptr) {
  put_varint(out, field << 3), put_varint(out, v, rng);
}
void put_bytes(std::string& out, std::uint32_t field, const std::string& bytes) {
  put_varint(out, field << 3 | 2), put_varint(out, bytes.size()), out += bytes;
}

// ---- messages by a descriptor set -----------------------------------------------------------------

const WireTypes& types() {
  static const WireTypes all = [] {
    using K = WireType::Kind;
    WireTypes t;
    const auto add = [&t](WireType type) { t.messages[type.name] = std::move(type); };
    add({"google.protobuf.Timestamp", {{"seconds", 1, K::int64}, {"nanos", 2, K::int32}}});
    add({"google.protobuf.Duration", {{"seconds", 1, K::int64}, {"nanos", 2, K::int32}}});
    add({"p.TagsEntry", {{"key", 1, K::text}, {"value", 2, K::real64}}, true});
    add({"p.ByEntry", {{"key", 1, K::sint32}, {"value", 2, K::message, false, true, "p.Sample"}}, true});
    add({"p.Sample",
         {{"at", 1, K::message, false, true, "google.protobuf.Timestamp"},
          {"v", 2, K::real32},
          {"inner", 3, K::message, false, true, "p.Sample"}}});
    add({"p.Telemetry",
         {{"id", 1, K::text},
          {"temperature", 2, K::real64},
          {"count", 3, K::sint32},
          {"big", 4, K::uint64},
          {"on", 5, K::truth},
          {"state", 6, K::enumeration, false, false, "p.State"},
          {"samples", 7, K::message, true, true, "p.Sample"},
          {"codes", 8, K::int32, true},
          {"tags", 9, K::message, true, true, "p.TagsEntry"},
          {"raw", 10, K::bytes},
          {"maybe", 11, K::int32, false, true},
          {"by", 12, K::message, true, true, "p.ByEntry"},
          {"age", 13, K::message, false, true, "google.protobuf.Duration"},
          {"last", 14, K::message, false, true, "p.Sample"},
          {"curve", 15, K::real32, true},
          {"f64", 16, K::fixed64},
          {"s64", 17, K::sfixed64},
          {"f32", 18, K::fixed32},
          {"s32", 19, K::sfixed32},
          {"u32", 20, K::uint32},
          {"z64", 21, K::sint64},
          {"i64", 22, K::int64},
          {"words", 23, K::text, true},
          {"flags", 24, K::truth, true},
          {"states", 25, K::enumeration, true, false, "p.State"}}});
    t.enumerations["p.State"] = {{0, "IDLE"}, {1, "RUN"}, {7, "odd.name"}};
    return t;
  }();
  return all;
}

// google/protobuf/descriptor.proto: files of one package each.
std::string descriptor_set() {
  std::string set;
  for (const std::string package : {"google.protobuf", "p"}) {
    std::string file;
    put_bytes(file, 1, package + ".proto");
    put_bytes(file, 2, package);
    for (const auto& [name, type] : types().messages) {
      if (!name.starts_with(package + ".")) continue;
      std::string message;
      put_bytes(message, 1, name.substr(package.size() + 1));
      for (const WireType::Member& member : type.members) {
        std::string field;
        put_bytes(field, 1, member.name);
        put_number(field, 3, member.field);
        put_number(field, 4, member.repeated ? 3 : 1);
        put_number(field, 5, member.kind);
        if (!member.of.empty()) put_bytes(field, 6, "." + member.of);
        const bool optional = member.has_presence && member.kind != WireType::message;
        if (optional) put_number(field, 9, 0), put_number(field, 17, 1);
        put_bytes(message, 2, field);
      }
      if (type.is_map) put_bytes(message, 7, std::string("\x38\x01", 2));
      put_bytes(file, 4, message);
    }
    if (package == "p") {
      std::string enumeration;
      put_bytes(enumeration, 1, "State");
      for (const auto& [number, word] : types().enumerations.at("p.State")) {
        std::string value;
        put_bytes(value, 1, word);
        put_number(value, 2, static_cast<std::uint64_t>(number));
        put_bytes(enumeration, 2, value);
      }
      put_bytes(file, 5, enumeration);
    }
    put_bytes(file, 12, "proto3");
    put_bytes(set, 1, file);
  }
  return set;
}

struct SetFile {
  std::string path =
      (std::filesystem::temp_directory_path() / text("millrace-oracle-", ::getpid(), ".desc")).string();
  SetFile() {
    const std::string set = descriptor_set();
    std::ofstream(path, std::ios::binary).write(set.data(), static_cast<std::streamsize>(set.size()));
  }
  ~SetFile() { std::filesystem::remove(path); }
};

std::uint64_t some_raw(WireType::Kind kind, Rng& rng) {
  const std::uint64_t any = rng.next() >> rng.below(64);
  switch (kind) {
    case WireType::real64:
      return rng.below(20) == 0 ? rng.next()
                                : std::bit_cast<std::uint64_t>(static_cast<double>(any % 100'000) / 100);
    case WireType::real32:
      return rng.below(20) == 0 ? rng.next() >> 32
                                : std::bit_cast<std::uint32_t>(static_cast<float>(any % 100'000) / 100);
    case WireType::truth: return rng.below(2);
    case WireType::enumeration: return rng.below(9);
    case WireType::int32:
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(any)));
    case WireType::int64:
    case WireType::uint64:
    case WireType::fixed64:
    case WireType::sfixed64:
    case WireType::sint64: return any;
    default: return any & UINT32_MAX;
  }
}

void put_scalar(std::string& out, WireType::Kind kind, Rng& rng) {
  switch (kind) {
    case WireType::real64:
    case WireType::fixed64:
    case WireType::sfixed64: return put_fixed(out, some_raw(kind, rng), 8);
    case WireType::real32:
    case WireType::fixed32:
    case WireType::sfixed32: return put_fixed(out, some_raw(kind, rng), 4);
    default: return put_varint(out, some_raw(kind, rng), &rng);
  }
}

std::string some_message(const std::string& name, Rng& rng, int depth);

void put_member(std::string& out, const WireType::Member& member, Rng& rng, int depth) {
  const auto wire = [&] {
    switch (member.kind) {
      case WireType::real64:
      case WireType::fixed64:
      case WireType::sfixed64: return 1u;
      case WireType::real32:
      case WireType::fixed32:
      case WireType::sfixed32: return 5u;
      case WireType::text:
      case WireType::bytes:
      case WireType::message: return 2u;
      default: return 0u;
    }
  }();
  if (wire == 2) {
    const std::string bytes = member.kind == WireType::message
                                  ? some_message(member.of, rng, depth + 1)
                                  : one_of(rng, {"", "run", "p1", "a.b", "\xc2\xb0", "x\ny", "\xff"});
    return put_bytes(out, member.field, bytes);
  }
  if (member.repeated && rng.below(3) > 0) {
    std::string packed;
    for (std::uint64_t n = rng.below(4); n > 0; --n) put_scalar(packed, member.kind, rng);
    return put_bytes(out, member.field, packed);
  }
  put_varint(out, member.field << 3 | wire);
  put_scalar(out, member.kind, rng);
}

std::string some_message(const std::string& name, Rng& rng, int depth) {
  const WireType& type = types().messages.at(name);
  std::vector<std::string> parts;
  const std::uint64_t of = depth == 0 ? 3 : 2;
  for (const WireType::Member& member : type.members) {
    if (rng.below(of) > 0 || (depth > 3 && member.kind == WireType::message)) continue;
    // More than once: a list, or what counts last, or messages that are to be merged.
    for (std::uint64_t n = member.repeated ? 1 + rng.below(3) : 1 + (rng.below(12) == 0); n > 0; --n)
      put_member(parts.emplace_back(), member, rng, depth);
  }
  if (rng.below(10) == 0) put_bytes(parts.emplace_back(), 77, "a field of tomorrow");
  if (rng.below(4) == 0) {
    for (std::size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[rng.below(i)]);
  }
  std::string out;
  for (const std::string& part : parts) out += part;
  return out;
}

}  // namespace

TEST_CASE("oracle: Protocol Buffers by a descriptor set") {
  Rng rng(seed());
  const SetFile set;
  const OneRoute route(
      text("format = 'protobuf'\ndescriptor_set = '", set.path, "'\nmessage = 'p.Telemetry'"));
  std::uint64_t whole = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string payload = some_message("p.Telemetry", rng, 0);
    if (rng.below(3) > 0)
      damage(payload, rng,
             {"\x08", "\x12", "\x80", "\xff\xff\xff\xff\x7f", "\x0a\x01x", "\x31", "\x3a\x02\x08\x05", "a",
              "\x98\x01"});
    CAPTURE(to_hex(bytes_of(payload)));
    CAPTURE(round);
    const Expected expected = reference::of_protobuf(types(), "p.Telemetry", payload);
    whole += expected.whole;
    const Decoded got = route.decode(payload);
    REQUIRE(difference(known(got), expected, anything) == "");
    second_try(route, payload, got);
  }
  CHECK(whole > rounds() / 2);
}

// ---- Sparkplug ------------------------------------------------------------------------------------

namespace {

std::string some_words(Rng& rng) {
  return one_of(rng, {"", "on", "21.5", "\xc2\xb0", "a\nb", "\xff", "\x01"});
}

// A value in the field of a Metric (`first` 10) or of another holder (its first one, without the last three).
void put_value(std::string& out, std::uint32_t type, std::uint32_t first, Rng& rng) {
  const std::uint64_t any = rng.next() >> rng.below(64);
  const bool is_signed = type >= 1 && type <= 4;
  switch (type) {
    case 4:
    case 8:
    case 13: return put_number(out, first + 1, any, &rng);
    case 9: return put_varint(out, (first + 2) << 3 | 5), put_fixed(out, some_raw(WireType::real32, rng), 4);
    case 10: return put_varint(out, (first + 3) << 3 | 1), put_fixed(out, some_raw(WireType::real64, rng), 8);
    case 11: return put_number(out, first + 4, rng.below(2));
    case 12:
    case 14:
    case 15: return put_bytes(out, first + 5, some_words(rng));
    default: break;
  }
  std::uint64_t number = any & (type % 4 == 1 ? 0xFF : type % 4 == 2 ? 0xFFFF : 0xFFFF'FFFF);
  if (is_signed && rng.below(3) == 0)
    number = static_cast<std::uint32_t>(-static_cast<std::int32_t>(rng.below(200)));
  if (is_signed && rng.below(8) == 0)
    return put_number(out, first + 1, static_cast<std::uint64_t>(-static_cast<std::int64_t>(rng.below(200))),
                      &rng);
  put_number(out, first, number, &rng);
}

std::string some_bytes(Rng& rng, std::uint64_t count) {
  std::string out;
  for (; count > 0; --count) out += static_cast<char>(rng.next());
  return out;
}

std::string some_array(std::uint32_t type, Rng& rng) {
  const std::uint64_t count = rng.below(5);
  std::string out;
  if (type == 33) {
    for (std::uint64_t i = 0; i < count; ++i) out += some_words(rng) + '\0';
    return out;
  }
  if (type == 32) {
    put_fixed(out, count * 3, 4);
    return out + some_bytes(rng, (count * 3 + 7) / 8);
  }
  static constexpr std::uint64_t widths[] = {1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 0, 0, 8};
  return some_bytes(rng, count * widths[type - 22] + (rng.below(20) == 0));
}

std::string some_table(Rng& rng) {
  std::string out, types;
  const std::uint64_t columns = 1 + rng.below(3);
  std::vector<std::uint32_t> of;
  put_number(out, 1, columns);
  for (std::uint64_t i = 0; i < columns; ++i) {
    put_bytes(out, 2, text("c", i));
    of.push_back(static_cast<std::uint32_t>(1 + rng.below(15)));
  }
  for (const std::uint32_t type : of) {
    if (rng.below(2)) put_number(out, 3, type);
    else put_varint(types, type), put_bytes(out, 3, std::exchange(types, {}));
  }
  for (std::uint64_t row = rng.below(3); row > 0; --row) {
    std::string cells;
    for (const std::uint32_t type : of) {
      std::string cell;
      if (rng.below(6)) put_value(cell, type, 1, rng);
      put_bytes(cells, 1, cell);
    }
    put_bytes(out, 4, cells);
  }
  return out;
}

std::string some_metric(const std::string& name, std::uint64_t alias, std::uint32_t type, bool says_type,
                        Rng& rng, int depth = 0);

std::string some_group(Rng& rng, int depth) {
  std::string out;
  put_bytes(out, 1, "v1");
  for (std::uint64_t n = rng.below(3); n > 0; --n)
    put_bytes(
        out, 2,
        some_metric(text("m", n), 0, static_cast<std::uint32_t>(1 + rng.below(19)), true, rng, depth + 1));
  for (std::uint64_t n = rng.below(2); n > 0; --n) {
    std::string parameter;
    const auto type = static_cast<std::uint32_t>(1 + rng.below(15));
    put_bytes(parameter, 1, text("p", n));
    put_number(parameter, 2, type);
    put_value(parameter, type, 3, rng);
    put_bytes(out, 3, parameter);
  }
  if (rng.below(8) == 0) put_number(out, 5, 1);
  return out;
}

std::string some_metric(const std::string& name, std::uint64_t alias, std::uint32_t type, bool says_type,
                        Rng& rng, int depth) {
  std::string out;
  if (!name.empty()) put_bytes(out, 1, name);
  if (alias > 0) put_number(out, 2, alias);
  if (rng.below(2)) put_number(out, 3, 1'700'000'000'000 + rng.below(1'000'000));
  if (says_type) put_number(out, 4, type);
  if (rng.below(10) == 0) put_number(out, 5 + static_cast<std::uint32_t>(rng.below(2)), 1);
  if (rng.below(15) == 0) put_number(out, 7, 1);
  else if (rng.below(30) == 0) return out;
  else if (type == 16) put_bytes(out, 17, some_table(rng));
  else if (type == 17 || type == 18) put_bytes(out, 16, some_bytes(rng, rng.below(5)));
  else if (type == 19 && depth < 3) put_bytes(out, 18, some_group(rng, depth));
  else if (type >= 22) put_bytes(out, 16, some_array(type, rng));
  else put_value(out, rng.below(25) ? type : static_cast<std::uint32_t>(1 + rng.below(15)), 10, rng);
  return out;
}

struct Named {
  std::string name;
  std::uint64_t alias;
  std::uint32_t type;
};

}  // namespace

TEST_CASE("oracle: births and data of Sparkplug") {
  Rng rng(seed());
  RouteConfig config;
  config.topic = "spBv1.0/#";
  config.format = "sparkplug";
  const Router router = std::move(Router::make({config})).value();
  std::uint64_t whole = 0;
  for (std::uint64_t round = 0; round < rounds(); ++round) {
    std::string birth, data;
    std::vector<Named> metrics;
    put_number(birth, 1, 1'700'000'000'000);
    if (rng.below(2)) put_bytes(birth, 2, some_metric("bdSeq", 0, 8, true, rng));
    for (std::uint64_t n = 1 + rng.below(5); n > 0; --n) {
      const std::uint64_t kind = rng.below(12);
      const auto type = static_cast<std::uint32_t>(kind < 9    ? 1 + rng.below(15)
                                                   : kind < 11 ? 16 + rng.below(4)
                                                               : 22 + rng.below(13));
      metrics.push_back(
          {rng.below(10) ? text("m", n) : text("Node/", one_of(rng, {"t", "a b", "\xc2\xb0"}), n),
           rng.below(5) ? n : 0, type});
      put_bytes(birth, 2, some_metric(metrics.back().name, metrics.back().alias, type, true, rng));
    }
    put_number(birth, 3, 0);
    put_number(data, 1, 1'700'000'001'000);
    for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
      const Named& one = metrics[rng.below(metrics.size())];
      const bool by_alias = one.alias > 0 && rng.below(3) > 0;
      put_bytes(data, 2, some_metric(by_alias ? "" : one.name, one.alias, one.type, rng.below(2) == 0, rng));
    }
    put_number(data, 3, 1);
    for (std::string* payload : {&birth, &data}) {
      if (rng.below(2) == 0)
        damage(*payload, rng,
               {"\x12", "\x08", "\x80", "\x50\x07", "\x20\x0c", "a", "\x18\x01", "\x7a\x01x", "\xff"});
    }
    CAPTURE(to_hex(bytes_of(birth)));
    CAPTURE(to_hex(bytes_of(data)));
    CAPTURE(round);
    reference::SparkplugNode node;
    Remembered remembered;
    (void)router.add_memories(remembered);
    for (const auto& [topic, payload] :
         {std::pair{"spBv1.0/g/NBIRTH/n", &birth}, std::pair{"spBv1.0/g/NDATA/n", &data}}) {
      CAPTURE(topic);
      const Expected expected = payload == &birth ? node.born(*payload) : node.told(*payload);
      whole += expected.whole;
      Arrival arrival;
      arrival.input = "in";
      arrival.channel = topic;
      arrival.bytes = bytes_of(*payload);
      arrival.received = {arrived_us};
      arrival.received_monotonic = {1'000'000'000};
      arrival.clock_trusted = true;
      Decoded got;
      remembered.beside = {};
      got.status = router.decode(arrival, got.records, got.unread, &remembered);
      REQUIRE(difference(known(got), expected, anything) == "");
    }
  }
  CHECK(whole > rounds());
}

}  // namespace payload_oracle_wire_test
