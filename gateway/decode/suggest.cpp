#include "decode/suggest.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/ascii.h"
#include "base/cbor.h"
#include "base/label.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/key_text.h"
#include "config/routes.h"
#include "config/toml.h"
#include "decode/condition.h"
#include "decode/influx_line.h"
#include "decode/json_path.h"
#include "decode/quality_words.h"
#include "decode/router.h"
#include "decode/suggest_maps.h"
#include "decode/suggest_pairs.h"
#include "decode/suggest_times.h"
#include "decode/suggest_tree.h"
#include "decode/suggest_xml.h"

namespace millrace {
namespace {

using namespace suggested;

constexpr std::string_view plain_levels[] = {
    "telemetry", "state",   "up",          "data",      "sensor", "sensors",  "event",    "events",
    "status",    "json",    "value",       "tele",      "stat",   "messages", "readings", "measurements",
    "plant",     "devices", "application", "v3",        "home",   "rpc",      "upload",   "info",
    "rx",        "raw",     "csv",         "stats",     "uplink", "message",  "metrics",  "values",
    "relay",     "emeter",  "announce",    "attributes"};
// Which value it is that comes by a topic.
constexpr std::string_view value_levels[] = {
    "temperature", "temp",    "humidity", "pressure", "power", "energy",
    "voltage",     "current", "battery",  "rssi",     "co2",   "illuminance",
    "frequency",   "soc",     "flow",     "weight",   "speed", "unit_of_measurement"};

bool believable_cell(std::string_view cell) {
  const auto number = number_in_text(cell, '.');
  return reads_as_time(cell, number && number->unit.empty());
}

bool is_value(std::string_view cell) {
  return number_in_text(cell, '.') || number_in_text(cell, ',') || believable_cell(cell);
}

bool is_plain_level(std::string_view level) {
  return rank_in(plain_levels, level) < std::size(plain_levels) || level.starts_with('$');
}

// The last level that could be a device's name though it is the same in all topics. `values`: others say
// which value it is, and a short number counts relays.
std::optional<std::size_t> fixed_device(const std::vector<std::string_view>& levels,
                                        const std::vector<bool>& varies, bool values) {
  for (std::size_t i = levels.size(); i-- > 0;) {
    const bool counts = values && levels[i].size() <= 2 && std::ranges::all_of(levels[i], is_digit);
    if (varies[i] || counts || levels[i].empty() || is_plain_level(levels[i])) continue;
    if (i > 0 || levels.size() == 1) return i;
  }
  return std::nullopt;
}

// What varies of the topics becomes a name. `guessed`: none does, and one that could is taken for it.
std::string pattern_of(const std::vector<RouteSample>& samples, int& names, bool& guessed) {
  std::vector<std::string_view> levels = split(samples[0].topic, '/');
  std::vector<bool> varies(levels.size(), false), says_which(levels.size(), false);
  for (const RouteSample& sample : samples) {
    const std::vector<std::string_view> others = split(sample.topic, '/');
    if (others.size() != levels.size()) continue;  // of another route
    for (std::size_t i = 0; i < levels.size(); ++i) {
      varies[i] = varies[i] || others[i] != levels[i];
      says_which[i] = says_which[i] || is_plain_level(others[i]) ||
                      rank_in(value_levels, others[i]) < std::size(value_levels);
    }
  }
  guessed = std::ranges::find(varies, true) == varies.end();
  std::size_t device = 0;
  while (device < levels.size() && (!varies[device] || says_which[device])) ++device;
  if (device == levels.size()) device = fixed_device(levels, varies, !guessed).value_or(device);
  if (device < levels.size()) varies[device] = true;
  std::string out;
  for (std::size_t i = 0, level = 1; i < levels.size(); ++i) {
    varies[i] = varies[i] || !good_utf8(levels[i]);  // a line's bytes, say: no TOML can name it
    if (varies[i] && device == levels.size()) device = i;
    const std::string name = i == device ? "{device}" : text("{level", level + 1, "}");
    if (varies[i] && i != device) ++level;
    names += varies[i];
    out += (i > 0 ? "/" : "") + (varies[i] ? name : std::string(levels[i]));
  }
  return out;
}

// What is found out about a payload that has members.
class Shaper {
 public:
  explicit Shaper(const std::vector<std::unique_ptr<Tree>>& roots) : roots_(roots) {}

  // `others`: of other payloads, whose members are readings of the route, too.
  std::string keys(bool needs_device, const std::vector<std::unique_ptr<TreeBuilder>>& others) {
    const Tree& root = *roots_[0];
    find_lists(root, {});
    if (list_ && !columns_ && is_beside(root)) list_ = nullptr;
    const Tree* message = &root;
    if (columns_) {
      out_ += "transpose = true # lists of one length beside each other\n";
      if (!list_path_.empty()) out_ += text("each = ", quoted(list_path_), "\n");
    } else if (list_) {
      out_ += text("each = ", quoted(list_path_.empty() ? "[]" : list_path_ + "[]"), "\n");
      message = list_->parts[0].second.get();
      if (message->kind == Tree::list) return out_ += columns_of(*list_), out_;
    }
    const Tree& named = columns_ ? *columns_ : *message;
    if (list_ && !needs_device) find_names(*message);
    if (!list_ && !columns_) find_name(root);
    if (value_ && list_ && lacks_value())
      out_ += text("when = ", quoted(stepped({}, *value_) + " != null"), " # what has none is no reading\n");
    add_beside(named, root, message != &root || (columns_ && columns_ != &root), needs_device);
    if (list_ && !columns_) tell_outside(root);
    bare_ = root.kind == Tree::list &&
            std::ranges::any_of(others, [](const auto& other) { return other->roots[0]->scalar(); });
    add_metrics(std::ranges::all_of(others, [this](const auto& other) { return has_paths_of(*other); }));
    return out_;
  }

