#include "tests/support/reference_wire.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/text.h"

namespace millrace::reference {

bool take_wire_varint(std::string_view& bytes, std::uint64_t& out, bool& odd) {
  out = 0;
  for (unsigned i = 0; i < bytes.size() && i < 10; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (i == 9 && byte > 1) odd = true;
    out |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * i);
    if (byte >= 0x80) continue;
    bytes.remove_prefix(i + 1);
    return true;
  }
  return false;
}

std::optional<std::vector<WireField>> wire_fields(std::string_view bytes, bool& odd) {
  std::vector<WireField> out;
  while (!bytes.empty()) {
    std::uint64_t tag = 0;
    if (!take_wire_varint(bytes, tag, odd)) return std::nullopt;
    if (tag >> 32 != 0 || tag >> 3 == 0) {  // some take what is behind such a one
      odd = true;
      return std::nullopt;
    }
    WireField one{static_cast<std::uint32_t>(tag >> 3), static_cast<std::uint32_t>(tag & 7)};
    const auto fixed = [&](std::size_t size) {
      if (bytes.size() < size) return false;
      for (std::size_t i = 0; i < size; ++i)
        one.number |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
      bytes.remove_prefix(size);
      return true;
    };
    switch (one.type) {
      case 0:
        if (!take_wire_varint(bytes, one.number, odd)) return std::nullopt;
        break;
      case 1:
        if (!fixed(8)) return std::nullopt;
        break;
      case 5:
        if (!fixed(4)) return std::nullopt;
        break;
      case 2: {
        std::uint64_t size = 0;
        if (!take_wire_varint(bytes, size, odd) || size > bytes.size()) return std::nullopt;
        one.bytes = bytes.substr(0, size);
        bytes.remove_prefix(size);
        break;
      }
      case 3:
      case 4: odd = true; return out;
      default: return std::nullopt;
    }
    out.push_back(std::move(one));
  }
  return out;
}

namespace {

std::int64_t unzigzag(std::uint64_t v) {
  return v & 1 ? -static_cast<std::int64_t>(v >> 1) - 1 : static_cast<std::int64_t>(v >> 1);
}

std::optional<std::string> real(double value) {
  return std::isfinite(value) ? number(text(value)) : std::nullopt;
}
float single(std::uint64_t raw) { return std::bit_cast<float>(static_cast<std::uint32_t>(raw)); }

// ---- messages by a descriptor set -----------------------------------------------------------------

class Proto {
 public:
  Proto(const WireTypes& types, Expected& out) : types_(types), out_(out) {}

  bool odd = false;

  // False: it is no message of the type. `pieces`: what was said of it, to be merged (Encoding, "Last One
  // Wins").
  bool message(const WireType& type, const std::vector<std::string>& pieces, const std::string& path) {
    std::map<std::uint32_t, std::vector<WireField>> found;
    for (const std::string& piece : pieces) {
      const auto fields = wire_fields(piece, odd);
      if (!fields) return false;
      for (const WireField& field : *fields) found[field.field].push_back(field);
    }
    for (const WireType::Member& member : type.members) {
      if (!take(member, found[member.field], path)) return false;
    }
    return true;
  }

 private:
  using Kind = WireType::Kind;

  static bool is_number(Kind kind) {
    return kind != Kind::text && kind != Kind::message && kind != Kind::bytes;
  }
  static std::uint32_t wire_of(Kind kind) {
    switch (kind) {
      case Kind::real64:
      case Kind::fixed64:
      case Kind::sfixed64: return 1;
      case Kind::real32:
      case Kind::fixed32:
      case Kind::sfixed32: return 5;
      default: return is_number(kind) ? 0 : 2;
    }
  }

  bool take(const WireType::Member& member, const std::vector<WireField>& came, const std::string& path) {
    const std::string name = step(path, member.name);
    std::vector<WireField> values;
    for (const WireField& one : came) {
      if (one.type == wire_of(member.kind)) {
        values.push_back(one);
      } else if (one.type == 2 && member.repeated && is_number(member.kind)) {
        if (!unpack(one.bytes, wire_of(member.kind), values)) return false;
      } else {
        return false;  // no message of this type: so it is refused whole
      }
    }
    if (member.kind == Kind::message) return take_messages(member, values, name);
    if (member.repeated) {
      for (std::size_t i = 0; i < values.size(); ++i) put(text(name, "[", i, "]"), member, values[i]);
    } else if (!values.empty()) {
      put(name, member, values.back());
    } else if (!member.has_presence && member.kind != Kind::bytes) {
      put(name, member, {});
    }
    return true;
  }

