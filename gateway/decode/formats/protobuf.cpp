// Protocol Buffers messages by a descriptor set of the device's own .proto (proto_types.h): fields are
// members by their names, repeated ones lists, maps are maps, enumerations texts; what proto3 leaves out
// because it is 0 is 0. Timestamps are microseconds since 1970, durations seconds, wrappers their value,
// bytes hex. A value's place is the byte where it begins on the wire; of what is left out it counts apart.
// Bytes that are no message of the type are refused whole: on such a wire nothing behind a fault can be told
// from noise. Groups (proto1) are not read.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/format_kind.h"
#include "decode/json_walk.h"
#include "decode/proto_types.h"
#include "record/varint.h"

namespace millrace {
namespace {

struct ProtobufConfig {
  std::string descriptor_set, message;
  bool enum_numbers = false, delimited = false, empty_is_zeros = false;
  std::shared_ptr<const ProtoTypes> types;  // of the file, once it was read
  std::uint64_t digest = 0;
};
using C = ProtobufConfig;
using K = KeysOf<C>;
constexpr Key keys[] = {
    K::key<&C::descriptor_set>(
        "descriptor_set",
        "What protoc --include_imports --descriptor_set_out=FILE wrote of the device's .proto")
        .like("\"/etc/millrace/device.desc\""),
    K::key<&C::message>("message", "The type of a payload, with its package").like("\"plant.Telemetry\""),
    K::choice<&C::enum_numbers>("enums", "names=0|numbers=1", "What enumerations become"),
    K::key<&C::delimited>("delimited",
                          "A payload is several messages, each with its size in front (a varint)"),
    K::choice<&C::empty_is_zeros>(
        "empty", "refuse=0|zeros=1",
        "Of a payload without bytes: a broker says so that a retained value is gone, a device that all its values are 0"),
};

void settle_keys(Section& section, C& c) {
  if (c.descriptor_set.empty()) return section.error("format = \"protobuf\" needs a descriptor_set");
  // The daemon's folder is not that of whoever checks; and what is no file could keep us waiting.
  if (!c.descriptor_set.starts_with('/'))
    return section.error("descriptor_set", text("\"", c.descriptor_set, "\" must begin with /"));
  if (is_no_file(c.descriptor_set))
    return section.error("descriptor_set", text(c.descriptor_set, " is no file"));
  const auto file = read_file(c.descriptor_set, ProtoTypes::set_bytes_max);
  if (!file.ok()) return section.error("descriptor_set", file.status().detail());
  auto types = ProtoTypes::read(bytes_of(file.value()));
  if (!types.ok())
    return section.error("descriptor_set", text(c.descriptor_set, ": ", types.status().detail()));
  c.digest = digest64(bytes_of(file.value()));
  c.types = std::make_shared<const ProtoTypes>(std::move(types).value());
  if (c.types->find(c.message) >= 0) return;
  const std::vector<std::string> names = c.types->names();
  const std::string_view nearest = nearest_word(c.message, {names.begin(), names.end()});
  section.error("message", text("there is no message \"", c.message, "\" in ", c.descriptor_set,
                                nearest.empty() ? "" : "; ", nearest, nearest.empty() ? "" : "?"));
}

bool same_file(const void* a, const void* b) {
  return static_cast<const C*>(a)->digest == static_cast<const C*>(b)->digest;
}
constexpr Shape shape = [] {
  Shape out = shape_of<C, settle_keys>(keys);
  out.same = same_file;
  return out;
}();

// One value as it is on the wire.
struct Wired {
  const ProtoField* field;
  std::uint32_t place;
  std::uint64_t raw = 0;
  BytesView bytes = {};
};

bool is_numeric(ProtoField::Type type) {
  return type != ProtoField::string && type != ProtoField::bytes && type != ProtoField::message &&
         type != ProtoField::group;
}

std::uint32_t wire_of(ProtoField::Type type) {
  using F = ProtoField;
  if (type == F::real64 || type == F::fixed64 || type == F::sfixed64) return wire::fixed64;
  if (type == F::real32 || type == F::fixed32 || type == F::sfixed32) return wire::fixed32;
  return is_numeric(type) ? wire::varint : wire::length;
}

// Tells a walk what a payload holds.
class Teller {
 public:
  static constexpr std::size_t values_max = 100'000;
  static constexpr std::uint32_t left_out = 0x8000'0000;  // places of what is not on the wire

