// The command line as values, by glibc's argp.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

struct Arguments {
  std::string command;           // run, check, config, test, status, forget, reload, version, passwd, log.*, dlq.*, read.*, scan.*; empty: stop with `exit_code`
  std::string config = "/etc/millrace/millrace.toml";
  std::string runtime_dir;       // for commands that talk to a daemon; default: from the configuration
  bool online = false;           // check: try it against the world
  double rate = 0;               // check: readings a second to reckon with; 0: as observed, else 100
  double reading_bytes = 0;      // check: bytes of a reading in the log; 0: as observed, else 6
  bool json = false;
  int max = 20;
  std::string uplink;            // uplink forget; passwd: the user
  std::string lane, from = "1", to;       // log cat, export: which lane (all when empty) and which numbers
  std::string format = "json", output;    // log export: and where to; log backup: the folder; log salvage, passwd, test: the file
  std::string device, before;             // log forget
  std::string input, topic;               // test: whose routes, and by which topic it came
  std::uint64_t number = 0;               // dlq show, retry, drop
  bool all = false;                       // dlq retry, drop: all of them; passwd: take the user out
  std::string kind;                       // config: of what; empty: all
  bool schema = false, kinds = false;     // config: the schema instead, or what `kind` can be
  std::string port, mode, bauds, parities, units, timeout, budget;  // read, scan: the bus
  std::string table = "holding";          // read modbus: what of it
  int address = 0, count = 10;
  int exit_code = 0;
};

// Prints help and usage errors itself; the C library's argp ends the program then, with 0 or 64.
Arguments parse_arguments(int argc, char** argv);

}  // namespace millrace
