// From millrace.toml to Config. Every fault of the file is found, with line, column and the nearest right word.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "config/config.h"
#include "config/toml.h"

namespace millrace {

struct LoadedConfig {
  Config config;
  std::vector<ConfigError> errors;    // empty: the configuration can be used
  std::vector<std::string> warnings;  // it can, but somebody should look
  int log_path_line = 0, log_size_line = 0;  // 0: not given
  std::vector<std::pair<std::string, int>> kinds;  // "inputs.mqtt" and its line, of each input and uplink
};

LoadedConfig load_config(const std::string& content, const std::string& name);
// `path` unreadable is one error on line 0.
LoadedConfig load_config_file(const std::string& path);

// "millrace.toml:12:3: message", one a line.
std::string format_errors(const std::string& path, const std::vector<ConfigError>& errors);

}  // namespace millrace
