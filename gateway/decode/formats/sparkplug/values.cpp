#include "decode/formats/sparkplug/values.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/label.h"
#include "base/text.h"
#include "decode/payload_format.h"

namespace millrace::sparkplug {
namespace {

constexpr int depth_max = 8;  // of templates in templates

constexpr const char* names[] = {"Unknown",      "Int8",
                                 "Int16",        "Int32",
                                 "Int64",        "UInt8",
                                 "UInt16",       "UInt32",
                                 "UInt64",       "Float",
                                 "Double",       "Boolean",
                                 "String",       "DateTime",
                                 "Text",         "UUID",
                                 "DataSet",      "Bytes",
                                 "File",         "Template",
                                 "PropertySet",  "PropertySetList",
                                 "Int8Array",    "Int16Array",
                                 "Int32Array",   "Int64Array",
                                 "UInt8Array",   "UInt16Array",
                                 "UInt32Array",  "UInt64Array",
                                 "FloatArray",   "DoubleArray",
                                 "BooleanArray", "StringArray",
                                 "DateTimeArray"};

constexpr unsigned bits_of(std::uint32_t type) {
  switch (type) {
    case DataType::int8:
    case DataType::uint8: return 8;
    case DataType::int16:
    case DataType::uint16: return 16;
    case DataType::int32:
    case DataType::uint32: return 32;
    default: return 64;
  }
}

std::int64_t extended(std::uint64_t number, unsigned bits) {
  return static_cast<std::int64_t>(number << (64 - bits)) >> (64 - bits);
}

// Encoders write a small negative number in its own width, in 32 or in 64 bits: all three are it.
bool signed_of(const Value& value, unsigned bits, millrace::Value& out) {
  // which of two it is nobody knows
  if (bits == 64 && value.narrow && value.number > INT32_MAX) return false;
  if (bits == 64 || value.number >> bits == 0) {
    out = extended(value.number, bits);
    return true;
  }
  const std::int64_t wide = extended(value.number, value.narrow ? 32 : 64);
  if (wide >= 0 || wide < -(std::int64_t{1} << (bits - 1))) return false;
  out = wide;
  return true;
}

bool unsigned_of(std::uint64_t number, unsigned bits, millrace::Value& out) {
  if (bits < 64 && number >> bits != 0) return false;
  if (number <= INT64_MAX) {
    out = static_cast<std::int64_t>(number);
    return true;
  }
  const auto real = static_cast<double>(number);  // 2^64 is no number of 64 bits
  if (real >= 18446744073709551616.0 || static_cast<std::uint64_t>(real) != number) return false;
  out = real;
  return true;
}

Made whole_of(std::uint32_t type, const Value& value, millrace::Value& out) {
  const bool is_signed = type <= DataType::int64;
  const bool fits =
      is_signed ? signed_of(value, bits_of(type), out) : unsigned_of(value.number, bits_of(type), out);
  return fits ? Made::value : Made::refused;
}

std::uint64_t little_endian(BytesView bytes) {
  std::uint64_t number = 0;
  for (std::size_t i = bytes.size(); i > 0; --i)
    number = number << 8 | static_cast<std::uint8_t>(bytes[i - 1]);
  return number;
}

}  // namespace

const char* type_name(std::uint32_t type) {
  return type < std::size(names) ? names[type] : "a type nobody knows";
}
bool is_array(std::uint32_t type) {
  return type >= DataType::int8_array && type <= DataType::date_time_array;
}

Made scalar_of(std::uint32_t type, const Value& value, millrace::Value& out, std::string& why) {
  if (value.field == Value::none) return Made::no_value;
  const auto mismatch = [&] {
    why = text("its value is not of its type, ", type_name(type));
    return Made::refused;
  };
  const auto real = [&] {
    if (!std::isfinite(value.decimal)) return Made::no_value;
    out = value.decimal;
    return Made::value;
  };
  const auto words = [&] {
    const std::string_view given = text_of(value.view);
    if (Status status = check_text_value("value", given); !status.ok()) {
      why = status.detail();
      return Made::refused;
    }
    out = std::string(given);
    return Made::value;
  };
  switch (type) {
    case DataType::int8:
    case DataType::int16:
    case DataType::int32:
    case DataType::int64:
    case DataType::uint8:
    case DataType::uint16:
    case DataType::uint32:
    case DataType::uint64:
    case DataType::date_time:
      if (value.field != Value::whole) return mismatch();
      if (whole_of(type, value, out) == Made::value) return Made::value;
      why = text("its value does not fit ", type_name(type),
                 ", or no number that is kept exactly: ", value.number);
      return Made::refused;
    case DataType::real32:
    case DataType::real64: return value.field == Value::real ? real() : mismatch();
    case DataType::boolean:
      if (value.field != Value::truth && !(value.field == Value::whole && value.number <= 1))
        return mismatch();
      out = value.field == Value::truth ? value.flag : value.number == 1;
      return Made::value;
    case DataType::string:
    case DataType::text:
    case DataType::uuid: return value.field == Value::words ? words() : mismatch();
    case DataType::bytes:
    case DataType::file:
      if (value.field != Value::octets) return mismatch();
      if (value.view.size() > text_value_bytes_max) {
        why = text("has ", value.view.size(), " bytes, at most ", text_value_bytes_max, " are taken");
        return Made::refused;
      }
      out = Bytes(value.view.begin(), value.view.end());
      return Made::value;
    case DataType::unknown:  // where the value itself says what it is
      if (value.field == Value::real) return real();
      if (value.field == Value::words) return words();
      if (value.field == Value::truth) {
        out = value.flag;
        return Made::value;
      }
      why = "its type is not known: no birth said it";
      return Made::refused;
    default: return mismatch();
  }
}

bool Flattener::refuse(const std::string& below, std::string what) {
  why = below.empty() ? std::move(what) : text(below, ": ", what);
  return false;
}

bool Flattener::has_room(const std::string& below, std::size_t more) {
  return (made() <= room_ && more <= room_ - made()) ||
         refuse(below, text("more values than the ", millrace::Payload::records_max, " a payload may have"));
}

bool Flattener::take(const std::string& below, std::uint32_t type, const Value& value, int depth) {
  if (below.size() > label_bytes_max(Label::metric)) return refuse("", "a name in it is too long");
  const bool fits =
      type == DataType::unknown || (value.field == Value::table) == (type == DataType::data_set);
  if (value.field == Value::table && fits) return take_data_set(below, value.view);
  if (value.field == Value::group && (type == DataType::group || type == DataType::unknown))
    return take_template(below, value.view, depth);
  if (is_array(type) && value.field == Value::octets) return take_array(below, type, value.view);
  return take_scalar(below, type, value);
}

bool Flattener::take_scalar(const std::string& below, std::uint32_t type, const Value& value) {
  // Here, not later: a long name of a column comes again in every row.
  if (below.size() > label_bytes_max(Label::metric)) return refuse("", "a name in it is too long");
  if (!has_room(below, 1)) return false;
  Flat& flat = values.emplace_back();
  std::string what;
  const Made made = scalar_of(type, value, flat.value, what);
  if (made == Made::value) {
    flat.below = below;
    flat.type = type;
    return true;
  }
  values.pop_back();
  if (made == Made::refused) return refuse(below, what);
  ++no_value;
  return true;
}

// Section 6.4.16: packed little-endian values one after another.
bool Flattener::take_array(const std::string& below, std::uint32_t type, BytesView packed) {
  if (type == DataType::string_array) return take_strings(below, packed);
  if (type == DataType::boolean_array) return take_flags(below, packed);
  const std::uint32_t of = type == DataType::date_time_array ? std::uint32_t{DataType::date_time}
                                                             : type - DataType::int8_array + DataType::int8;
  const bool real = of == DataType::real32 || of == DataType::real64;
  const std::size_t width = of == DataType::real32 ? 4 : real ? 8 : bits_of(of) / 8;
  if (packed.size() % width != 0)
    return refuse(below, text(packed.size(), " bytes are no ", type_name(type)));
  if (!has_room(below, packed.size() / width)) return false;
  for (std::size_t i = 0; i * width < packed.size(); ++i) {
    const std::uint64_t raw = little_endian(packed.subspan(i * width, width));
    Value value;
    value.field = real ? Value::real : Value::whole;
    value.number = raw;
    if (of == DataType::real32) value.decimal = std::bit_cast<float>(static_cast<std::uint32_t>(raw));
    else if (real) value.decimal = std::bit_cast<double>(raw);
    if (!take_scalar(text(below, "[", i, "]"), of, value)) return false;
  }
  return true;
}

// Texts that end with a zero each.
bool Flattener::take_strings(const std::string& below, BytesView packed) {
  std::string_view rest = text_of(packed);
  if (!has_room(below, static_cast<std::size_t>(std::ranges::count(rest, '\0')))) return false;
  for (std::size_t i = 0; !rest.empty(); ++i) {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) return refuse(below, "a text of it has no end");
    Value value;
    value.field = Value::words;
    value.view = bytes_of(rest.substr(0, end));
    if (!take_scalar(text(below, "[", i, "]"), DataType::string, value)) return false;
    rest.remove_prefix(end + 1);
  }
  return true;
}

