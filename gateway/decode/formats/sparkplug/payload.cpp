#include "decode/formats/sparkplug/payload.h"

#include <pb_decode.h>

#include <bit>
#include <cstdint>

#include "base/text.h"
#include "record/varint.h"
#include "sparkplug.pb.h"

namespace millrace::sparkplug {
namespace {

#define SPARKPLUG(message) millrace_sparkplug_##message

pb_istream_t stream_of(BytesView given) {
  return pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(given.data()), given.size());
}

// What the callback stands at, to its end: of a stream over a buffer `state` is the place in it. False: it is
// not of `whole`. Where bytes are due and a number comes (a varint, fixed64), nanopb hands it out in a buffer
// of its own, which is gone afterwards: nothing may be a view of that.
bool rest_of(const pb_istream_t& stream, BytesView whole, BytesView& out) {
  out = {static_cast<const std::byte*>(stream.state), stream.bytes_left};
  const auto place = [](const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at); };
  const std::uintptr_t begin = place(whole.data()), at = place(out.data());
  return at >= begin && at - begin <= whole.size() && out.size() <= whole.size() - (at - begin);
}
bool within(const pb_istream_t& stream, BytesView whole) {
  BytesView rest;
  return rest_of(stream, whole, rest);
}
bool skip_rest(pb_istream_t* stream) { return pb_read(stream, nullptr, stream->bytes_left); }

// A view, and whether it came: an empty text is a text.
struct Came {
  BytesView whole;  // what it must be of
  BytesView view{};
  bool came = false;
};
bool take_view(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& to = *static_cast<Came*>(*arg);
  to.came = true;
  return rest_of(*stream, to.whole, to.view) && skip_rest(stream);
}
void into(pb_callback_t& callback, Came& out) {
  callback.funcs.decode = take_view;
  callback.arg = &out;
}

template <typename T>
struct Bounded {
  std::vector<T>& list;
  std::size_t most;
  BytesView whole;
  bool full = false;
};
template <typename T>
bool take_each(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& to = *static_cast<Bounded<T>*>(*arg);
  if (to.list.size() >= to.most) {
    to.full = true;
    return false;
  }
  BytesView rest;
  if (!rest_of(*stream, to.whole, rest)) return false;
  if constexpr (std::is_same_v<T, std::string_view>) to.list.push_back(text_of(rest));
  else to.list.push_back(rest);
  return skip_rest(stream);
}
template <typename T>
void into(pb_callback_t& callback, Bounded<T>& out) {
  callback.funcs.decode = take_each<T>;
  callback.arg = &out;
}

// Packed or one by one.
bool take_numbers(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& out = *static_cast<std::vector<std::uint32_t>*>(*arg);
  while (stream->bytes_left > 0) {
    std::uint32_t number = 0;
    if (out.size() >= cells_max || !pb_decode_varint32(stream, &number)) return false;
    out.push_back(number);
  }
  return true;
}

// The fields that every holder of a value has.
template <typename Message>
Value value_of(const Message& from, const Came& words) {
  Value value;
  if (from.has_int_value || from.has_long_value) {
    value.field = Value::whole;
    value.narrow = from.has_int_value;
    value.number = from.has_int_value ? from.int_value : from.long_value;
  } else if (words.came) {
    value.field = Value::words;
    value.view = words.view;
  }
  if constexpr (requires { from.has_float_value; }) {
    if (from.has_float_value || from.has_double_value) {
      value.field = Value::real;
      value.decimal = from.has_float_value ? static_cast<double>(from.float_value) : from.double_value;
    } else if (from.has_boolean_value) {
      value.field = Value::truth;
      value.flag = from.boolean_value;
    }
  }
  return value;
}

template <typename T>
struct Parts {
  std::vector<T>& list;
  BytesView whole;
};
bool take_property(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& [out, whole] = *static_cast<Parts<Property>*>(*arg);
  if (out.size() >= cells_max || !within(*stream, whole)) return false;
  SPARKPLUG(PropertyValue) from = SPARKPLUG(PropertyValue_init_zero);
  Came words{whole};
  into(from.string_value, words);
  if (!pb_decode(stream, SPARKPLUG(PropertyValue_fields), &from)) return false;
  Property& property = out.emplace_back();
  property.null = from.is_null;
  property.value = value_of(from, words);
  return true;
}