 private:
  // Whether the list says something beside the message: which gateways heard it, or it is a list of one, and
  // what lies around it has values of its own.
  bool is_beside(const Tree& root) const {
    if (root.kind != Tree::object) return false;
    const std::string name = lower(list_path_);
    if (list_->parts.size() > 1 && !name.ends_with("rxinfo") && !name.ends_with("rx_metadata")) return false;
    return std::ranges::any_of(root.parts, [](const auto& part) {
      const auto& [called, value] = part;
      const bool says_what = value->kind == Tree::nothing ||
                             rank_in(time_names, called) < std::size(time_names) ||
                             rank_in(quality_names, called) < std::size(quality_names) ||
                             rank_in(device_names, called) < std::size(device_names);
      return value->kind == Tree::object || (value->scalar() && !says_what);
    });
  }

  // A route with metrics refuses a payload that has none of them, and passes over what else is in it.
  bool has_paths_of(const TreeBuilder& other) const {
    Shaper shaper(other.roots);
    (void)shaper.keys(false, {});
    const auto known = [](const Shaper& one) {
      std::set<std::string> out;
      for (const auto& metric : one.metrics_) out.insert(metric.first);
      return out;
    };
    const std::set<std::string> mine = known(*this), theirs = known(shaper);
    return std::ranges::includes(mine, theirs);
  }

  // Elements that are a value and its name: [{"id": "speed", "v": 42}, {"id": "on", "v": true}].
  void find_names(const Tree& message) {
    const auto scalar = [](const Tree& part) { return part.scalar(); };
    const auto word = [](const Tree& part) { return part.kind == Tree::string; };
    const std::string* value = best_member(message, value_names, scalar);
    const std::string* name = best_member(message, tag_names, word);
    const auto names_each = [&](const std::string& member) {
      std::set<std::string> names;
      return std::ranges::all_of(list_->parts, [&](const auto& element) {
        const Tree* one = element.second->member(member);
        return one && word(*one) && names.insert(one->text).second;
      });
    };
    // Of another name, where it tells them apart: "value_type", "variable".
    for (const auto& [other, part] : message.parts) {
      const bool could = !name && value && &other != value && list_->parts.size() > 1 && word(*part) &&
                         !is_value(part->text) && rank_in(unit_names, other) == std::size(unit_names);
      if (could && names_each(other)) name = &other;
    }
    if (!value || !name || !names_each(*name)) return;
    call_by(value, name, best_member(message, unit_names, word));
  }

  // A message that is a value and its name: {"tagPath": "Line1/Speed", "value": 42.5}.
  void find_name(const Tree& root) {
    const auto word = [](const Tree& part) { return part.kind == Tree::string && !part.text.empty(); };
    const std::string* name = best_member(root, sole_names, word);
    const std::string* value = best_member(
        root, value_names, [](const Tree& part) { return part.scalar() && part.kind != Tree::nothing; });
    const bool sole = std::ranges::none_of(root.parts, [&](const auto& part) {
      const auto& [called, other] = part;
      const bool says_more = other->kind == Tree::number || other->kind == Tree::truth || !other->scalar();
      return &called != value && says_more && !believable_time(*other) &&
             rank_in(quality_names, called) == std::size(quality_names);
    });
    if (!name || !value || !sole) return;
    call_by(value, name, best_member(root, unit_names, word));
  }

  // The members of a message that are a reading's value, its name and, where there is one, its unit.
  void call_by(const std::string* value, const std::string* name, const std::string* unit) {
    value_ = value;
    name_ = name;
    unit_ = unit;
    used_.insert(name_);
    if (unit_) used_.insert(unit_);
  }

  // What is there and is no element's.
  void tell_outside(const Tree& root) {
    std::vector<std::string> names;
    note_outside(root, {}, names);
    if (names.empty()) return;
    std::string said;
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 5); ++i)
      said += text(i ? ", " : "", shown(names[i], 40));
    out_ += text("# outside of the list, and not read: ", said, names.size() > 5 ? ", ..." : "", "\n");
  }
  // True: the list is not in it, and something else is.
  bool note_outside(const Tree& at, const std::string& path, std::vector<std::string>& names) {
    if (&at == list_) return false;
    if (at.scalar()) return at.kind != Tree::nothing;
    const std::size_t before = names.size();
    bool leads = false, any = false;
    for (const auto& [name, part] : at.parts) {
      const std::string inner = at.kind == Tree::object ? stepped(path, name) : path;
      leads = leads || holds_list(*part);
      if (used_.contains(&name) || !note_outside(*part, inner, names)) continue;
      any = true;
      names.push_back(inner);
    }
    if (leads) return false;
    names.resize(before);
    return any;
  }
  bool holds_list(const Tree& at) const {
    return &at == list_ ||
           std::ranges::any_of(at.parts, [this](const auto& part) { return holds_list(*part.second); });
  }