  bool unpack(std::string_view packed, std::uint32_t type, std::vector<WireField>& out) {
    const std::size_t width = type == 1 ? 8 : 4;
    while (!packed.empty()) {
      WireField one{0, type};
      if (type == 0) {
        if (!take_wire_varint(packed, one.number, odd)) return false;
      } else {
        if (packed.size() < width) return false;
        std::memcpy(&one.number, packed.data(), width);  // of tests: the low byte first
        packed.remove_prefix(width);
      }
      out.push_back(one);
    }
    return true;
  }

  bool take_messages(const WireType::Member& member, const std::vector<WireField>& values,
                     const std::string& name) {
    if (values.empty()) return true;
    const WireType& type = types_.messages.at(member.of);
    if (type.is_map) {
      for (const WireField& one : values) {
        if (!take_entry(type, one.bytes, name)) return false;
      }
      return true;
    }
    if (member.repeated) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!known(type, {values[i].bytes}, text(name, "[", i, "]"))) return false;
      }
      return true;
    }
    std::vector<std::string> pieces;
    for (const WireField& one : values) pieces.push_back(one.bytes);
    return known(type, pieces, name);
  }

  // Types that have a meaning of their own.
  bool known(const WireType& type, const std::vector<std::string>& pieces, const std::string& name) {
    if (type.name != "google.protobuf.Timestamp" && type.name != "google.protobuf.Duration")
      return message(type, pieces, name);
    std::int64_t seconds = 0, nanos = 0;
    for (const std::string& piece : pieces) {
      const auto fields = wire_fields(piece, odd);
      if (!fields) return false;
      for (const WireField& field : *fields) {
        if (field.field > 2) continue;
        if (field.type != 0) return false;
        if (field.field == 1) seconds = static_cast<std::int64_t>(field.number);
        else nanos = static_cast<std::int32_t>(field.number);
      }
    }
    if (type.name == "google.protobuf.Duration") {
      out_.put(name, real(static_cast<double>(seconds) + static_cast<double>(nanos) / 1e9));
      return true;
    }
    const Wide us = static_cast<Wide>(seconds) * 1'000'000 + nanos / 1000;
    if (us >= INT64_MIN && us <= INT64_MAX) out_.put(name, number(text(static_cast<std::int64_t>(us))));
    return true;
  }

  bool take_entry(const WireType& type, const std::string& bytes, const std::string& name) {
    const auto fields = wire_fields(bytes, odd);
    if (!fields) return false;
    const WireType::Member &of_key = type.members[0], &of_value = type.members[1];
    WireField key, value;
    bool has_value = false;
    std::vector<std::string> pieces;
    for (const WireField& field : *fields) {
      if (field.field == 1 && field.type != wire_of(of_key.kind)) return false;
      if (field.field == 2 && field.type != wire_of(of_value.kind)) return false;
      if (field.field == 1) key = field;
      if (field.field == 2) value = field, has_value = true, pieces.push_back(field.bytes);
    }
    const std::string said = of_key.kind == Kind::text ? key.bytes : spelled(of_key, key);
    if (of_key.kind == Kind::text && (!utf8(said) || said.find('\0') != std::string::npos || said.empty()))
      return true;
    const std::string at = step(name, said);
    if (of_value.kind == Kind::message)
      return !has_value || known(types_.messages.at(of_value.of), pieces, at);
    put(at, of_value, value);
    return true;
  }

  static std::string spelled(const WireType::Member& member, const WireField& one) {
    switch (member.kind) {
      case Kind::real64: return text(std::bit_cast<double>(one.number));
      case Kind::real32: return text(single(one.number));
      case Kind::uint64:
      case Kind::fixed64: return text(one.number);
      case Kind::uint32:
      case Kind::fixed32: return text(static_cast<std::uint32_t>(one.number));
      case Kind::sint32:
      case Kind::sint64: return text(unzigzag(one.number));
      case Kind::int64:
      case Kind::sfixed64: return text(static_cast<std::int64_t>(one.number));
      default: return text(static_cast<std::int32_t>(one.number));
    }
  }

  void put(const std::string& name, const WireType::Member& member, const WireField& one) {
    if (name.size() > 256 || has_control(name, false)) return;
    switch (member.kind) {
      case Kind::text:
        if (utf8(one.bytes)) out_.put(name, as_text(one.bytes));
        return;
      case Kind::bytes: out_.put(name, as_text(to_hex(bytes_of(one.bytes)))); return;
      case Kind::truth: out_.put(name, one.number != 0 ? "true" : "false"); return;
      case Kind::real64:
        if (std::isfinite(std::bit_cast<double>(one.number))) out_.put(name, number(spelled(member, one)));
        return;
      case Kind::real32:
        if (std::isfinite(single(one.number))) out_.put(name, number(spelled(member, one)));
        return;
      case Kind::enumeration: {
        const auto& names = types_.enumerations.at(member.of);
        const auto found = names.find(static_cast<std::int32_t>(one.number));
        if (found != names.end()) return out_.put(name, "'" + found->second + "'");
        break;
      }
      default: break;
    }
    out_.put(name, number(spelled(member, one)));
  }

  const WireTypes& types_;
  Expected& out_;
};

}  // namespace