struct Rows {
  std::vector<std::vector<Value>>& rows;
  BytesView whole;
  std::size_t cells = 0;
};
bool take_cell(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& to = *static_cast<Rows*>(*arg);
  if (++to.cells > cells_max || !within(*stream, to.whole)) return false;
  SPARKPLUG(DataSetValue) from = SPARKPLUG(DataSetValue_init_zero);
  Came words{to.whole};
  into(from.string_value, words);
  if (!pb_decode(stream, SPARKPLUG(DataSetValue_fields), &from)) return false;
  to.rows.back().push_back(value_of(from, words));
  return true;
}
bool take_row(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& to = *static_cast<Rows*>(*arg);
  if (++to.cells > cells_max || !within(*stream, to.whole)) return false;
  to.rows.emplace_back();
  SPARKPLUG(Row) from = SPARKPLUG(Row_init_zero);
  from.elements.funcs.decode = take_cell;
  from.elements.arg = &to;
  return pb_decode(stream, SPARKPLUG(Row_fields), &from);
}

bool take_parameter(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& [out, whole] = *static_cast<Parts<Parameter>*>(*arg);
  if (out.size() >= cells_max || !within(*stream, whole)) return false;
  SPARKPLUG(Parameter) from = SPARKPLUG(Parameter_init_zero);
  Came name{whole}, words{whole};
  into(from.name, name);
  into(from.string_value, words);
  if (!pb_decode(stream, SPARKPLUG(Parameter_fields), &from)) return false;
  out.push_back({text_of(name.view), from.type, value_of(from, words)});
  return true;
}

// Fields as they are meant to be: nearly all payloads have no others, and these are read without nanopb,
// which takes ten times as long. Where anything is otherwise (a field of another type, one that is not known,
// a second value, a number that is too large) they give up, and nanopb says what is good of
// it.
class PlainFields {
 public:
  explicit PlainFields(BytesView given) : given_(given), reader_(given) {}

  // False at the end, or where one is otherwise: plain() says which.
  bool next(std::uint64_t& key) { return plain_ && !reader_.at_end() && take(2, key); }
  bool plain() const { return plain_; }
  void give_up() { plain_ = false; }

  std::uint64_t number(std::uint64_t most = UINT64_MAX) {
    std::uint64_t out = 0;
    if (take(10, out) && out > most) plain_ = false;
    return out;
  }
  bool truth() { return number(1) != 0; }
  BytesView view() {
    const std::uint64_t size = number();
    return plain_ ? keep(reader_.get_bytes(size)) : BytesView();
  }
  std::string_view words() { return text_of(view()); }
  std::uint64_t fixed64() { return keep(reader_.get_fixed64()); }
  std::uint32_t fixed32() { return keep(reader_.get_fixed32()); }

 private:
  // A varint of so many bytes at most.
  bool take(std::size_t most, std::uint64_t& out) {
    const std::size_t before = reader_.left();
    out = reader_.get_varint();
    const std::size_t bytes = before - reader_.left();
    plain_ = plain_ && reader_.ok() && bytes <= most;
    // The tenth byte has room for one bit.
    if (plain_ && bytes == 10) plain_ = given_[given_.size() - reader_.left() - 1] <= std::byte{1};
    return plain_;
  }
  template <typename Read>
  Read keep(Read read) {
    plain_ = plain_ && reader_.ok();
    return read;
  }

  BytesView given_;
  wire::Reader reader_;
  bool plain_ = true;
};

constexpr std::uint64_t key(std::uint64_t field, wire::Type type) { return field << 3 | type; }