  bool lacks_value() const {
    return std::ranges::any_of(list_->parts, [this](const auto& element) {
      return !element.second->member(*value_);  // null says so itself
    });
  }
  // As texts, all of them numbers.
  bool counts() const {
    bool any = false;
    const auto passes = [&](const Tree& message) {
      const Tree* value = message.member(*value_);
      const bool word = value && value->kind == Tree::string;
      any = any || word;
      return !word || number_in_text(value->text, '.');
    };
    const bool numbers =
        !list_
            ? passes(*roots_[0])
            : std::ranges::all_of(list_->parts, [&](const auto& element) { return passes(*element.second); });
    return any && numbers;
  }

  // The longest list of objects or of rows; lists of values of one length beside each other, one of which is
  // of times: others are channels, or phases.
  void find_lists(const Tree& at, const std::string& path) {
    if (at.kind == Tree::list && !at.parts.empty()) {
      const Tree::Kind kind = at.parts[0].second->kind;
      const bool alike =
          std::ranges::all_of(at.parts, [kind](const auto& part) { return part.second->kind == kind; });
      if (alike && (kind == Tree::object || kind == Tree::list) &&
          (!list_ || at.parts.size() > list_->parts.size())) {
        list_ = &at;
        list_path_ = path;
      }
      return;
    }
    std::map<std::size_t, std::pair<int, bool>> lengths;  // how many columns, and whether one is of times
    for (const auto& [name, part] : at.parts) {
      const bool column =
          part->kind == Tree::list && part->parts.size() > 1 &&
          std::ranges::all_of(part->parts, [](const auto& cell) { return cell.second->scalar(); });
      if (column) {
        auto& [count, timed] = lengths[part->parts.size()];
        timed = timed || believable_time(*part->parts[0].second);
        if (++count >= 2 && timed && !list_) {
          columns_ = &at;
          list_path_ = path;
        }
      }
      if (at.kind == Tree::object) find_lists(*part, stepped(path, name));
    }
    if (list_) columns_ = nullptr;
  }

  static std::string columns_of(const Tree& rows) {
    const Tree& row = *rows.parts[0].second;
    if (std::string named = named_rows(rows); !named.empty()) return named;
    std::string names;
    for (std::size_t i = 0; i < row.parts.size(); ++i) {
      const bool time = believable_time(*row.parts[i].second);
      names += text(i ? ", " : "", time && i == 0 ? "\"ts\"" : quoted(text("v", i)));
    }
    const bool timed = !row.parts.empty() && believable_time(*row.parts[0].second);
    return text("columns = [", names, "] # what the places of a row are called: give them better names\n",
                timed ? "time = \"ts\"\n" : "");
  }

  // Rows that are a value and its name: [["Temperature", "68.9", "F"], ["Humidity", 38, "%"]].
  static std::string named_rows(const Tree& rows) {
    std::set<std::string> names;
    bool units = true, texts = false;
    for (const auto& part : rows.parts) {
      const auto& cells = part.second->parts;
      const auto is_word = [&](std::size_t i) {
        return cells[i].second->kind == Tree::string && !is_value(cells[i].second->text);
      };
      if (cells.size() < 2 || !is_word(0) || !names.insert(cells[0].second->text).second) return {};
      const Tree& value = *cells[1].second;
      const bool number = value.kind == Tree::string && number_in_text(value.text, '.');
      if (value.kind != Tree::number && value.kind != Tree::truth && !number) return {};
      texts = texts || number;
      units = units && cells.size() > 2 && is_word(2);
    }
    return text("columns = [\"name\", \"value\"", units ? ", \"unit\"" : "",
                "]\n[@table@.metrics]\n\"{.name}\" = { path = \"value\"", texts ? ", type = \"number\"" : "",
                units ? ", unit = \"{.unit}\"" : "", " }\n");
  }

  static const Tree& cell(const Tree& part) {
    return part.kind == Tree::list && !part.parts.empty() ? *part.parts[0].second : part;
  }

  void add_beside(const Tree& message, const Tree& root, bool nested, bool needs_device) {
    const auto place = [&](std::string_view key, auto& names, auto passes, auto write) {
      for (const auto& [where, sign] : {std::pair{&message, ""}, std::pair{&root, "$."}}) {
        if (*sign != 0 && !nested) continue;
        if (const std::string* name =
                best_member(*where, names, [&](const Tree& part) { return passes(cell(part)); })) {
          const std::string path = stepped({}, *name);
          used_.insert(name);
          out_ += text(key, " = ", write(text(sign, path)), "\n");
          return true;
        }
      }
      return false;
    };
    const auto plain = [](const std::string& path) { return quoted(path); };
    if (!place("time", time_names, believable_time, plain) && !place_inner_time(message, root, nested) &&
        !columns_)
      place_odd_time(message, root, nested);
    place_clock(message);
    (void)place(
        "quality", quality_names,
        [](const Tree& part) {
          Quality quality;
          const Scalar scalar{part.kind == Tree::string  ? Scalar::string
                              : part.kind == Tree::truth ? Scalar::truth
                                                         : Scalar::number,
                              part.text == "true", 0, part.text};
          return part.scalar() && part.kind != Tree::nothing &&
                 read_quality(scalar, QualityFormat::automatic, quality);
        },
        plain);
    if (needs_device) {
      (void)place(
          "device", device_names,
          [](const Tree& part) { return part.kind == Tree::string || part.kind == Tree::number; },
          [](const std::string& path) {
            return quoted("{" + std::string(path.starts_with('$') ? "" : ".") + path + "}");
          });
    }
    if (is_dated_row(message)) {
      used_.insert(&message.parts[0].first);
      out_ += "time = \"[0]\"\n";
    }
    collect(message, "");
  }