Expected of_protobuf(const WireTypes& types, const std::string& type, std::string_view payload) {
  Expected out;
  Proto proto(types, out);
  const bool good = !payload.empty() && proto.message(types.messages.at(type), {std::string(payload)}, "");
  if (proto.odd) out = Expected{{}, {}, false};
  else if (!good) out = Expected{};
  return out;
}

// ---- Sparkplug ------------------------------------------------------------------------------------

namespace {

enum : std::uint32_t {
  t_int8 = 1,
  t_int64 = 4,
  t_uint8 = 5,
  t_uint64 = 8,
  t_float = 9,
  t_double = 10,
  t_boolean = 11,
  t_string = 12,
  t_date_time = 13,
  t_text = 14,
  t_uuid = 15,
  t_data_set = 16,
  t_bytes = 17,
  t_file = 18,
  t_template = 19,
  t_int8_array = 22,
  t_float_array = 30,
  t_double_array = 31,
  t_boolean_array = 32,
  t_string_array = 33,
  t_date_time_array = 34
};

// A value in whichever of its fields it came; `field` counts as that of a Metric: 10 to 18, 0: none.
struct SparkValue {
  std::uint32_t field = 0;
  std::uint64_t number = 0;
  std::string bytes = {};
};

using Flat = std::vector<std::pair<std::string, std::optional<std::string>>>;

class Spark {
 public:
  bool odd = false;

  // The value that fields `first`, first + 1 ... hold: int, long, float, double, boolean, string, and so on
  // up to `count` of them.
  SparkValue value_in(const std::vector<WireField>& fields, std::uint32_t first, std::uint32_t count) {
    static constexpr std::uint32_t wires[] = {0, 0, 5, 1, 0, 2, 2, 2, 2};
    SparkValue out;
    for (const WireField& one : fields) {
      if (one.field < first || one.field >= first + count) continue;
      if (out.field != 0 || one.type != wires[one.field - first]) odd = true;  // which one counts?
      out = {one.field - first + 10, one.number, one.bytes};
      if ((out.field == 10 || out.field == 14) && one.number >> 32 != 0) odd = true;
    }
    return out;
  }
  void check(const WireField& one, std::uint32_t type) { odd = odd || one.type != type; }
  // Numbers of 32 bits and flags that come with more.
  void check_narrow(const WireField& one) { odd = odd || one.type != 0 || one.number >> 32 != 0; }

  // False: refused.
  bool take(const std::string& below, std::uint32_t type, const SparkValue& value, Flat& out, int depth = 0) {
    if (type == t_data_set && value.field == 17) return data_set(below, value.bytes, out);
    if (type == t_template && value.field == 18) return group(below, value.bytes, out, depth);
    if (type >= t_int8_array && type <= t_date_time_array && value.field == 16)
      return array(below, type, value.bytes, out);
    return scalar(below, type, value, out);
  }

 private:
  static constexpr std::uint64_t bits_of(std::uint32_t type) {
    return type == t_date_time ? 64 : std::uint64_t{8} << ((type - 1) % 4);
  }