bool read_plain(BytesView given, Payload& out) {
  PlainFields fields(given);
  out.metrics.reserve(8);
  std::uint64_t which = 0;
  while (fields.next(which)) {
    switch (which) {
      case key(SPARKPLUG(Payload_timestamp_tag), wire::varint): out.timestamp = fields.number(); break;
      case key(SPARKPLUG(Payload_metrics_tag), wire::length):
        if (out.metrics.size() >= payload_metrics_max) fields.give_up();
        out.metrics.push_back(fields.view());
        break;
      case key(SPARKPLUG(Payload_seq_tag), wire::varint): out.seq = fields.number(); break;
      case key(SPARKPLUG(Payload_uuid_tag), wire::length): out.uuid = fields.words(); break;
      case key(SPARKPLUG(Payload_body_tag), wire::length): out.body = fields.view(); break;
      default: fields.give_up();
    }
  }
  return fields.plain();
}

bool read_plain(BytesView given, Metric& out) {
  PlainFields fields(given);
  const auto value = [&](Value::Field field) -> Value& {
    if (out.value.field != Value::none) fields.give_up();
    out.value.field = field;
    return out.value;
  };
  std::uint64_t which = 0;
  while (fields.next(which)) {
    switch (which) {
      case key(SPARKPLUG(Metric_name_tag), wire::length): out.name = fields.words(); break;
      case key(SPARKPLUG(Metric_alias_tag), wire::varint): out.alias = fields.number(); break;
      case key(SPARKPLUG(Metric_timestamp_tag), wire::varint): out.timestamp = fields.number(); break;
      case key(SPARKPLUG(Metric_datatype_tag), wire::varint):
        out.type = static_cast<std::uint32_t>(fields.number(UINT32_MAX));
        break;
      case key(SPARKPLUG(Metric_is_historical_tag), wire::varint): out.historical = fields.truth(); break;
      case key(SPARKPLUG(Metric_is_transient_tag), wire::varint): out.transient = fields.truth(); break;
      case key(SPARKPLUG(Metric_is_null_tag), wire::varint): out.null = fields.truth(); break;
      case key(SPARKPLUG(Metric_properties_tag), wire::length): out.properties = fields.view(); break;
      case key(SPARKPLUG(Metric_int_value_tag), wire::varint): {
        Value& to = value(Value::whole);
        to.narrow = true;
        to.number = fields.number(UINT32_MAX);
        break;
      }
      case key(SPARKPLUG(Metric_long_value_tag), wire::varint):
        value(Value::whole).number = fields.number();
        break;
      case key(SPARKPLUG(Metric_float_value_tag), wire::fixed32):
        value(Value::real).decimal = std::bit_cast<float>(fields.fixed32());
        break;
      case key(SPARKPLUG(Metric_double_value_tag), wire::fixed64):
        value(Value::real).decimal = std::bit_cast<double>(fields.fixed64());
        break;
      case key(SPARKPLUG(Metric_boolean_value_tag), wire::varint):
        value(Value::truth).flag = fields.truth();
        break;
      case key(SPARKPLUG(Metric_string_value_tag), wire::length):
        value(Value::words).view = fields.view();
        break;
      case key(SPARKPLUG(Metric_bytes_value_tag), wire::length):
        value(Value::octets).view = fields.view();
        break;
      case key(SPARKPLUG(Metric_dataset_value_tag), wire::length):
        value(Value::table).view = fields.view();
        break;
      case key(SPARKPLUG(Metric_template_value_tag), wire::length):
        value(Value::group).view = fields.view();
        break;
      default: fields.give_up();
    }
  }
  return fields.plain();
}

}  // namespace

Status read_payload(BytesView given, Payload& out) {
  if (read_plain(given, out)) return {};
  out = {};
  SPARKPLUG(Payload) from = SPARKPLUG(Payload_init_zero);
  Came uuid{given}, body{given};
  Bounded<BytesView> metrics{out.metrics, payload_metrics_max, given};
  into(from.uuid, uuid);
  into(from.body, body);
  into(from.metrics, metrics);
  pb_istream_t stream = stream_of(given);
  if (!pb_decode(&stream, SPARKPLUG(Payload_fields), &from)) {
    if (metrics.full) return {Code::invalid, text("Sparkplug: more than ", payload_metrics_max, " metrics")};
    return {Code::invalid, text("not a Sparkplug payload: ", PB_GET_ERROR(&stream))};
  }
  if (from.has_timestamp) out.timestamp = from.timestamp;
  if (from.has_seq) out.seq = from.seq;
  out.uuid = text_of(uuid.view);
  out.body = body.view;
  return {};
}