  // [1767225600, 21.5]
  static bool is_dated_row(const Tree& message) {
    return message.kind == Tree::list && message.parts.size() > 1 &&
           believable_time(*message.parts[0].second) &&
           std::ranges::all_of(message.parts, [](const auto& part) { return part.second->scalar(); });
  }

  // In an object beside the values, or around them: {"params": {"ts": 1767225600.5, ...}}; deeper where there
  // is no other.
  bool place_inner_time(const Tree& message, const Tree& root, bool nested) {
    for (const auto& [where, sign] : {std::pair{&message, ""}, std::pair{&root, "$."}}) {
      if (where->kind != Tree::object || (*sign != 0 && !nested)) continue;
      for (const auto& [outer, part] : where->parts) {
        if (part->kind != Tree::object) continue;
        const std::string* name = best_member(*part, inner_time_names, believable_time);
        if (!name) continue;
        used_.insert(name);
        out_ += text("time = ", quoted(text(sign, stepped(stepped({}, outer), *name))), "\n");
        return true;
      }
    }
    std::vector<std::pair<const std::string*, std::string>> found;
    find_inner_times(message, {}, found);
    if (found.size() != 1) return false;
    used_.insert(found[0].first);
    out_ += text("time = ", quoted(found[0].second), "\n");
    return true;
  }
  // Beside a date alone: {"date": "2026-01-01", "time": "12:00:00"}.
  void place_clock(const Tree& message) {
    const bool dated = std::ranges::any_of(message.parts, [this](const auto& part) {
      const std::string& said = part.second->text;
      return used_.contains(&part.first) && said.size() <= 10 && said.find_first_of("-/.") != said.npos &&
             part.second->kind == Tree::string && believable_time(*part.second);
    });
    const std::string* clock = !dated ? nullptr : best_member(message, clock_names, [](const Tree& part) {
      return part.kind == Tree::string && part.text.find(':') != std::string::npos && !believable_time(part);
    });
    if (!clock) return;
    used_.insert(clock);
    out_ += text("time_of_day = ", quoted(stepped({}, *clock)), "\n");
  }
  void place_odd_time(const Tree& message, const Tree& root, bool nested) {
    for (const auto& [where, sign] : {std::pair{&message, ""}, std::pair{&root, "$."}}) {
      if (*sign != 0 && !nested) continue;
      const OddTime found = odd_time_of(*where);
      if (!found.member) continue;
      used_.insert(found.member);
      out_ += text("time = ", quoted(text(sign, stepped({}, *found.member))), "\n");
      if (!found.format.empty()) out_ += text("time_format = ", quoted(found.format), found.hint, "\n");
      return;
    }
  }
  static void find_inner_times(const Tree& at, const std::string& path,
                               std::vector<std::pair<const std::string*, std::string>>& found) {
    if (at.kind != Tree::object) return;
    if (const std::string* name = best_member(at, inner_time_names, believable_time))
      found.emplace_back(name, stepped(path, *name));
    for (const auto& [name, part] : at.parts) find_inner_times(*part, stepped(path, name), found);
  }

  // A unit beside a value is its unit, and no reading.
  void collect(const Tree& at, const std::string& path) {
    const bool object = at.kind == Tree::object && columns_ != &at;
    const auto scalar = [](const Tree& part) { return part.scalar() && part.kind != Tree::nothing; };
    const std::string* valued = object ? best_member(at, value_names, scalar) : nullptr;
    const std::string* unit =
        valued ? best_member(at, unit_names, [](const Tree& part) { return part.kind == Tree::string; })
               : nullptr;
    for (std::size_t i = 0; i < at.parts.size(); ++i) {
      const auto& [name, part] = at.parts[i];
      if (used_.contains(&name) || &name == unit) continue;
      std::string inner = path;
      if (at.kind == Tree::object) inner = stepped(path, name);
      else append_index(inner, static_cast<std::int64_t>(i));
      const Tree& value = columns_ == &at ? cell(*part) : *part;
      if (!value.scalar()) collect(value, inner);
      else if (value.kind != Tree::nothing) {
        metrics_.emplace_back(inner, &value);
        if (unit && &name == valued) units_[inner] = at.member(*unit)->text;
      }
    }
  }

  // `all`: they are those of every payload that was seen.
  void add_metrics(bool all) {
    if (value_) return add_named();
    if (metrics_.empty() || metrics_.size() > Suggestion::metrics_max || !all) {
      out_ += every_value;
      return;
    }
    out_ += "[" + std::string("@table@") + ".metrics]\n";
    std::set<std::string> taken;
    for (const auto& [path, value] : metrics_) {
      std::string name;
      for (const char c : path) name += is_letter(c) || is_digit(c) || c == '_' || c == '-' ? c : '_';
      while (!taken.insert(name).second) name += "_";
      std::string spec = text("path = ", quoted(path));
      if (value->kind == Tree::truth) spec += ", type = \"bool\"";
      if (value->kind == Tree::string) {
        const auto number = number_in_text(value->text, '.');
        const bool counts = number && !is_identifier(path, value->text);
        spec += counts ? ", type = \"number\"" : ", type = \"text\"";
        if (counts && !number->unit.empty() && !units_.contains(path))
          spec += text(", unit = ", quoted(number->unit));
      }
      if (const auto unit = units_.find(path);
          unit != units_.end() && check_label(Label::unit, unit->second).ok())
        spec += text(", unit = ", quoted(unit->second));
      out_ += text(quoted(name), " = { ", spec, " } # ", shown(value->text, 30), "\n");
    }
    if (bare_ && !taken.contains("value")) out_ += "\"value\" = { path = \"@\" } # what comes alone\n";
  }

