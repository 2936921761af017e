// From millrace.toml to Config. Every fault of the file is found, with line, column and the nearest right word.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "config/config.h"
#include "config/toml.h"

namespace millrace {

struct LoadedConfig {
  Config config;
  std::string path;                   // as it was named
  std::vector<ConfigError> errors;    // empty: the configuration can be used
  std::vector<std::string> warnings;  // it can, but somebody should look
  int log_path_line = 0, log_size_line = 0;  // 0: not given
  std::map<std::string, ConfigPlace> places;  // of the keys of inputs and uplinks: "inputs plant tls_ca"
  std::vector<std::pair<std::string, int>> kinds;  // "inputs.mqtt" and its line, of each input and uplink
};

// "millrace.toml:12:3: input "plant": tls_ca: what": for what is found out about a key later. `side`: "input" or "uplink".
std::string about_key(const LoadedConfig& loaded, const std::string& side, const std::string& name, const std::string& key, const std::string& what);

LoadedConfig load_config(const std::string& content, const std::string& name);
// `path` unreadable is one error on line 0.
LoadedConfig load_config_file(const std::string& path);

// "millrace.toml:12:3: message", one a line.
std::string format_errors(const std::string& path, const std::vector<ConfigError>& errors);

}  // namespace millrace
