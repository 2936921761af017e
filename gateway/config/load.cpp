#include "config/load.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/bytes.h"
#include "base/files.h"
#include "base/http_url.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

std::string digest_text(const std::string& content) {
  std::uint64_t digest = digest64(bytes_of(content));
  std::string out;
  for (int i = 0; i < 16; ++i, digest <<= 4) out += "0123456789abcdef"[digest >> 60];
  return out;
}

PartConfig read_part(Section& section, const PartKind& kind, const std::string& title,
                     std::set<std::string>& names) {
  PartConfig part;
  part.kind = &kind;
  part.values = kind.make_values();
  section.call(title);
  read_keys(section, *kind.shape, part.values.get());
  part.name = *static_cast<std::string*>(kind.shape->keys[0].at(part.values.get()));
  take_name(section, part.name, names);
  part.places[""] = section.place("");
  for (const std::string& key : section.keys()) part.places[key] = section.place(key);
  return part;
}

// [[inputs.KIND]] or [[uplinks.KIND]], of every kind.
void read_side(Section& root, const char* side, const std::vector<const PartKind*>& kinds, const Kinds& all,
               LoadedConfig& loaded, std::vector<PartConfig>& out) {
  auto section = root.table(side);
  if (!section) return;
  std::set<std::string> names;
  for (const PartKind* kind : kinds) {
    for (Section& one : section->tables(kind->name)) {
      const std::size_t before = loaded.errors.size();
      out.push_back(read_part(one, *kind, text("[[", side, ".", kind->name, "]]"), names));
      out.back().sound = loaded.errors.size() == before;
    }
  }
  for (const std::string_view left_out : all.left_out) {
    if (!left_out.starts_with(side)) continue;
    for (const Section& one : section->tables(left_out.substr(left_out.find('.') + 1))) {
      loaded.errors.push_back({one.line(), 1,
                               text("this millrace was built without [[", left_out,
                                    "]] (`millrace version` says what is in it; "
                                    "the full profile has everything)")});
    }
  }
  section->finish();
}

void warn_of_lateness(const Config& config, std::vector<std::string>& warnings) {
  for (const WindowConfig& window : config.windows) {
    if (window.allowed_lateness / window.size >= static_cast<std::int64_t>(window_panes_max)) {
      warnings.push_back(text("window \"", window.name, "\": allowed_lateness holds more than ",
                              window_panes_max,
                              " windows; of each device and metric no more than the newest ",
                              window_panes_max, " are kept for late readings"));
    }
  }
}

void warn_of_otlp(const OtlpConfig& otlp, std::vector<std::string>& warnings) {
  const auto url = parse_http_url(otlp.endpoint);
  if (url.ok() && !url.value().secure && !is_this_machine(url.value().where.host))
    warnings.push_back(
        "observe.otlp: without TLS everybody on the way can read the metrics, and change them");
}

// What windows and inputs keep in the log's state, which may take a quarter of it. What the configuration
// leaves open is made to fit: windows take an eighth of the log at most, inputs what is left. What it says
// and does not fit is an error.
class StateBudget {
 public:
  explicit StateBudget(LoadedConfig& loaded)
      : loaded_(loaded), config_(loaded.config), left_(config_.log.max_size / log_state_share) {}

  void share() {
    share_among_windows();
    share_among_inputs();
  }

 private:
  static std::string size_of(std::uint64_t bytes) { return format_size(static_cast<double>(bytes)); }
  void too_much(int line, const std::string& what) {
    loaded_.errors.push_back(
        {line, 1,
         text(what, " does not fit the log: all state may take a quarter of log.max_size, ",
              size_of(config_.log.max_size / log_state_share))});
  }

  void share_among_windows() {
    const std::uint64_t space = left_;
    std::uint64_t windows = 0;
    for (WindowConfig& window : config_.windows) {
      if (window.state_max == 0) {
        window.state_max =
            std::clamp<std::uint64_t>(config_.log.max_size / 8 / config_.windows.size(), 64 << 10, 8 << 20);
      }
      windows += window.state_max;
      if (windows > space) {
        too_much(window.line, text("window \"", window.name, "\": with this one the windows may have ",
                                   size_of(windows), " of state (state_max), which"));
        windows = space;
      }
    }
    left_ = space - windows;
  }

  void share_among_inputs() {
    std::vector<PartConfig*> open;
    for (PartConfig& part : config_.inputs) {
      if (!part.kind->state) continue;
      const StateWish wish = part.kind->state(part.values.get());
      if (wish.open) open.push_back(&part);
      if (wish.bytes > left_)
        too_much(part.place("").line, text("input \"", part.name, "\": ", wish.words,
                                           " beside what windows and others take, which"));
      left_ -= std::min(left_, wish.bytes);
    }
    for (PartConfig* part : open) part->kind->give_state(part->values.get(), left_ / open.size());
  }

  LoadedConfig& loaded_;
  Config& config_;
  std::uint64_t left_;
};