  // Each value by the name beside it.
  void add_named() {
    std::string others, spec = text("path = ", quoted(stepped({}, *value_)));
    if (counts()) spec += ", type = \"number\"";
    if (unit_) spec += text(", unit = ", quoted("{." + stepped({}, *unit_) + "}"));
    for (const auto& [path, value] : metrics_) {
      if (path != stepped({}, *value_)) others += (others.empty() ? "" : ", ") + shown(path, 30);
    }
    out_ += text("[@table@.metrics]\n", quoted("{." + stepped({}, *name_) + "}"), " = { ", spec, " }",
                 others.empty() ? "" : " # beside it there are: ", others, "\n");
  }

  const std::vector<std::unique_ptr<Tree>>& roots_;
  const Tree *list_ = nullptr, *columns_ = nullptr;
  std::string list_path_, out_;
  std::set<const std::string*> used_;
  bool bare_ = false;  // other payloads are nothing but a value
  std::vector<std::pair<std::string, const Tree*>> metrics_;
  std::map<std::string, std::string> units_;                                // of metrics, by their paths
  const std::string *value_ = nullptr, *name_ = nullptr, *unit_ = nullptr;  // members of a list's elements
};

bool read_tree(BytesView bytes, bool cbor, TreeBuilder& tree) {
  if (cbor) {
    std::size_t documents = 0;
    return read_cbor(bytes, tree, documents).ok() && tree.whole();
  }
  LenientJson found;
  return read_lenient_json(bytes, tree, found).ok() && tree.whole();
}

// Whether payloads of one topic are of several devices, each of which comes again: a receiver's.
bool tell_devices(const std::vector<const RouteSample*>& samples) {
  std::map<std::string, std::map<std::string, int>> values;  // of each member, how often each came
  for (const RouteSample* sample : samples) {
    TreeBuilder tree;
    if (!read_tree(sample->payload, false, tree) || tree.roots[0]->kind != Tree::object) return false;
    for (const auto& [name, part] : tree.roots[0]->parts) {
      const bool names = part->kind == Tree::string || part->kind == Tree::number;
      if (names && rank_in(device_names, name) < std::size(device_names)) ++values[name][part->text];
    }
  }
  return std::ranges::any_of(values, [&](const auto& member) {
    std::size_t came = 0;
    for (const auto& [value, times] : member.second) came += static_cast<std::size_t>(times);
    return came == samples.size() && member.second.size() > 1 && came > member.second.size();
  });
}

bool is_senml(const Tree& root) {
  if (root.kind != Tree::list || root.parts.empty() || root.parts[0].second->kind != Tree::object)
    return false;
  const Tree& first = *root.parts[0].second;
  const bool named = first.member("n") || first.member("bn");
  return named && (first.member("v") || first.member("vs") || first.member("vb") || first.member("bn"));
}

// Without what frames a bare value (formats/plain.cpp).
std::string_view unframed(std::string_view given) {
  constexpr std::string_view around(" \t\r\n\0\x02\x03", 7);
  const std::size_t begin = given.find_first_not_of(around);
  if (begin == std::string_view::npos) return {};
  return given.substr(begin, given.find_last_not_of(around) - begin + 1);
}

std::vector<std::string_view> cells_of(std::string_view line, char separator) {
  std::vector<std::string_view> cells = split(line, separator);
  for (std::string_view& cell : cells) cell = trim(cell);
  return cells;
}

constexpr char separators[] = {';', '\t', ','};  // a comma may be a decimal one

// The first line of a stream, where it names the columns of those behind it: words above values, as many.
std::string_view heading_of(const std::vector<const RouteSample*>& lines) {
  const auto names_columns = [&](std::string_view line, char separator) {
    const auto count = std::ranges::count(line, separator);
    return count > 0 && std::ranges::none_of(cells_of(line, separator), is_value) &&
           std::any_of(lines.begin() + 1, lines.end(), [&](const RouteSample* other) {
             const std::string_view given = unframed(text_of(other->payload));
             return std::ranges::count(given, separator) == count &&
                    std::ranges::any_of(cells_of(given, separator), is_value);
           });
  };
  const std::string_view first = unframed(text_of(lines[0]->payload));
  const bool found = std::ranges::any_of(separators, [&](char one) { return names_columns(first, one); });
  return found ? first : std::string_view();
}

// The column that is called most like a time, and holds one in this line.
std::optional<std::size_t> time_column(const std::vector<std::string_view>& names,
                                       const std::vector<std::string_view>& cells) {
  std::size_t best = std::size(time_names);
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (const std::size_t rank = rank_in(time_names, names[i]); rank < best && believable_cell(cells[i])) {
      best = rank;
      found = i;
    }
  }
  return found;
}

