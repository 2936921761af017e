// What lives on serial ports, for `millrace scan serial`: it listens at one speed after the other until the
// bytes make sense, and prints the input that reads them. It listens only: nothing is ever sent (opening a
// port raises DTR and RTS, and leaves it raw at the speed tried last). What makes sense is decided by the
// framers of the build: frames with a check of their own (NMEA, telegrams, M-Bus, device frames, requests of
// a Modbus master that is overheard) are certain, lines of readable text are likely. A device that speaks at
// another speed is heard as well, as noise; one that is silent cannot be found by listening. Blocks; a
// command of its own process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "drivers/serial/serial_config.h"

namespace millrace {

struct SerialGuess {
  std::string framing;  // "" : nothing that is known fits
  std::string words;    // "NMEA 0183 sentences"
  bool certain =
      false;           // frames have a check that was right, or are a meter's telegram (older ones have none)
  double share = 0;    // of the bytes that lie in whole frames
  std::string toml;    // framing and route, as they stand in the input
  std::string sample;  // a frame, to be shown
  std::size_t frames = 0;
};

// What was heard on one setting: `wrong`, of these, came with an error of framing or parity. Pure.
SerialGuess guess_serial(BytesView heard, std::uint64_t wrong);

struct SerialScanWish {
  std::vector<std::string> ports;
  std::vector<std::int32_t> bauds;
  Duration listen = std::chrono::seconds(12);  // for a first byte; then as long as it takes to hear some more
  Duration budget = std::chrono::minutes(10);
};

// `print` takes results, `progress` a line that the next one overwrites; `owner`: the input of the running
// daemon that has a port, or nothing. The code is that of a command: exit_no when nothing that makes
// sense was heard, exit_unavailable when no port could be had.
int scan_serial(const SerialScanWish& wish, const std::function<std::string(const std::string& port)>& owner,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& progress);

// Ports that are there: /dev/serial/by-id/*, where that is empty /dev/ttyUSB*, ttyACM*, ttyAMA*.
std::vector<std::string> serial_ports();

}  // namespace millrace
