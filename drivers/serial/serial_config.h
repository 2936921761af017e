// [[inputs.serial]]: a serial port as it is configured.
#pragma once

#include <string>

#include "config/routes.h"

namespace millrace {

struct SerialInputConfig {
  SerialInputConfig() { route.device.clear(); }

  std::string name;
  std::string device;                 // "/dev/serial/by-id/..."
  int baud = 9600;
  std::string parity = "none";        // none, even, odd
  int data_bits = 8, stop_bits = 1;
  std::size_t line_bytes_max = 1024;
  Duration reopen_min = std::chrono::milliseconds(500), reopen_max = std::chrono::seconds(30);
  RouteConfig route;                  // its device, when it names none: the input's name
};

}  // namespace millrace