std::string time_key(std::string_view column) { return text("time = ", quoted(stepped({}, column)), "\n"); }

// Where each payload is a line and one of them, which comes now and then, names the columns of the others.
std::string keys_by_heading(const std::vector<std::string_view>& heading,
                            const std::vector<std::string_view>& cells) {
  std::vector<std::string> made;  // where a cell is no name
  made.reserve(heading.size());
  std::vector<std::string_view> names;
  std::string columns, when;
  for (std::size_t i = 0; i < heading.size(); ++i) {
    std::string_view cell = heading[i];
    if (cell.size() > 1 && cell.front() == '"' && cell.back() == '"') cell = cell.substr(1, cell.size() - 2);
    std::string_view name = trim(cell.substr(std::min(cell.find_first_not_of('#'), cell.size())));
    if (name.empty() || std::ranges::find(names, name) != names.end())
      name = made.emplace_back(text("c", i + 1));
    names.push_back(name);
    columns += text(i ? ", " : "", quoted(name));
    const std::string path = stepped({}, name), other = text(path, " != '", cell, "'");
    const auto read = parse_condition(other);
    const bool says_so =
        read.ok() && read.value().size() == 1 && read.value()[0].path == path && read.value()[0].word == cell;
    if (when.empty() && !cell.empty() && says_so)
      when = text("when = ", quoted(other), " # the line that names the columns is no reading\n");
  }
  auto time = time_column(names, cells);
  if (!time && believable_cell(cells[0])) time = 0;
  return text("columns = [", columns, "]\n", when, time ? time_key(names[*time]) : std::string());
}

// Lines of cells, where all of them have as many.
std::string csv_keys(std::string_view value, char separator, std::string_view heading) {
  const std::vector<std::string_view> lines = split(value, '\n');
  const auto count = std::ranges::count(lines[0], separator);
  const bool alike = std::ranges::all_of(
      lines, [&](std::string_view line) { return std::ranges::count(line, separator) == count; });
  if (count == 0 || !alike) return {};
  std::string out = "format = \"csv\"\n";
  if (separator != ',') out += separator == ';' ? "separator = \";\"\n" : "separator = \"\\t\"\n";
  const auto first = cells_of(lines[0], separator), cells = cells_of(lines.back(), separator);
  const bool commas = separator != ',' && std::ranges::any_of(cells, [](std::string_view cell) {
                        return cell.find(',') != std::string_view::npos && number_in_text(cell, ',');
                      });
  if (commas) out += "decimal = \",\"\n";
  if (!heading.empty() && std::ranges::count(heading, separator) == count)
    return out + keys_by_heading(cells_of(heading, separator), cells);
  const bool timed = believable_cell(cells[0]);
  if (lines.size() > 1 && !number_in_text(first[0], '.') && !believable_cell(first[0])) {
    const auto time = time_column(first, cells);
    return time ? out + time_key(first[*time]) : out;
  }
  out += "columns = [";
  for (std::ptrdiff_t i = 0; i <= count; ++i)
    out += text(i ? ", " : "", i == 0 && timed ? "\"ts\"" : text("\"c", i + 1, "\""));
  return out + "] # give them better names\n" + (timed ? "time = \"ts\"\n" : "");
}

// Whether a payload is nothing but lines of InfluxDB's protocol; `tags`: in how many of `count` each is.
bool tell_influx(std::string_view given, std::map<std::string, std::size_t>& tags, std::size_t& count) {
  InfluxLine line;
  bool any = false;
  for (std::size_t at = 0; at < given.size();) {
    const std::size_t end = std::min(given.find('\n', at), given.size());
    const std::string_view ahead = trim(given.substr(at, end - at));
    if (ahead.empty() || ahead.starts_with('#')) {
      at = end + 1;
      continue;
    }
    if (line.take(given, at) || line.measurement().find('=') != std::string_view::npos) return false;
    for (const InfluxLine::Pair& field : line.fields()) {
      const std::string_view value = field.value.text();
      const bool number = value.find_first_not_of("0123456789+-.eEiu") == std::string_view::npos;
      if (!field.quoted && (value.empty() || (!number && !InfluxLine::truth_of(value)))) return false;
    }
    any = true;
    ++count;
    for (const InfluxLine::Pair& tag : line.tags()) ++tags[std::string(tag.name.text())];
  }
  return any;
}

// What all lines have says which device it was.
std::string influx_keys(std::string_view value, const std::vector<const RouteSample*>& all,
                        bool needs_device) {
  std::map<std::string, std::size_t> tags, of_value;
  std::size_t count = 0, unused = 0;
  if (!tell_influx(value, of_value, unused)) return {};
  for (const RouteSample* sample : all) (void)tell_influx(unframed(text_of(sample->payload)), tags, count);
  std::string device, out = "format = \"influx\"\n";
  std::size_t best = SIZE_MAX;
  for (const auto& [name, times] : tags) {
    const bool host = rank_in(host_names, name) < std::size(host_names);
    const std::size_t rank = host ? 0 : 1 + rank_in(device_names, name);
    if (times < count || rank >= best || (!host && (!needs_device || rank > std::size(device_names))))
      continue;
    best = rank;
    device = text("device = ", quoted("{" + stepped(".tags", name) + "}"), "\n");
  }
  return out + device;
}