  Teller(const ProtoTypes& types, bool enum_numbers, BytesView payload, JsonWalk& walk, Unread& unread)
      : types_(types), enum_numbers_(enum_numbers), begin_(payload.data()), walk_(walk), unread_(unread) {
    walk_.also(&also_);
  }

  Status message(const ProtoMessage& type, BytesView bytes) { return message(type, {&bytes, 1}); }

 private:
  using Pieces = std::span<const BytesView>;

  // What was said of it in several pieces is merged.
  Status message(const ProtoMessage& type, Pieces pieces) {
    std::vector<Wired> values;
    Slots came;
    if (Status status = read(type, pieces, values, came); !status.ok()) return status;
    walk_.at(place_of(pieces.front().data()));
    if (depth_++ == 0) also_.clear();
    if (!walk_.begin_object()) return walk_.fault();
    for (std::size_t i = 0; i < values.size();) {
      std::size_t end = i + 1;
      while (end < values.size() && values[end].field == values[i].field) ++end;
      if (Status status = one_field({values.begin() + static_cast<std::ptrdiff_t>(i), end - i}); !status.ok())
        return status;
      i = end;
    }
    for (std::size_t i = 0; i < type.fields.size(); ++i) {
      if (!type.fields[i].implicit || came[i] != not_there) continue;
      if (Status status = tell_left_out(type.fields[i]); !status.ok()) return status;
    }
    walk_.at(place_of(pieces.back().data() + pieces.back().size()));
    --depth_;
    return walk_.end_object() ? Status() : walk_.fault();
  }

  // Of each field of a type: which of the values is its first one.
  using Slots = std::vector<std::uint32_t>;
  static constexpr std::uint32_t not_there = UINT32_MAX;

  static Status too_many() { return {Code::invalid, text("more than ", values_max, " values")}; }
  std::uint32_t place_of(const std::byte* at) const { return static_cast<std::uint32_t>(at - begin_); }

  // All fields of the message that the type knows, by field in the order in which each came first.
  Status read(const ProtoMessage& type, Pieces pieces, std::vector<Wired>& out) {
    Slots came;
    return read(type, pieces, out, came);
  }
  Status read(const ProtoMessage& type, Pieces pieces, std::vector<Wired>& out, Slots& came) {
    came.assign(type.fields.size(), not_there);
    for (const BytesView piece : pieces) {
      if (Status status = read_piece(type, piece, out, came); !status.ok()) return status;
    }
    const auto slot_of = [&](const Wired& one) {
      return came[static_cast<std::size_t>(one.field - type.fields.data())];
    };
    if (!std::ranges::is_sorted(out, {}, slot_of)) std::ranges::stable_sort(out, {}, slot_of);
    return {};
  }
  Status read_piece(const ProtoMessage& type, BytesView bytes, std::vector<Wired>& out, Slots& came) {
    const auto slot_of = [&](const Wired& one) -> std::uint32_t& {
      return came[static_cast<std::size_t>(one.field - type.fields.data())];
    };
    const auto add = [&](const Wired& value) {
      ++count_;
      std::uint32_t& slot = slot_of(value);
      const bool again = slot != not_there;
      // Of what is not repeated the last one counts.
      if (again && !value.field->repeated && value.field->type != ProtoField::message) {
        out[slot] = value;
        return;
      }
      if (!again) slot = static_cast<std::uint32_t>(out.size());
      out.push_back(value);
    };
    wire::Reader reader(bytes);
    const auto here = [&] { return place_of(bytes.data() + (bytes.size() - reader.left())); };
    for (std::uint32_t number = 0, wired = 0; reader.next(number, wired);) {
      const ProtoField* field = type.field(number);
      if (!field || field->type == ProtoField::group) {
        reader.skip(wired);
        continue;
      }
      const std::uint32_t place = here();
      if (wired == wire::length && field->repeated && is_numeric(field->type)) {
        const BytesView packed = reader.get_bytes();
        wire::Reader inner(packed);
        while (!inner.at_end() && inner.ok() && count_ <= values_max) {
          const std::uint32_t at = place_of(packed.data() + (packed.size() - inner.left()));
          add({field, at, raw_of(inner, wire_of(field->type))});
        }
        if (!inner.ok()) reader.fail();
      } else if (wired != wire_of(field->type)) {
        return {Code::invalid, text("no ", type.name, ": \"", field->name, "\" is of another type there")};
      } else if (wired == wire::length) {
        const BytesView value = reader.get_bytes();
        add({field, place_of(value.data()), 0, value});
      } else {
        add({field, place, raw_of(reader, wired)});
      }
      if (count_ > values_max) return too_many();
    }
    if (!reader.ok())
      return {Code::invalid, text("no ", type.name, ": its bytes make no sense at or before byte ", here())};
    return {};
  }
  static std::uint64_t raw_of(wire::Reader& reader, std::uint32_t wired) {
    return wired == wire::varint    ? reader.get_varint()
           : wired == wire::fixed64 ? reader.get_fixed64()
                                    : reader.get_fixed32();
  }