  bool scalar(const std::string& below, std::uint32_t type, const SparkValue& value, Flat& out) {
    if (below.size() > 256) odd = true;
    if (value.field == 0) return true;  // nothing came: no value
    std::optional<std::string> said;
    if ((type >= t_int8 && type <= t_uint64) || type == t_date_time) {
      if (value.field > 11) return false;
      if (!(type <= t_int64 ? of_signed(value, bits_of(type), said)
                            : of_unsigned(value.number, bits_of(type), said)))
        return false;
    } else if (type == t_float || type == t_double) {
      if (value.field != 12 && value.field != 13) return false;
      const double number =
          value.field == 12 ? static_cast<double>(single(value.number)) : std::bit_cast<double>(value.number);
      if (!std::isfinite(number)) return true;
      said = text(number);
    } else if (type == t_boolean) {
      if (value.field != 14 && !(value.field <= 11 && value.number <= 1)) return false;
      said = value.number ? "true" : "false";
    } else if (type == t_string || type == t_text || type == t_uuid) {
      if (value.field != 15) return false;
      if (!utf8(value.bytes) || has_control(value.bytes, true) || value.bytes.find('\0') != std::string::npos)
        return false;
      said = as_text(value.bytes);
    } else if (type == t_bytes || type == t_file) {
      if (value.field != 16) return false;
      said = text(value.bytes.size(), " bytes");
    } else if (type == 0) {
      odd = true;  // what it is without a type is guessed
      return true;
    } else {
      return false;
    }
    out.emplace_back(below, said);
    return true;
  }

  // Encoders write a small negative number in its own width, in 32 or in 64 bits.
  static bool of_signed(const SparkValue& value, std::uint64_t bits, std::optional<std::string>& out) {
    const bool narrow = value.field == 10;
    if (bits == 64) {
      if (narrow && value.number > INT32_MAX) return false;
      out = text(static_cast<std::int64_t>(value.number), "i");
      return true;
    }
    const Wide half = Wide{1} << (bits - 1);
    Wide number = value.number;
    if (number >= 2 * half) number = narrow ? number - (Wide{1} << 32) : number - (Wide{1} << 64);
    else if (number >= half) number -= 2 * half;
    if (number < -half || number >= half) return false;
    out = text(static_cast<std::int64_t>(number), "i");
    return true;
  }
  static bool of_unsigned(std::uint64_t number, std::uint64_t bits, std::optional<std::string>& out) {
    if (bits < 64 && number >= std::uint64_t{1} << bits) return false;
    if (number <= INT64_MAX) {
      out = text(number, "i");
      return true;
    }
    if ((number & 0x7FF) != 0) return false;  // more than the 53 bits of a double
    out = text(static_cast<double>(number));
    return true;
  }

  bool array(const std::string& below, std::uint32_t type, const std::string& packed, Flat& out) {
    const auto name = [&](std::size_t i) { return text(below, "[", i, "]"); };
    if (type == t_string_array) {
      std::string one;
      std::size_t i = 0;
      for (const char c : packed) {
        if (c != '\0') one += c;
        else if (!scalar(name(i++), t_string, {15, 0, std::exchange(one, {})}, out)) return false;
      }
      return one.empty();
    }
    if (type == t_boolean_array) {
      if (packed.size() < 4) return false;
      std::uint64_t count = 0;
      for (int i = 3; i >= 0; --i)
        count = count * 256 + static_cast<unsigned char>(packed[static_cast<std::size_t>(i)]);
      if ((count + 7) / 8 != packed.size() - 4) return false;
      for (std::size_t i = 0; i < count; ++i)
        out.emplace_back(name(i),
                         static_cast<unsigned char>(packed[4 + i / 8]) & (0x80 >> i % 8) ? "true" : "false");
      return true;
    }
    const std::uint32_t of = type == t_date_time_array ? std::uint32_t{t_date_time} : type - t_int8_array + 1;
    const std::size_t width = of == t_float ? 4 : of == t_double ? 8 : bits_of(of) / 8;
    if (packed.size() % width != 0) return false;
    for (std::size_t i = 0; i * width < packed.size(); ++i) {
      SparkValue value{of == t_float ? 12u : of == t_double ? 13u : 11u, 0};
      for (std::size_t k = width; k-- > 0;)
        value.number = value.number << 8 | static_cast<unsigned char>(packed[i * width + k]);
      if (!scalar(name(i), of, value, out)) return false;
    }
    return true;
  }

