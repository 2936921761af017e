// A kind of input or uplink as the configuration sees it: its name, its keys, and what the rest of the
// gateway must know of its values before anything is made of them. The kinds that are built are handed to
// load_config(); nothing here names one. What a kind does stands in ingest/input_kind.h and
// uplink/uplink_kind.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/keys.h"
#include "config/toml.h"

namespace millrace {

// What a part asks for of the log's state (log_state_share).
struct StateWish {
  std::uint64_t bytes = 0;
  std::string words;  // what it is for: "sessions_max = 100 is up to 450.0 KiB of sessions"
  bool open = false;  // it says nothing: give_state() tells it what there is
};

// A second of readings on their way: as batches of the log, and one by one.
struct LinkLoad {
  double batches = 0, batch_bytes = 0;
  double readings = 0, reading_bytes = 0;
};

// Of a name's lookup: epoll, and for both families a socket to each of three name servers.
constexpr std::size_t lookup_descriptors = 7;

struct PartKind {
  std::string_view name;         // "serial": [[inputs.serial]]
  const char* help = "";         // a sentence
  const Shape* shape = nullptr;  // its first row is the name
  std::shared_ptr<void> (*make_values)() = nullptr;
  // Fills what was left open and depends on the gateway's name; warns of what somebody should look at.
  void (*complete)(void* values, const std::string& gateway, std::vector<std::string>& warnings) = nullptr;
  std::size_t descriptors = 0;  // open while it runs, at most; devices aside
  std::size_t (*more_descriptors)(const void* values) = nullptr;  // beside them, as it is configured
  std::size_t (*devices)(const void* values) = nullptr;           // that may be connected at a time
  std::uint64_t inbox_size = 512 << 10;                           // what it wants of the inbox
  StateWish (*state)(const void* values) = nullptr;
  void (*give_state)(void* values, std::uint64_t bytes) = nullptr;
  // Of an uplink: bytes a second on the link while it keeps up; 0 where single readings are not sent.
  double (*link_bytes)(const void* values, const LinkLoad&) = nullptr;
  bool first = false;  // stands in the configuration that is installed, not only in comments
};

// The kinds there are, and those this build leaves out: "inputs.mqtt".
struct Kinds {
  std::vector<const PartKind*> inputs, uplinks;
  std::vector<std::string_view> left_out;
};

// An input or uplink as the file says it. Copies share the values, which do not change once they are loaded.
struct PartConfig {
  const PartKind* kind = nullptr;
  std::string name;
  std::shared_ptr<void> values;
  std::map<std::string, ConfigPlace, std::less<>> places;  // of its keys; "": its own
  bool sound = true;  // none of its keys is an error: it can be looked at beside the others

  template <typename C>
  const C& as() const {
    return *static_cast<const C*>(values.get());
  }
  // Where the key stands, else the part.
  ConfigPlace place(std::string_view key) const;
  // Of one kind, and every key says the same.
  bool operator==(const PartConfig& other) const {
    return kind == other.kind && same_values(*kind->shape, values.get(), other.values.get());
  }
};

template <typename C>
std::shared_ptr<void> make_values() {
  return std::make_shared<C>();
}

// What every kind says first: Kind is InputKind or UplinkKind, C its struct.
template <typename Kind, typename C>
constexpr Kind kind_of(std::string_view name, const char* help, const Shape& shape) {
  Kind kind;
  kind.name = name;
  kind.help = help;
  kind.shape = &shape;
  kind.make_values = make_values<C>;
  return kind;
}

// A function of a kind's own struct as one of any: typed<check>, where check takes a (const) C& first.
template <auto Function>
struct Typed;
template <typename R, typename C, typename... Rest, R (*Function)(C&, Rest...)>
struct Typed<Function> {
  using Values = std::conditional_t<std::is_const_v<C>, const void, void>;
  static R call(Values* values, Rest... rest) {
    return Function(*static_cast<C*>(values), std::forward<Rest>(rest)...);
  }
};
template <auto Function>
inline constexpr auto typed = &Typed<Function>::call;

}  // namespace millrace