  Status one_field(std::span<const Wired> values) {
    const ProtoField& field = *values[0].field;
    const bool map = field.type == ProtoField::message && types_.message(field.of).map_entry;
    if (map) return tell_map(field, values);
    if (field.repeated) {
      (void)walk_.key(field.name);
      walk_.at(values[0].place);
      if (!walk_.begin_array()) return walk_.fault();
    }
    if (!field.repeated) {
      (void)walk_.key(field.name);
      return tell(values);
    }
    for (const Wired& value : values) {
      if (Status status = tell({&value, 1}); !status.ok()) return status;
    }
    return walk_.end_array() ? Status() : walk_.fault();
  }

  // Keys of a map are names; a key or value that is left out is 0.
  Status tell_map(const ProtoField& field, std::span<const Wired> entries) {
    const ProtoMessage& entry = types_.message(field.of);
    const ProtoField *of_key = entry.field(1), *of_value = entry.field(2);
    if (!of_key || !of_value) return {};
    (void)walk_.key(field.name);
    walk_.at(entries[0].place);
    if (!walk_.begin_object()) return walk_.fault();
    for (const Wired& one : entries) {
      std::vector<Wired> parts, values;
      if (Status status = read(entry, {&one.bytes, 1}, parts); !status.ok()) return status;
      std::string key = of_key->type == ProtoField::string ? "" : "0";
      for (const Wired& part : parts) {
        if (part.field == of_value) values.push_back(part);
        else if (part.field == of_key)
          key = is_numeric(of_key->type) ? spelled(part) : std::string(text_of(part.bytes));
      }
      if (!good_utf8(key) || key.empty()) {
        unread_.refuse({one.place, one.place + 1}, field.name, "a key of the map that is no name");
        continue;
      }
      keys_.push_back(std::make_unique<std::string>(std::move(key)));
      (void)walk_.key(*keys_.back());
      if (!values.empty()) {
        if (Status status = tell(values); !status.ok()) return status;
      } else if (is_numeric(of_value->type)) {
        tell_number({of_value, one.place});
      }
    }
    return walk_.end_object() ? Status() : walk_.fault();
  }

  // One value; or, of a message, all that was said of it.
  Status tell(std::span<const Wired> values) {
    const Wired& value = values.back();
    const ProtoField& field = *value.field;
    if (field.type == ProtoField::message) return tell_message(values);
    walk_.at(value.place);
    if (field.type == ProtoField::bytes) {
      (void)walk_.string(keep(to_hex(value.bytes)));
    } else if (field.type == ProtoField::string) {
      const std::string_view given = text_of(value.bytes);
      (void)(good_utf8(given) ? walk_.string(given) : walk_.unreadable(given));  // it has its place in a list
    } else {
      tell_number(value);
    }
    return walk_.fault();
  }

