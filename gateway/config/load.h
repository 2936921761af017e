// From millrace.toml to Config. Every fault of the file is found, with line, column and the nearest right
// word.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "config/config.h"

namespace millrace {

struct LoadedConfig {
  Config config;
  std::string path;                   // as it was named
  std::vector<ConfigError> errors;    // empty: the configuration can be used
  std::vector<std::string> warnings;  // it can, but somebody should look

  // An error at a key of an input or uplink; at the part itself where it has no such key.
  void fail(const PartConfig& part, std::string_view key, std::string message);
};

// "millrace.toml:12:3: input "plant": tls_ca: what": for what is found out about a key later. `side`: "input"
// or "uplink".
std::string about_key(const LoadedConfig& loaded, const std::string& side, const std::string& name,
                      const std::string& key, const std::string& what);

// Inputs and uplinks are read by their kinds' rows; a kind that is none of `kinds` is an error.
// With `running` what cannot change while the gateway runs is as it says, and so is what follows from it for
// inputs and uplinks.
LoadedConfig load_config(const std::string& content, const std::string& name, const Kinds& kinds,
                         const Config* running = nullptr);
// `path` unreadable is one error on line 0.
LoadedConfig load_config_file(const std::string& path, const Kinds& kinds);
// What holds after a reload of `path`; a warning for each part of the file that is left as it runs. A file
// that is good for a start and does not fit beside such a part is an error that says so.
LoadedConfig reload_config_file(const std::string& path, const Kinds& kinds, const Config& running);

// "millrace.toml:12:3: message", one a line.
std::string format_errors(const std::string& path, const std::vector<ConfigError>& errors);

}  // namespace millrace