// `alone`: a single pair will do.
std::string pair_keys(std::string_view value, const std::vector<const RouteSample*>& all, bool needs_device,
                      bool alone) {
  std::vector<std::string_view> payloads;
  for (const RouteSample* sample : all) payloads.push_back(unframed(text_of(sample->payload)));
  TreeBuilder tree;
  std::string out = keys_of_pairs(value, payloads, needs_device, alone, tree);
  if (out.empty()) return out;
  const bool has_device = out.find("device = ") != std::string::npos;
  return out + Shaper(tree.roots).keys(needs_device && !has_device, {});
}

// A payload that is a bare value or lines, the likeliest first; nothing: neither.
std::vector<std::string> keys_of_text(std::string_view given, std::string_view heading,
                                      const std::vector<const RouteSample*>& all, bool needs_device) {
  const std::string_view value = unframed(given);
  if (find_fault(value, Controls::line_breaks).kind != TextFault::ok) return {};
  std::vector<std::string> out;
  const auto plain = [&](std::string_view keys, std::string_view type) {
    out.push_back(text("format = \"plain\"\n", keys, "metrics = { value = {",
                       type.empty() ? std::string() : text(" type = \"", type, "\" "), "} }\n"));
  };
  const bool number = number_in_text(value, '.').has_value();
  const bool comma = !number && std::ranges::count(value, ',') == 1 && number_in_text(value, ',') &&
                     !believable_cell(value.substr(0, value.find(',')));
  if (std::string xml = keys_of_xml(value); !xml.empty()) out.push_back(std::move(xml));
  const std::string influx = influx_keys(value, all, needs_device);
  const bool alone = !number && !comma && value.find('=') != std::string_view::npos;
  if (std::string pairs = influx.empty() ? pair_keys(value, all, needs_device, alone) : std::string();
      !pairs.empty())
    out.push_back(std::move(pairs));
  if (number || comma)
    plain(comma ? "decimal = \",\" # two values would be format = \"csv\"\n" : "", "number");
  const bool bare = number || comma || value == "true" || value == "false" ||
                    (value.size() < 40 && value.find_first_of(",;\t\n=") == std::string_view::npos);
  if (bare) {
    plain("", "");
  } else {
    if (!influx.empty()) out.push_back(influx);
    for (const char separator : separators) {
      if (std::string keys = csv_keys(value, separator, heading); !keys.empty())
        out.push_back(std::move(keys));
    }
    out.push_back(
        "format = \"text\"\n"
        "pattern = '(^|[\\s=:;,])(?<value>[-+]?[0-9]+([.][0-9]+)?)' # a guess: name what is in it\n");
  }
  plain("", "text");
  return out;
}

// The likeliest first.
std::vector<std::string> keys_for(const RouteSample& sample, const std::vector<const RouteSample*>& all,
                                  bool needs_device, std::string_view heading) {
  const std::string_view given = text_of(sample.payload);
  if (sample.topic.starts_with("spBv1.0/")) return {"format = \"sparkplug\"\n"};
  if (given.starts_with('$') || given.starts_with('!')) return {"format = \"nmea\"\n"};
  if (given.starts_with('/') && given.find("\r\n") != std::string_view::npos) return {"format = \"obis\"\n"};
  const std::string_view front = trim(given);
  if (TreeBuilder tree;
      front.starts_with('"') && read_tree(sample.payload, false, tree) && tree.roots.size() == 1) {
    std::vector<std::string> out = {"metrics = { value = \"@\" }\n"};
    const std::unique_ptr<Tree>& root = tree.roots[0];
    if (root->kind == Tree::string && number_in_text(root->text, '.'))
      out.insert(out.begin(), "metrics = { value = { path = \"@\", type = \"number\" } }\n");
    return out;
  }
  for (const bool cbor : {false, true}) {
    TreeBuilder tree;
    const bool likely = cbor ? !given.empty() && static_cast<unsigned char>(given[0]) >= 0x80 &&
                                   static_cast<unsigned char>(given[0]) < 0xC0
                             : front.starts_with('{') || front.starts_with('[');
    if (!likely || !read_tree(sample.payload, cbor, tree)) continue;
    if (is_senml(*tree.roots[0])) return {text("format = \"senml", cbor ? "_cbor" : "", "\"\n")};
    std::vector<std::unique_ptr<TreeBuilder>> others;
    for (const RouteSample* one : all) {
      auto other = std::make_unique<TreeBuilder>();
      if (one != &sample && read_tree(one->payload, cbor, *other)) others.push_back(std::move(other));
    }
    std::vector<const Tree*> roots;
    for (const auto& other : others) roots.push_back(other->roots[0].get());
    const std::string format = cbor ? "format = \"cbor\"\n" : "";
    const std::string keys = format + Shaper(tree.roots).keys(needs_device, others);
    std::vector<std::string> out;
    if (const std::string map = keys_of_map(*tree.roots[0], roots, needs_device); !map.empty())
      out.push_back(format + map);
    out.push_back(keys);
    if (const std::size_t metrics = keys.find("[@table@"); metrics != std::string::npos)
      out.push_back(keys.substr(0, metrics) + every_value);
    return out;
  }
  return keys_of_text(given, heading, all, needs_device);
}