// How many (32 bits), then a bit each, the first one highest.
bool Flattener::take_flags(const std::string& below, BytesView packed) {
  const std::uint64_t count = packed.size() < 4 ? UINT64_MAX : little_endian(packed.first(4));
  if (packed.size() < 4 || (count + 7) / 8 != packed.size() - 4)
    return refuse(below, text(packed.size(), " bytes are no BooleanArray"));
  if (!has_room(below, count)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    Value value;
    value.field = Value::truth;
    value.flag = (static_cast<unsigned>(packed[4 + i / 8]) >> (7 - i % 8) & 1) != 0;
    if (!take_scalar(text(below, "[", i, "]"), DataType::boolean, value)) return false;
  }
  return true;
}

bool Flattener::take_data_set(const std::string& below, BytesView given) {
  DataSet set;
  if (!read_data_set(given, set)) return refuse(below, "not a DataSet that can be read");
  if (set.types.size() != set.columns.size())
    return refuse(below,
                  text("a DataSet with ", set.columns.size(), " columns and ", set.types.size(), " types"));
  // Both are at most cells_max; that a row has as many cells as there are columns is seen below.
  if (!has_room(below, set.rows.size() * set.columns.size())) return false;
  for (std::size_t row = 0; row < set.rows.size(); ++row) {
    if (set.rows[row].size() != set.columns.size())
      return refuse(below, text("row ", row, " has ", set.rows[row].size(), " cells for ", set.columns.size(),
                                " columns"));
    for (std::size_t column = 0; column < set.columns.size(); ++column) {
      if (!take_scalar(text(below, "[", row, "]/", set.columns[column]), set.types[column],
                       set.rows[row][column]))
        return false;
    }
  }
  return true;
}

bool Flattener::take_template(const std::string& below, BytesView given, int depth) {
  if (depth >= depth_max)
    return refuse(below, text("templates in templates, more than ", depth_max, " deep"));
  Template group;
  if (!read_template(given, group)) return refuse(below, "not a Template that can be read");
  if (group.definition) return true;
  for (const Parameter& parameter : group.parameters) {
    if (!take_scalar(text(below, "/Parameters/", parameter.name), parameter.type, parameter.value))
      return false;
  }
  for (const BytesView bytes : group.metrics) {
    Metric member;
    if (!read_metric(bytes, member)) return refuse(below, "a member of the Template cannot be read");
    if (member.name.empty()) return refuse(below, "a member of the Template has no name");
    const std::string at = text(below, "/", member.name);
    if (member.null) {
      ++no_value;
      continue;
    }
    const std::uint32_t type = member.type != DataType::unknown ? member.type : type_of_(at);
    if (!take(at, type, member.value, depth + 1)) return false;
  }
  return true;
}

}  // namespace millrace::sparkplug