  Status tell_message(std::span<const Wired> values) {
    const Wired& value = values.front();
    const ProtoMessage& type = types_.message(value.field->of);
    std::vector<BytesView> pieces;
    for (const Wired& one : values) pieces.push_back(one.bytes);
    if (type.as == ProtoMessage::itself) return message(type, pieces);
    std::vector<Wired> parts;
    if (Status status = read(type, pieces, parts); !status.ok()) return status;
    const auto raw = [&](std::uint32_t number) {
      const auto found = std::ranges::find(parts, type.field(number), &Wired::field);
      return found == parts.end() ? std::int64_t{0} : static_cast<std::int64_t>(found->raw);
    };
    const std::int64_t seconds = raw(1), nanos = static_cast<std::int32_t>(raw(2));
    walk_.at(value.place);
    if (type.as == ProtoMessage::wrapper) {
      if (!parts.empty()) return tell({&parts.back(), 1});
      if (const ProtoField* field = type.field(1)) tell_zero(*field, value.place);
      return walk_.fault();
    }
    if (type.as == ProtoMessage::duration) {
      (void)walk_.number(keep(text(static_cast<double>(seconds) + static_cast<double>(nanos) / 1e9)));
      return walk_.fault();
    }
    std::int64_t us = 0;
    if (__builtin_mul_overflow(seconds, std::int64_t{1'000'000}, &us) ||
        __builtin_add_overflow(us, nanos / 1000, &us))
      (void)walk_.unreadable("a time beyond all bounds");
    else (void)walk_.number(keep(text(us)));
    return walk_.fault();
  }

  // It counts as a value: many small messages of a large type are many of them.
  Status tell_left_out(const ProtoField& field) {
    if (++count_ > values_max) return too_many();
    const std::uint32_t place = left_out + left_out_++;
    also_.push_back({place, place + 1});
    (void)walk_.key(field.name);
    tell_zero(field, place);
    return walk_.fault();
  }
  void tell_zero(const ProtoField& field, std::uint32_t place) {
    walk_.at(place);
    if (is_numeric(field.type)) tell_number({&field, place});
    else if (field.type == ProtoField::string) (void)walk_.string("");
  }

  void tell_number(const Wired& value) {
    walk_.at(value.place);
    if (value.field->type == ProtoField::truth) return void(walk_.boolean(value.raw != 0));
    if (value.field->type == ProtoField::enumeration && !enum_numbers_) {
      if (const std::string* name = types_.enumerator(value.field->of, static_cast<std::int32_t>(value.raw)))
        return void(walk_.string(*name));
    }
    const double real = value.field->type == ProtoField::real64 ? std::bit_cast<double>(value.raw)
                        : value.field->type == ProtoField::real32
                            ? static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(value.raw)))
                            : 0;
    if (!std::isfinite(real)) return void(walk_.null());
    (void)walk_.number(keep(spelled(value)));
  }

  static std::string spelled(const Wired& value) {
    const std::uint64_t raw = value.raw;
    switch (value.field->type) {
      case ProtoField::real64: return text(std::bit_cast<double>(raw));
      case ProtoField::real32: return text(std::bit_cast<float>(static_cast<std::uint32_t>(raw)));
      case ProtoField::uint64:
      case ProtoField::fixed64: return text(raw);
      case ProtoField::uint32:
      case ProtoField::fixed32: return text(static_cast<std::uint32_t>(raw));
      case ProtoField::sint32:
      case ProtoField::sint64: return text(wire::unzigzag(raw));
      case ProtoField::truth: return raw ? "true" : "false";
      case ProtoField::int64:
      case ProtoField::sfixed64: return text(static_cast<std::int64_t>(raw));
      default: return text(static_cast<std::int32_t>(raw));
    }
  }

  // The walk looks at it until the payload ends.
  std::string_view keep(std::string made) {
    keys_.push_back(std::make_unique<std::string>(std::move(made)));
    return *keys_.back();
  }

  const ProtoTypes& types_;
  const bool enum_numbers_;
  const std::byte* begin_;
  JsonWalk& walk_;
  Unread& unread_;
  ValueRuns also_;
  std::vector<std::unique_ptr<std::string>> keys_;
  std::size_t count_ = 0, depth_ = 0;
  std::uint32_t left_out_ = 0;
};

// What a route asks for, by the types: whether there are such fields, and what its time is.
class Asked {
 public:
  Asked(const ProtoTypes& types, const PlanNode& root, const ProtoMessage& type) : types_(types) {
    message(root, type, true);
  }
  const std::string& other_field() const { return other_; }  // one that is asked for and is none
  bool time_is_timestamp() const { return timestamp_; }

