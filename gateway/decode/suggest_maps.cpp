#include "decode/suggest_maps.h"

#include <map>
#include <set>

#include "base/utf8.h"
#include "config/key_text.h"

namespace millrace::suggested {
namespace {

constexpr std::string_view writer_names[] = {"publisherid", "datasetwritername", "applicationuri",
                                             "endpointurl", "datasetwriterid"};
constexpr std::string_view opc_time_names[] = {"sourcetimestamp", "servertimestamp"};

bool is_word(const Tree& tree) { return tree.kind == Tree::string && !tree.text.empty(); }
bool is_named(const Tree& tree) { return is_word(tree) || tree.kind == Tree::number; }
bool has_value(const Tree& tree) { return tree.scalar() && tree.kind != Tree::nothing; }

// Where the value of an object is that has one: "Value", and "Value.Body" of OPC UA's variants.
std::string value_path(const Tree& object) {
  if (object.kind != Tree::object) return {};
  if (const std::string* name = best_member(object, value_names, has_value)) return stepped({}, *name);
  for (const auto& [name, part] : object.parts) {
    const bool variant = part->kind == Tree::object && rank_in(value_names, name) < std::size(value_names);
    if (variant && part->member("Body")) return stepped(stepped({}, name), "Body");
  }
  return {};
}

// Nothing but what a value may have beside it: a time, a quality, a unit.
bool says_nothing(const Tree& object) {
  return object.kind == Tree::object && std::ranges::all_of(object.parts, [](const auto& part) {
           const auto& [name, value] = part;
           return value->kind == Tree::nothing || rank_in(time_names, name) < std::size(time_names) ||
                  rank_in(opc_time_names, name) < std::size(opc_time_names) ||
                  rank_in(quality_names, name) < std::size(quality_names);
         });
}

// A map, the object that it is a member of, and how `each` comes there.
struct Found {
  enum Kind { none, values, bare, fields, data, times, lists } kind = none;
  const Tree *map = nullptr, *around = nullptr;
  std::string each, path;   // and to that object
  bool of_message = false;  // that is known: what is around it is said of it
};

// Telegraf's fields.
bool has_fields(const Tree& object) {
  const Tree *fields = object.member("fields"), *name = object.member("name"), *tags = object.member("tags");
  return fields && fields->kind == Tree::object && !fields->parts.empty() && name && is_word(*name) &&
         (tags || object.member("timestamp")) &&
         std::ranges::all_of(fields->parts, [](const auto& part) { return part.second->scalar(); });
}

// A message of OPC UA PubSub; its fields may be bare values.
bool has_data(const Tree& object) {
  const Tree* data = object.member("Payload");
  const bool header = object.member("DataSetWriterId") || object.member("DataSetWriterName") ||
                      object.member("MetaDataVersion") || object.member("SequenceNumber");
  return data && data->kind == Tree::object && !data->parts.empty() && header;
}

// What is around the values of a map says what they are: a time, a device, a kind.
bool is_heading(std::string_view name) {
  return rank_in(time_names, name) < std::size(time_names) ||
         rank_in(device_names, name) < std::size(device_names) || name == "type" || name.starts_with('@');
}

bool is_map_of_values(const Tree& object, bool of_message) {
  std::size_t values = 0;
  for (const auto& [name, part] : object.parts) {
    const bool value = !value_path(*part).empty();
    if (value) ++values;
    else if (part->kind == Tree::object ? !of_message || !says_nothing(*part)
                                        : of_message || !is_heading(name))
      return false;
  }
  return values >= (of_message ? 1u : 2u);
}

// {"Pump A": [{"ts": 1767225600, "values": {"t": 21.5}}], "Pump B": [...]}: devices, or readings by their
// names.
bool is_map_of_lists(const Tree& object) {
  return object.parts.size() > 1 && std::ranges::all_of(object.parts, [](const auto& part) {
           return part.second->kind == Tree::list && !part.second->parts.empty() &&
                  std::ranges::all_of(part.second->parts, [](const auto& element) {
                    return element.second->kind == Tree::object;
                  });
         });
}

// What `each` leads to.
std::vector<const Tree*> elements_of(const Found& found) {
  std::vector<const Tree*> out;
  for (const auto& part : found.map->parts) {
    if (found.kind != Found::lists) out.push_back(part.second.get());
    else
      for (const auto& element : part.second->parts) out.push_back(element.second.get());
  }
  return out;
}

// Of digits those of this decade only: serial numbers have as many.
bool is_time_of_name(std::string_view name) {
  const bool digits = name.find_first_not_of("0123456789.") == std::string_view::npos;
  return digits ? name.starts_with('1') && (name.size() == 10 || name.size() == 13) && name[1] < '9' &&
                      reads_as_time(name, true)
                : reads_as_time(name, false);
}

void find_map(const Tree& at, const Tree* around, const std::string& path, Found& found) {
  if (found.kind != Found::none) return;
  if (at.kind == Tree::list) {
    const bool objects =
        std::ranges::all_of(at.parts, [](const auto& part) { return part.second->kind == Tree::object; });
    // The first of them may be a keep-alive.
    for (std::size_t i = 0; objects && i < at.parts.size(); ++i)
      find_map(*at.parts[i].second, &at, path + "[]", found);
    return;
  }
  if (at.kind != Tree::object) return;
  if (has_fields(at)) {
    found = {Found::fields, at.member("fields"), &at, stepped(path, "fields") + ".*", path, true};
    return;
  }
  if (has_data(at)) {
    const Tree& data = *at.member("Payload");
    const bool bare = std::ranges::all_of(data.parts, [](const auto& part) { return part.second->scalar(); });
    const auto kind = is_map_of_values(data, true) ? Found::values : bare ? Found::bare : Found::data;
    found = {kind, &data, &at, stepped(path, "Payload") + (kind == Found::data ? "{}" : ".*"), path, true};
    return;
  }
  if (is_map_of_values(at, false)) {
    found = {Found::values,
             &at,
             around && around->kind == Tree::object ? around : nullptr,
             path.empty() ? "*" : path + ".*",
             {}};
    return;
  }
  if (is_map_of_lists(at)) {
    found = {Found::lists, &at, nullptr, path.empty() ? "*[]" : path + ".*[]", {}};
    return;
  }
  const bool times = at.parts.size() > 1 && std::ranges::all_of(at.parts, [](const auto& part) {
                       return part.second->kind == Tree::object && is_time_of_name(part.first);
                     });
  if (times) {
    found = {Found::times, &at, around, path.empty() ? "*" : path + ".*", {}};
    return;
  }
  for (const auto& [name, part] : at.parts) find_map(*part, &at, stepped(path, name), found);
}

// Whether there is nothing else but what says when, which and what.
bool is_all(const Tree& map, const Tree& at) {
  return &at == &map || std::ranges::all_of(at.parts, [&map](const auto& part) {
    const auto& [name, value] = part;
    if (value->scalar()) return value->kind == Tree::nothing || is_heading(name);
    return is_all(map, *value);
  });
}

template <std::size_t N, typename Passes>
std::string member_of(const Tree* object, std::string_view sign, const std::string_view (&names)[N],
                      Passes passes) {
  const std::string* name =
      object && object->kind == Tree::object ? best_member(*object, names, passes) : nullptr;
  return name ? text(sign, stepped({}, *name)) : std::string();
}

// Around the map, or at the root. An object that `each` leads to itself has no "^" but what lists it.
template <std::size_t N, typename Passes>
std::string member_around(const Found& found, const Tree& root, const std::string_view (&names)[N],
                          Passes passes) {
  const bool listed = found.path.find("[]") != std::string::npos;
  const std::string sign = found.each.ends_with("*") || found.path.ends_with("[]") ? "^."
                           : listed                                                ? ""
                                    : "$." + found.path + (found.path.empty() ? "" : ".");
  std::string path = sign.empty() ? std::string() : member_of(found.around, sign, names, passes);
  return path.empty() ? member_of(&root, "$.", names, passes) : path;
}

std::string device_around(const Found& found, const Tree& root) {
  std::string path = member_of(&root, "$.", writer_names, is_named);
  if (path.empty()) path = member_around(found, root, writer_names, is_named);
  if (path.empty()) path = member_around(found, root, device_names, is_named);
  return path.empty() ? std::string() : text("device = ", quoted("{" + path + "}"), "\n");
}

// All that `each` leads to, of this payload and of the others.
void collect(const Tree& at, std::vector<const Tree*>& out) {
  if (at.kind != Tree::object && at.kind != Tree::list) return;
  if (at.kind == Tree::object && has_fields(at)) return out.push_back(&at);
  for (const auto& part : at.parts) collect(*part.second, out);
}

std::string keys_of_fields(const Found& found, const Tree& root, std::span<const Tree* const> others,
                           bool needs_device) {
  std::vector<const Tree*> all;
  collect(root, all);
  for (const Tree* other : others) collect(*other, all);
  std::map<std::string, std::size_t> tags;
  for (const Tree* one : all) {
    const Tree* of_it = one->member("tags");
    if (!of_it) continue;
    for (const auto& part : of_it->parts) ++tags[part.first];
  }
  const auto is_host = [](const auto& tag) { return rank_in(host_names, tag.first) < std::size(host_names); };
  const auto names = [](const auto& tag) {
    return rank_in(device_names, tag.first) < std::size(device_names);
  };
  auto device = std::ranges::find_if(tags, is_host);
  if (device == tags.end() && needs_device) device = std::ranges::find_if(tags, names);
  std::string out = text("each = ", quoted(found.each), "\n");
  const bool always = device != tags.end() && device->second == all.size();
  if (always) out += text("device = ", quoted("{" + stepped("^.tags", device->first) + "}"), "\n");
  std::string rest;
  for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
    if (tag == device && always) continue;
    rest += text(rest.empty() ? "" : ", ", quoted(tag->first), " = ",
                 quoted("{" + stepped("^.tags", tag->first) + "}"));
  }
  if (!rest.empty()) out += text("fixed_tags = { ", rest, " }\n");
  if (const Tree* time = found.around->member("timestamp"); time && believable_time(*time))
    out += "time = \"^.timestamp\"\n";
  return out + "metrics = { \"{^.name}.{@key}\" = \"@\" }\n";
}

// A status is a number, or an object around it.
std::string quality_path(const Tree& object) {
  for (const auto& [name, part] : object.parts) {
    if (rank_in(quality_names, name) >= std::size(quality_names)) continue;
    if (part->kind == Tree::object && part->member("Code")) return stepped(stepped({}, name), "Code");
    if (has_value(*part)) return stepped({}, name);
  }
  return {};
}

// Of the values in the map what most of them have beside them.
std::string keys_of_values(const Found& found, const Tree& root) {
  std::string path, quality, time, unit, others;
  bool without = false;
  std::set<std::string> known;
  for (const Tree* element : elements_of(found)) {
    const Tree& value = *element;
    const std::string here = value_path(value);
    without = without || here.empty();
    if (here.empty()) continue;
    if (path.empty()) path = here;
    if (quality.empty()) quality = quality_path(value);
    if (time.empty()) time = member_of(&value, "", opc_time_names, believable_time);
    if (time.empty()) time = member_of(&value, "", time_names, believable_time);
    if (unit.empty()) unit = member_of(&value, "{.", unit_names, is_word);
    for (const auto& [name, part] : value.parts) {
      if (part->scalar()) known.insert(stepped({}, name));
    }
  }
  const bool opc = time == "SourceTimestamp" || time == "ServerTimestamp" || quality.ends_with(".Code");
  const std::string within = found.each.substr(0, found.each.find_last_of('*'));
  if (time.empty()) time = member_around(found, root, time_names, believable_time);
  if (time.empty() && within.find("[]") == std::string::npos)
    time = member_of(found.map, "$." + within, time_names, believable_time);
  std::string out = text("each = ", quoted(found.each), "\n");
  if (without) out += text("when = ", quoted(path + " != null"), " # what has none is no reading\n");
  if (!time.empty()) out += text("time = ", quoted(time), "\n");
  if (!quality.empty()) out += text("quality = ", quoted(quality), "\n");
  if (!quality.empty() && opc) out += "quality_format = \"opcua\"\n";
  for (const std::string& name : known) {
    const bool used = name == path || name == time || name == quality || "{." + name == unit;
    if (!used) others += (others.empty() ? "" : ", ") + shown(name, 30);
  }
  const std::string spec =
      text("path = ", quoted(path)) + (unit.empty() ? std::string() : text(", unit = ", quoted(unit + "}")));
  return text(out, "[@table@.metrics]\n\"{@key}\" = { ", spec, " }",
              others.empty() ? "" : " # beside it there are: ", others, "\n");
}

// Bare values, and what they are made of.
std::string keys_of_data(const Found& found, const Tree& root) {
  const std::string time = member_around(found, root, time_names, believable_time);
  return text("each = ", quoted(found.each), "\n",
              time.empty() ? std::string() : text("time = ", quoted(time), "\n"),
              found.kind == Found::bare ? "metrics = { \"{@key}\" = \"@\" }\n" : every_value);
}

// A sample of OPC Publisher, which has a name and a value, and a list of them.
std::string keys_of_samples(const Tree& root, bool needs_device) {
  const Tree& first = root.kind == Tree::list && !root.parts.empty() ? *root.parts[0].second : root;
  if (first.kind != Tree::object) return {};
  static constexpr std::string_view sample_names[] = {"nodeid", "displayname"};
  const std::string name = member_of(&first, ".", sample_names, is_word);
  const Tree* value = first.member("Value");
  if (name.empty() || !value) return {};
  const bool inside = value->kind == Tree::object;
  const std::string within = inside ? value_path(*value) : std::string();
  if (inside && within.empty()) return {};
  const Tree& timed = inside ? *value : first;
  const std::string sign = inside ? "Value." : "";
  std::string time = member_of(&timed, sign, opc_time_names, believable_time);
  if (time.empty()) time = member_of(&first, "", time_names, believable_time);
  const std::string quality = quality_path(timed);
  std::string out = root.kind == Tree::list ? "each = \"[]\"\n" : "";
  if (needs_device) {
    const std::string device = member_of(&first, ".", writer_names, is_named);
    if (!device.empty()) out += text("device = ", quoted("{" + device + "}"), "\n");
  }
  if (!time.empty()) out += text("time = ", quoted(time), "\n");
  if (!quality.empty()) out += text("quality = ", quoted(sign + quality), "\nquality_format = \"opcua\"\n");
  return text(out, "[@table@.metrics]\n", quoted("{" + name + "}"),
              " = { path = ", quoted(inside ? sign + within : std::string("Value")), " }\n");
}

}  // namespace

