// The command line as values. The one home of CLI11 in the gateway.
#pragma once

#include <string>

namespace millrace {

struct Arguments {
  std::string command;           // run, check, status, dlq, forget, reload, version; empty: stop with `exit_code`
  std::string config = "/etc/millrace/millrace.toml";
  std::string runtime_dir;       // for commands that talk to a daemon; default: from the configuration
  double rate = 0;               // check: readings a second to reckon with; 0: as observed, else 100
  double reading_bytes = 0;      // check: bytes of a reading in the log; 0: as observed, else 6
  bool json = false;
  int max = 20;
  std::string uplink;
  int exit_code = 0;
};

// Prints help and usage errors itself.
Arguments parse_arguments(int argc, char** argv);

}  // namespace millrace