 private:
  // `sure`: nothing else can be there.
  void message(const PlanNode& node, const ProtoMessage& type, bool sure) {
    for (const auto& child : node.children) {
      bool found = child->step.kind != PathStep::name;
      for (const ProtoField& one : type.fields) {
        if (child->step.kind == PathStep::each_member) field(*child, one, one.repeated, false);
        if (child->step.kind != PathStep::name || child->step.text != one.name) continue;
        found = true;
        field(*child, one, one.repeated, sure);
      }
      if (!found && sure && !child->by_each && other_.empty()) other_ = child->step.text;
    }
  }
  void field(const PlanNode& node, const ProtoField& is, bool repeated, bool sure) {
    const ProtoMessage* type = is.type == ProtoField::message ? &types_.message(is.of) : nullptr;
    if (type && type->map_entry) {
      const ProtoField* value = type->field(2);
      for (const auto& child : node.children) {
        if (value) field(*child, *value, false, sure);
      }
    } else if (repeated) {
      for (const auto& child : node.children) {
        if (child->step.kind != PathStep::name) field(*child, is, false, sure);
      }
    } else if (type && type->as == ProtoMessage::itself) {
      message(node, *type, sure);
    } else if (type && type->as == ProtoMessage::timestamp) {
      timestamp_ = timestamp_ || std::ranges::find(node.slots, JsonPlan::slot_time) != node.slots.end();
    }
  }

  const ProtoTypes& types_;
  std::string other_;
  bool timestamp_ = false;
};

class ProtobufFormat final : public PayloadFormat {
 public:
  ProtobufFormat(const C& config, std::unique_ptr<JsonPlan> plan)
      : types_(config.types),
        type_(types_->message(types_->find(config.message))),
        enum_numbers_(config.enum_numbers),
        delimited_(config.delimited),
        empty_is_zeros_(config.empty_is_zeros),
        plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size(), none_before = unread.no_value;
    if (payload.arrival.bytes.empty() && !delimited_ && !empty_is_zeros_)
      return {
          Code::invalid,
          "no bytes: a retained value that is gone, or a message whose values are all 0 (empty = \"zeros\" if devices send such)"};
    JsonWalk walk(*plan_, payload, out, unread);
    Teller teller(*types_, enum_numbers_, payload.arrival.bytes, walk, unread);
    Status status;
    if (!delimited_) {
      status = teller.message(type_, payload.arrival.bytes);
    } else {
      wire::Reader reader(payload.arrival.bytes);
      while (!reader.at_end() && status.ok()) {
        const BytesView one = reader.get_bytes();
        status = reader.ok() ? teller.message(type_, one)
                             : Status{Code::invalid, "the payload ends in the middle of a message"};
      }
    }
    if (status.ok()) status = walk.fault();
    const bool nothing = payload.arrival.bytes.empty() && out.size() == before && !unread.any();
    if (status.ok() && nothing && !unread.ignored && unread.no_value == none_before) ++unread.no_value;
    if (!status.ok()) {
      out.resize(before);
      unread.clear();
    }
    return status;
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  std::shared_ptr<const ProtoTypes> types_;
  const ProtoMessage& type_;
  bool enum_numbers_, delimited_, empty_is_zeros_;
  std::unique_ptr<JsonPlan> plan_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  const C config = keys_of<C>(route);
  if (!config.types || config.types->find(config.message) < 0)
    return Status{Code::invalid, "there is no descriptor_set, or no such message in it"};
  auto plan = compile_json_plan(route, pattern);
  if (!plan.ok()) return plan.status();
  const Asked asked(*config.types, plan.value()->root,
                    config.types->message(config.types->find(config.message)));
  if (!asked.other_field().empty())
    return Status{Code::invalid, text(config.message, " has no field \"", asked.other_field(), "\" there")};
  // Its unit is known: by its size 1500 s since 1970, as microseconds, would be some day of 2017.
  if (asked.time_is_timestamp()) {
    TimeFormat& format = plan.value()->time.format;
    if (format == TimeFormat::automatic) format = TimeFormat::us;
    if (format != TimeFormat::us && format != TimeFormat::uptime)
      return Status{Code::invalid, text("time_format = \"", route.time_format, "\": \"", route.time,
                                        "\" is a Timestamp, whose unit is known")};
  }
  return std::unique_ptr<PayloadFormat>(std::make_unique<ProtobufFormat>(config, std::move(plan).value()));
}

}  // namespace

extern const FormatKind protobuf_format_kind;
const FormatKind protobuf_format_kind = [] {
  FormatKind kind = by_paths(format_kind<C>("protobuf", "Protocol Buffers by a descriptor set", shape, make));
  kind.of_nothing = true;
  return kind;
}();

}  // namespace millrace