std::string keys_of_map(const Tree& root, std::span<const Tree* const> others, bool needs_device) {
  if (std::string samples = keys_of_samples(root, needs_device); !samples.empty()) return samples;
  Found found;
  find_map(root, nullptr, {}, found);
  if (found.kind == Found::none) return {};
  if (!found.of_message && !is_all(*found.map, root)) return {};
  if (found.kind == Found::fields) return keys_of_fields(found, root, others, needs_device);
  if (found.kind == Found::times)
    return text("each = ", quoted(found.each), "\ntime = \"@key\"\n", every_value);
  if (found.kind == Found::lists) {
    const std::vector<const Tree*> all = elements_of(found);
    const bool values =
        std::ranges::all_of(all, [](const Tree* element) { return !value_path(*element).empty(); });
    if (!values) {
      const std::string time = member_of(all[0], "", time_names, believable_time);
      return text("each = ", quoted(found.each), "\ndevice = \"{@key}\"\n",
                  time.empty() ? std::string() : text("time = ", quoted(time), "\n"), every_value);
    }
    return keys_of_values(found, root);
  }
  const std::string device = needs_device ? device_around(found, root) : std::string();
  return device + (found.kind == Found::values ? keys_of_values(found, root) : keys_of_data(found, root));
}

}  // namespace millrace::suggested