  bool data_set(const std::string& below, const std::string& bytes, Flat& out) {
    const auto fields = wire_fields(bytes, odd);
    if (!fields) return false;
    std::vector<std::string> columns;
    std::vector<std::uint32_t> types;
    std::vector<std::vector<SparkValue>> rows;
    for (const WireField& one : *fields) {
      if (one.field == 1) check(one, 0);
      if (one.field == 2) check(one, 2), columns.push_back(one.bytes);
      if (one.field == 3 && one.type == 0) types.push_back(type_of(one.number));
      else if (one.field == 3) {
        check(one, 2);
        for (std::string_view rest = one.bytes; !rest.empty();) {
          std::uint64_t type = 0;
          if (!take_wire_varint(rest, type, odd)) return false;
          types.push_back(type_of(type));
        }
      }
      if (one.field != 4) continue;
      check(one, 2);
      const auto cells = wire_fields(one.bytes, odd);
      if (!cells) return false;
      auto& row = rows.emplace_back();
      for (const WireField& cell : *cells) {
        if (cell.field != 1) continue;
        check(cell, 2);
        const auto of_cell = wire_fields(cell.bytes, odd);
        if (!of_cell) return false;
        row.push_back(value_in(*of_cell, 1, 6));
      }
    }
    if (types.size() != columns.size()) return false;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].size() != columns.size()) return false;
      for (std::size_t c = 0; c < columns.size(); ++c) {
        if (!scalar(text(below, "[", r, "]/", columns[c]), types[c], rows[r][c], out)) return false;
      }
    }
    return true;
  }
  std::uint32_t type_of(std::uint64_t given) {
    if (given >> 32 != 0) odd = true;
    return static_cast<std::uint32_t>(given);
  }

  bool group(const std::string& below, const std::string& bytes, Flat& out, int depth) {
    if (depth >= 8) return false;
    const auto fields = wire_fields(bytes, odd);
    if (!fields) return false;
    bool definition = false;
    for (const WireField& one : *fields) {
      if (one.field == 5) check_narrow(one), definition = one.number != 0;
      if (one.field == 2 || one.field == 3) check(one, 2);
    }
    // Parameters that cannot be read cost the Template, members only where it is no definition.
    Flat parameters;
    bool fits = true;
    for (const WireField& one : *fields) {
      if (one.field != 3) continue;
      const auto parts = wire_fields(one.bytes, odd);
      if (!parts) return false;
      std::string name;
      std::uint32_t type = 0;
      for (const WireField& part : *parts) {
        if (part.field == 1) check(part, 2), name = part.bytes;
        if (part.field == 2) check_narrow(part), type = type_of(part.number);
      }
      const SparkValue value = value_in(*parts, 3, 6);
      fits = fits && scalar(text(below, "/Parameters/", name), type, value, parameters);
    }
    if (definition) return true;
    if (!fits) return false;
    out.insert(out.end(), parameters.begin(), parameters.end());
    for (const WireField& one : *fields) {
      if (one.field != 2) continue;
      const auto parts = wire_fields(one.bytes, odd);
      if (!parts) return false;
      std::string name;
      std::uint32_t type = 0;
      bool null = false;
      for (const WireField& part : *parts) {
        if (part.field == 1) check(part, 2), name = part.bytes;
        if (part.field == 4) check_narrow(part), type = type_of(part.number);
        if (part.field == 7) check_narrow(part), null = part.number != 0;
        if (part.field == 2 || part.field == 3) check(part, 0);
        if (part.field == 5 || part.field == 6) check_narrow(part);
        if (part.field == 9) check(part, 2);
      }
      const SparkValue value = value_in(*parts, 10, 9);
      if (name.empty()) return false;
      if (null) continue;
      if (type == 0) odd = true;
      if (!take(text(below, "/", name), type, value, out, depth + 1)) return false;
    }
    return true;
  }
};

bool good_name(const std::string& name) {
  return !name.empty() && name.size() <= 256 && utf8(name) && !has_control(name, false) &&
         name.find('\0') == std::string::npos;
}

}  // namespace