// What the file leaves open and depends on the rest of it.
void complete(LoadedConfig& loaded) {
  Config& config = loaded.config;
  StateBudget(loaded).share();
  warn_of_lateness(config, loaded.warnings);
  warn_of_otlp(config.observe.otlp, loaded.warnings);
  if (config.inputs.empty()) loaded.warnings.push_back("no inputs: nothing will be collected");
  if (config.uplinks.empty()) loaded.warnings.push_back("no uplinks: nothing will be forwarded or stored");
  std::uint64_t inbox = PartKind{}.inbox_size;
  for (std::vector<PartConfig>* parts : {&config.inputs, &config.uplinks}) {
    for (PartConfig& part : *parts) {
      inbox = std::max(inbox, part.kind->inbox_size);
      if (part.kind->complete) part.kind->complete(part.values.get(), config.gateway.name, loaded.warnings);
    }
  }
  if (config.gateway.inbox_size == 0) config.gateway.inbox_size = inbox;
}

// By line; what was found twice is said once.
void sort(std::vector<ConfigError>& errors) {
  std::stable_sort(errors.begin(), errors.end(),
                   [](const ConfigError& a, const ConfigError& b) { return a.line < b.line; });
  const auto same = [](const ConfigError& a, const ConfigError& b) {
    return std::tie(a.line, a.column, a.message) == std::tie(b.line, b.column, b.message);
  };
  errors.erase(std::unique(errors.begin(), errors.end(), same), errors.end());
}

}  // namespace

ConfigPlace PartConfig::place(std::string_view key) const {
  auto at = places.find(key);
  if (at == places.end()) at = places.find("");
  return at == places.end() ? ConfigPlace{} : at->second;
}

void LoadedConfig::fail(const PartConfig& part, std::string_view key, std::string message) {
  const ConfigPlace at = part.place(key);
  errors.push_back({at.line, at.column, std::move(message)});
}

LoadedConfig load_config(const std::string& content, const std::string& name, const Kinds& kinds,
                         const Config* running) {
  LoadedConfig loaded;
  loaded.path = name;
  loaded.config.digest = digest_text(content);
  const auto file = TomlFile::parse(content, name, loaded.errors);
  if (!file) return loaded;
  Section root = file->root();
  read_side(root, "inputs", kinds.inputs, kinds, loaded, loaded.config.inputs);
  read_side(root, "uplinks", kinds.uplinks, kinds, loaded, loaded.config.uplinks);
  read_keys(root, config_shape, &loaded.config);
  for (const ConfigError& warning : file->warnings())
    loaded.warnings.push_back(text(name, ":", warning.line, ":", warning.column, ": ", warning.message));
  if (running) (void)keep_fixed(*running, loaded.config);
  complete(loaded);
  sort(loaded.errors);
  return loaded;
}

LoadedConfig load_config_file(const std::string& path, const Kinds& kinds) {
  auto content = read_file(path, 4 << 20);
  if (content.ok()) return load_config(content.value(), path, kinds);
  LoadedConfig loaded;
  loaded.errors.push_back({0, 0, content.status().detail()});
  return loaded;
}

LoadedConfig reload_config_file(const std::string& path, const Kinds& kinds, const Config& running) {
  const auto refused = [](const char* why) {
    LoadedConfig none;
    none.errors.push_back({0, 0, why});
    return none;
  };
  // At a start a pipe may be meant; now everything would wait for whoever writes there.
  if (is_no_file(path)) return refused("it is no file, and not read again");
  const auto content = read_file(path, 4 << 20);
  if (!content.ok()) return load_config_file(path, kinds);
  // Nobody means that: it is being written, or a full disk took nothing of it. A comment says that nothing is
  // wanted.
  if (trim(without_mark(content.value())).empty()) return refused("it is empty");
  LoadedConfig fresh = load_config(content.value(), path, kinds);
  if (!fresh.errors.empty()) return fresh;
  LoadedConfig loaded = load_config(content.value(), path, kinds, &running);
  const std::vector<std::string> kept = keep_fixed(running, fresh.config);
  for (const std::string& what : kept) {
    loaded.warnings.push_back(
        text("reload: ", what, " cannot change at run time; left as it was until the next start"));
  }
  if (loaded.errors.empty()) return loaded;
  std::string beside;
  for (const std::string& what : kept) beside += text(beside.empty() ? "" : ", ", what);
  loaded.errors.push_back({0, 0,
                           text("good for a start, but not beside ", beside,
                                " as it runs, which cannot change at run time: restart the gateway")});
  return loaded;
}

std::string about_key(const LoadedConfig& loaded, const std::string& side, const std::string& name,
                      const std::string& key, const std::string& what) {
  const auto& parts = side == "input" ? loaded.config.inputs : loaded.config.uplinks;
  const auto part =
      std::find_if(parts.begin(), parts.end(), [&](const PartConfig& one) { return one.name == name; });
  const ConfigPlace at = part == parts.end() ? ConfigPlace{} : part->place(key);
  return text(loaded.path, ":", at.line, ":", at.column, ": ", side, " \"", name, "\": ", key, ": ", what);
}

// What stands in a file may come from anywhere: of what is told of it nothing is an order to a terminal.
std::string format_errors(const std::string& path, const std::vector<ConfigError>& errors) {
  std::string out;
  for (const ConfigError& error : errors) {
    const std::string place = error.line > 0 ? text(path, ":", error.line, ":", error.column) : path;
    out += text(shown(place, place.size()), ": ", shown(error.message, error.message.size()), "\n");
  }
  return out;
}

}  // namespace millrace