bool read_metric(BytesView given, Metric& out) {
  if (read_plain(given, out)) return true;
  out = {};
  SPARKPLUG(Metric) from = SPARKPLUG(Metric_init_zero);
  Came name{given}, properties{given}, words{given}, octets{given}, table{given}, group{given};
  into(from.name, name);
  into(from.properties, properties);
  into(from.string_value, words);
  into(from.bytes_value, octets);
  into(from.dataset_value, table);
  into(from.template_value, group);
  pb_istream_t stream = stream_of(given);
  if (!pb_decode(&stream, SPARKPLUG(Metric_fields), &from)) return false;
  out.name = text_of(name.view);
  if (from.has_alias) out.alias = from.alias;
  if (from.has_timestamp) out.timestamp = from.timestamp;
  out.type = from.has_datatype ? from.datatype : std::uint32_t{DataType::unknown};
  out.historical = from.is_historical;
  out.transient = from.is_transient;
  out.null = from.is_null;
  out.properties = properties.view;
  out.value = value_of(from, words);
  for (const auto& [came, field] : {std::pair{&octets, Value::octets}, std::pair{&table, Value::table},
                                    std::pair{&group, Value::group}}) {
    if (came->came && out.value.field == Value::none) {
      out.value.field = field;
      out.value.view = came->view;
    }
  }
  return true;
}

bool read_properties(BytesView given, std::vector<Property>& out) {
  SPARKPLUG(PropertySet) from = SPARKPLUG(PropertySet_init_zero);
  std::vector<std::string_view> names;
  Bounded<std::string_view> keys{names, cells_max, given};
  into(from.keys, keys);
  from.values.funcs.decode = take_property;
  Parts<Property> made{out, given};
  from.values.arg = &made;
  pb_istream_t stream = stream_of(given);
  if (!pb_decode(&stream, SPARKPLUG(PropertySet_fields), &from) || names.size() != out.size()) return false;
  for (std::size_t i = 0; i < names.size(); ++i) out[i].key = names[i];
  return true;
}

bool read_data_set(BytesView given, DataSet& out) {
  SPARKPLUG(DataSet) from = SPARKPLUG(DataSet_init_zero);
  Bounded<std::string_view> columns{out.columns, cells_max, given};
  Rows rows{out.rows, given};
  into(from.columns, columns);
  from.types.funcs.decode = take_numbers;
  from.types.arg = &out.types;
  from.rows.funcs.decode = take_row;
  from.rows.arg = &rows;
  pb_istream_t stream = stream_of(given);
  return pb_decode(&stream, SPARKPLUG(DataSet_fields), &from);
}

bool read_template(BytesView given, Template& out) {
  SPARKPLUG(Template) from = SPARKPLUG(Template_init_zero);
  Bounded<BytesView> metrics{out.metrics, cells_max, given};
  into(from.metrics, metrics);
  from.parameters.funcs.decode = take_parameter;
  Parts<Parameter> made{out.parameters, given};
  from.parameters.arg = &made;
  pb_istream_t stream = stream_of(given);
  if (!pb_decode(&stream, SPARKPLUG(Template_fields), &from)) return false;
  out.definition = from.is_definition;
  return true;
}

Bytes rebirth_request(std::uint64_t timestamp_ms) {
  Bytes metric, out;
  wire::Writer of_metric(metric), writer(out);
  of_metric.text_field(SPARKPLUG(Metric_name_tag), "Node Control/Rebirth");
  of_metric.uint_field(SPARKPLUG(Metric_timestamp_tag), timestamp_ms);
  of_metric.uint_field(SPARKPLUG(Metric_datatype_tag), DataType::boolean);
  of_metric.uint_field(SPARKPLUG(Metric_boolean_value_tag), 1);
  writer.uint_field(SPARKPLUG(Payload_timestamp_tag), timestamp_ms);
  writer.bytes_field(SPARKPLUG(Payload_metrics_tag), metric);
  return out;
}

}  // namespace millrace::sparkplug