Expected SparkplugNode::born(std::string_view payload) {
  bool odd = false;
  if (wire_fields(payload, odd)) aliases_.clear(), names_.clear();
  std::map<std::uint64_t, Known> aliases;
  std::map<std::string, std::uint32_t> names;
  Expected out = take(payload, true, aliases, names);
  aliases_ = aliases;
  names_ = names;
  in_doubt_ = !out.whole;
  return out;
}

Expected SparkplugNode::told(std::string_view payload) const {
  auto aliases = aliases_;
  auto names = names_;
  return take(payload, false, aliases, names);
}

Expected SparkplugNode::take(std::string_view payload, bool birth, std::map<std::uint64_t, Known>& aliases,
                             std::map<std::string, std::uint32_t>& names) const {
  Expected out;
  bool odd = false;
  const auto fields = wire_fields(payload, odd);
  if (odd) out.whole = false;
  if (odd || !fields) return out;
  std::vector<std::string> metrics;
  for (const WireField& one : *fields) {
    const bool counts = one.field == 1 || one.field == 3,
               bytes = one.field == 2 || one.field == 4 || one.field == 5;
    if ((counts && one.type != 0) || (bytes && one.type != 2)) {
      out.whole = false;
      return out;
    }
    if (one.field == 4 && one.bytes == "SPBV1.0_COMPRESSED") out.whole = false;
    if (one.field == 2) metrics.push_back(one.bytes);
  }
  if (!out.whole) return out;
  out.open.insert("device_time");  // where a time of its own is not believed
  for (const std::string& bytes : metrics) {
    Spark spark;
    const auto parts = wire_fields(bytes, spark.odd);
    if (!parts && !spark.odd) continue;  // it costs itself
    std::string name;
    std::optional<std::uint64_t> alias;
    std::uint32_t type = 0;
    bool null = false;
    for (const WireField& part : parts ? *parts : std::vector<WireField>()) {
      if (part.field == 1) spark.check(part, 2), name = part.bytes;
      if (part.field == 2) spark.check(part, 0), alias = part.number;
      if (part.field == 4) spark.check_narrow(part), type = static_cast<std::uint32_t>(part.number);
      if (part.field == 7) spark.check_narrow(part), null = part.number != 0;
      if (part.field == 3) spark.check(part, 0);
      if (part.field == 5 || part.field == 6) spark.check_narrow(part);
      if (part.field == 9) spark.check(part, 2), spark.odd |= !wire_fields(part.bytes, spark.odd).has_value();
    }
    const SparkValue value = parts ? spark.value_in(*parts, 10, 9) : SparkValue{};
    if (!birth && name.empty() && alias) {
      const auto known = aliases.find(*alias);
      if (known == aliases.end() && in_doubt_) out.whole = false;
      if (known == aliases.end()) continue;
      if (known->second.type == 99) spark.odd = true;
      name = known->second.name;
      if (type == 0) type = known->second.type;
    } else if (!birth && type == 0 && names.contains(name)) {
      type = in_doubt_ ? 99u : names[name];
    }
    Flat flat;
    if (type == 99) spark.odd = true;
    const bool fits = spark.take("", type, value, flat);
    if (spark.odd) {
      // Names it may have taught, and readings it may have given, are anybody's guess.
      out.whole = false;
      continue;
    }
    if (birth && good_name(name)) {
      const bool again = names.contains(name);
      names[name] = again && names[name] != type ? 99u : type;
      // Of two of a name the later one counts; which aliases are left nobody says.
      for (auto& [number, known] : aliases) known.type = again && known.name == name ? 99u : known.type;
      if (alias) {
        const bool twice = aliases.contains(*alias) && aliases[*alias].name != name;
        aliases[*alias] = {name, twice || again ? 99u : type};
      }
    }
    const bool control =
        name == "bdSeq" || name.starts_with("Node Control/") || name.starts_with("Device Control/");
    if (control || !good_name(name) || null || !fits) continue;
    bool good = true;
    for (const auto& [below, said] : flat) good = good && good_name(name + below);
    if (!good) continue;
    for (const auto& [below, said] : flat) out.put(name + below, said);
  }
  for (auto& [number, known] : aliases) {
    if (birth && !out.whole) known.type = 99;
  }
  return out;
}

}  // namespace millrace::reference
