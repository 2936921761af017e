#include "decode/proto_types.h"

#include <algorithm>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr int nested_max = 16;

std::string_view name_in(BytesView bytes) { return text_of(bytes).substr(0, 256); }

}  // namespace

class DescriptorReader {
 public:
  Status read(BytesView bytes) {
    if (bytes.size() > ProtoTypes::set_bytes_max)
      return {Code::invalid, text("a descriptor set of more than ", ProtoTypes::set_bytes_max, " bytes")};
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (field == 1 && type == wire::length) file(reader.get_bytes());
      else reader.skip(type);
    }
    if (!reader.ok() || !good_)
      return {Code::invalid, "it is no descriptor set (protoc --include_imports --descriptor_set_out)"};
    if (types.messages_.size() > ProtoTypes::types_max || fields_ > ProtoTypes::fields_max)
      return {Code::invalid, "it has too many types"};
    if (types.messages_.empty()) return {Code::invalid, "there is no message in it"};
    return resolve();
  }

  ProtoTypes types;

 private:
  void file(BytesView bytes) {
    std::string package;
    proto3_ = false;
    // Its syntax is said behind its messages.
    wire::Reader before(bytes);
    for (std::uint32_t field = 0, type = 0; before.next(field, type);) {
      if (field == 2 && type == wire::length) package = name_in(before.get_bytes());
      else if (field == 12 && type == wire::length) proto3_ = text_of(before.get_bytes()) == "proto3";
      else before.skip(type);
    }
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (field == 4 && type == wire::length) message(reader.get_bytes(), package, 0);
      else if (field == 5 && type == wire::length) enumeration(reader.get_bytes(), package);
      else reader.skip(type);
    }
    good_ = good_ && before.ok() && reader.ok();
  }

  static std::string full(const std::string& scope, std::string_view name) {
    return scope.empty() ? std::string(name) : text(scope, ".", name);
  }

  void message(BytesView bytes, const std::string& scope, int depth) {
    if (depth > nested_max || types.messages_.size() > ProtoTypes::types_max)
      return void(good_ = depth <= nested_max && good_);
    ProtoMessage made;
    wire::Reader names(bytes);
    for (std::uint32_t field = 0, type = 0; names.next(field, type);) {
      if (field == 1 && type == wire::length) made.name = full(scope, name_in(names.get_bytes()));
      else names.skip(type);
    }
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (type != wire::length) {
        reader.skip(type);
        continue;
      }
      const BytesView part = reader.get_bytes();
      if (field == 2) made.fields.push_back(one_field(part));
      else if (field == 3) message(part, made.name, depth + 1);
      else if (field == 4) enumeration(part, made.name);
      else if (field == 7) made.map_entry = flag(part, 7);
    }
    good_ = good_ && names.ok() && reader.ok() && !made.name.empty();
    fields_ += made.fields.size();
    std::sort(made.fields.begin(), made.fields.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
    static constexpr std::pair<std::string_view, ProtoMessage::As> known[] = {
        {"Timestamp", ProtoMessage::timestamp}, {"Duration", ProtoMessage::duration},
        {"DoubleValue", ProtoMessage::wrapper}, {"FloatValue", ProtoMessage::wrapper},
        {"Int64Value", ProtoMessage::wrapper},  {"UInt64Value", ProtoMessage::wrapper},
        {"Int32Value", ProtoMessage::wrapper},  {"UInt32Value", ProtoMessage::wrapper},
        {"BoolValue", ProtoMessage::wrapper},   {"StringValue", ProtoMessage::wrapper},
        {"BytesValue", ProtoMessage::wrapper}};
    for (const auto& [name, as] : known) {
      if (scope == "google.protobuf" && made.name == text("google.protobuf.", name)) made.as = as;
    }
    const bool bare = made.fields.size() == 1 && made.fields[0].type != ProtoField::message &&
                      made.fields[0].type != ProtoField::group;
    if (made.as == ProtoMessage::wrapper && !bare) made.as = ProtoMessage::itself;
    types.message_names_.emplace(made.name, static_cast<int>(types.messages_.size()));
    types.messages_.push_back(std::move(made));
  }

  bool flag(BytesView options, std::uint32_t which) {
    wire::Reader reader(options);
    bool set = false;
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (field == which && type == wire::varint) set = reader.get_varint() != 0;
      else reader.skip(type);
    }
    return set && reader.ok();
  }

  ProtoField one_field(BytesView bytes) {
    ProtoField made;
    bool in_oneof = false, optional = false;
    std::uint64_t kind = 0;
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (type == wire::length && field == 1) made.name = name_in(reader.get_bytes());
      else if (type == wire::length && field == 6) made.of_name = name_in(reader.get_bytes());
      else if (type == wire::varint && field == 3)
        made.number = static_cast<std::uint32_t>(reader.get_varint());
      else if (type == wire::varint && field == 4) made.repeated = reader.get_varint() == 3;
      else if (type == wire::varint && field == 5) kind = reader.get_varint();
      else if (type == wire::varint && field == 9) reader.get_varint(), in_oneof = true;
      else if (type == wire::varint && field == 17) optional = reader.get_varint() != 0;
      else reader.skip(type);
    }
    good_ = good_ && reader.ok() && kind >= ProtoField::real64 && kind <= ProtoField::sint64 &&
            !made.name.empty() && made.number > 0;
    if (good_) made.type = static_cast<ProtoField::Type>(kind);
    made.implicit = proto3_ && !made.repeated && !in_oneof && !optional && made.type != ProtoField::message &&
                    made.type != ProtoField::group;
    good_ = good_ && check_label(Label::metric, made.name).ok();
    return made;
  }

  void enumeration(BytesView bytes, const std::string& scope) {
    std::string name;
    std::map<std::int32_t, std::string> values;
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (field == 1 && type == wire::length) name = name_in(reader.get_bytes());
      else if (field == 2 && type == wire::length) enumerator(reader.get_bytes(), values);
      else reader.skip(type);
    }
    good_ = good_ && reader.ok();
    fields_ += values.size();
    types.enumeration_names_.emplace(full(scope, name), static_cast<int>(types.enumerations_.size()));
    types.enumerations_.push_back(std::move(values));
  }
  void enumerator(BytesView bytes, std::map<std::int32_t, std::string>& values) {
    std::string name;
    std::int32_t number = 0;
    wire::Reader reader(bytes);
    for (std::uint32_t field = 0, type = 0; reader.next(field, type);) {
      if (field == 1 && type == wire::length) name = name_in(reader.get_bytes());
      else if (field == 2 && type == wire::varint) number = static_cast<std::int32_t>(reader.get_varint());
      else reader.skip(type);
    }
    good_ = good_ && reader.ok();
    values.emplace(number, std::move(name));
  }

  // Names of types to where they are. protoc writes all with a dot in front.
  Status resolve() {
    for (ProtoMessage& message : types.messages_) {
      for (ProtoField& field : message.fields) {
        const bool of_message = field.type == ProtoField::message || field.type == ProtoField::group;
        if (!of_message && field.type != ProtoField::enumeration) continue;
        const auto& names = of_message ? types.message_names_ : types.enumeration_names_;
        const auto found = names.find(field.of_name.substr(field.of_name.starts_with('.') ? 1 : 0));
        if (found == names.end())
          return {Code::invalid, text("it lacks ", shown(field.of_name), " (protoc --include_imports)")};
        field.of = found->second;
      }
    }
    return {};
  }

  std::size_t fields_ = 0;
  bool proto3_ = false, good_ = true;
};

const ProtoField* ProtoMessage::field(std::uint32_t wanted) const {
  const auto at = std::ranges::lower_bound(fields, wanted, {}, &ProtoField::number);
  return at != fields.end() && at->number == wanted ? &*at : nullptr;
}

Result<ProtoTypes> ProtoTypes::read(BytesView descriptor_set) {
  DescriptorReader reader;
  if (Status status = reader.read(descriptor_set); !status.ok()) return status;
  return std::move(reader.types);
}

int ProtoTypes::find(std::string_view message) const {
  const auto found = message_names_.find(message);
  return found == message_names_.end() ? -1 : found->second;
}

std::vector<std::string> ProtoTypes::names() const {
  std::vector<std::string> out;
  for (const ProtoMessage& message : messages_) {
    if (!message.map_entry && message.as == ProtoMessage::itself) out.push_back(message.name);
  }
  return out;
}

const std::string* ProtoTypes::enumerator(int enumeration, std::int32_t number) const {
  const auto& values = enumerations_[static_cast<std::size_t>(enumeration)];
  const auto found = values.find(number);
  return found == values.end() ? nullptr : &found->second;
}

}  // namespace millrace