// A proposal as a file would say it, tried on what it was made of.
class Tryout {
 public:
  Tryout(const std::string& topic, std::string keys) : sparkplug_(keys.find("\"sparkplug\"") != keys.npos) {
    constexpr std::string_view table = "[@table@.metrics]";
    if (const std::size_t at = keys.find(table); at != std::string::npos)
      keys.replace(at, table.size(), "[metrics]");
    std::vector<ConfigError> errors;
    const auto file =
        TomlFile::parse(text(topic.empty() ? std::string() : text("topic = ", quoted(topic), "\n"), keys),
                        "suggested", errors);
    if (!file || !errors.empty()) return;
    RouteConfig route;
    Section section = file->root();
    read_keys(section, topic.empty() ? route_shape : topic_route_shape, &route);
    if (!errors.empty()) return;
    if (auto router = Router::make({route}); router.ok()) router_.emplace(std::move(router).value());
  }

  bool loads() const { return router_.has_value(); }
  // Why it does not read the payload; empty: it does, or says nothing without those before it.
  std::string fault(const RouteSample& sample) const {
    if (sparkplug_) return {};
    Arrival arrival;
    arrival.input = "input";
    arrival.channel = sample.topic;
    arrival.bytes = sample.payload;
    std::vector<Record> records;
    Unread unread;
    const Status status = router_->decode(arrival, records, unread);
    return status.ok() ? unread.reason() : status.detail();
  }

 private:
  const bool sparkplug_;
  std::optional<Router> router_;
};

// The first that reads nearly all of the payloads, or the one that reads most; empty: none loads.
std::string best_of(const std::vector<std::string>& all, const std::string& topic,
                    const std::vector<const RouteSample*>& samples) {
  std::string best;
  std::size_t least = SIZE_MAX;
  for (const std::string& keys : all) {
    const Tryout tryout(topic, keys);
    if (!tryout.loads()) continue;
    std::size_t unread = 0;
    std::string why;
    for (const RouteSample* sample : samples) {
      std::string fault = tryout.fault(*sample);
      if (!fault.empty() && unread++ == 0) why = std::move(fault);
    }
    if (unread >= least) continue;
    least = unread;
    best = unread == 0 ? keys
                       : text("# ", unread, " of ", samples.size(),
                              " payloads it cannot read as it stands: ", shown(why, 200), "\n", keys);
    if (unread * 5 <= samples.size()) break;
  }
  return best;
}

// The first level that varies is the device. Of a bare value the last one says what it is; the others are
// tags, so that what two topics say is never one reading.
void add_levels(std::string& keys, int names) {
  constexpr std::string_view bare = "metrics = { value = ";
  const std::size_t at = names > 1 ? keys.find(bare) : std::string::npos;
  if (at != std::string::npos) keys.replace(at, bare.size(), text("metrics = { \"{level", names--, "}\" = "));
  std::string tags;
  for (int i = 2; i <= names; ++i) tags += text(i > 2 ? ", " : "", "\"level", i, "\"");
  if (!tags.empty()) keys = text("tags = [", tags, "]\n", keys);
}

}  // namespace

Suggestion suggest_route(const std::vector<RouteSample>& samples, std::string_view table) {
  Suggestion out;
  if (samples.empty()) return out;
  const bool topics = !samples[0].topic.empty();
  int names = 0;  // of levels
  bool guessed = false;
  // Sparkplug's data says nothing without the births, which come by other topics.
  const bool sparkplug = samples[0].topic.starts_with("spBv1.0/");
  const std::string topic = sparkplug ? "spBv1.0/#"
                            : topics  ? pattern_of(samples, names, guessed)
                                      : std::string();
  // Of those that come by this topic the largest payload says most.
  const auto pattern = TopicPattern::parse(topic);
  std::vector<const RouteSample*> of_route;
  for (const RouteSample& sample : samples) {
    TopicMatch match;
    if (!topics || (pattern.ok() && pattern.value().matches(sample.topic, match)))
      of_route.push_back(&sample);
  }
  if (of_route.empty()) of_route.push_back(&samples[0]);
  const bool has_device = names > 0 && !(guessed && tell_devices(of_route));
  const std::string_view heading = topics ? std::string_view() : heading_of(of_route);
  const RouteSample& richest = **std::ranges::max_element(of_route, {}, [&](const RouteSample* sample) {
    const bool values = heading.empty() || unframed(text_of(sample->payload)) != heading;
    return values ? sample->payload.size() : 0;
  });
  std::vector<std::string> all = keys_for(richest, of_route, !has_device, heading);
  for (std::string& keys : all) {
    if (!sparkplug) add_levels(keys, names);
    if (!has_device && keys.find("device = ") == std::string::npos &&
        keys.find("sparkplug") == std::string::npos)
      keys = "device = \"device\" # say which\n" + keys;
  }
  std::string keys = best_of(all, topic, of_route);
  if (keys.empty()) return out;
  if (const std::size_t others = samples.size() - of_route.size(); others > 0)
    keys = text("# ", others, " of ", samples.size(),
                " payloads came by other topics: they need routes of "
                "their own\n",
                keys);
  const std::string name(
      table.substr(table.find_first_not_of('['), table.find(']') - table.find_first_not_of('[')));
  if (const std::size_t at = keys.find("@table@"); at != std::string::npos) keys.replace(at, 7, name);
  out.toml = text(table, "\n", topics ? text("topic = ", quoted(topic), "\n") : std::string(), keys);
  return out;
}

}  // namespace millrace
