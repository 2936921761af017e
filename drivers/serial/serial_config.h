// [[inputs.serial]]: a serial port as it is configured.
#pragma once

#include <string>
#include <vector>

#include "config/routes.h"

namespace millrace {

struct SerialInputConfig {
  std::string name;
  std::string device;           // "/dev/serial/by-id/..."; none:
  std::string server;           // host:port of a serial server, whose are all that concerns the line
  int baud = 9600;              // any; what the adapter makes of it may be 3 % off
  std::string parity = "none";  // none, even, odd
  int data_bits = 8, stop_bits = 1;
  bool flow_control = false;                 // RTS/CTS
  std::string rs485 = "no";                  // no, rts_high, rts_low: what RTS is while we send
  Duration rs485_before{0}, rs485_after{0};  // between RTS and the first bit, the last bit and RTS
  Chosen framing;
  std::size_t frame_max = 4096;  // bytes; what is longer is thrown away, and counted
  bool acknowledge = false;      // frames are those of proto/device_frame.proto
  Duration ack_interval = std::chrono::milliseconds(50);
  std::string request;  // what the device is asked with; as `requests` of one, once it is settled
  std::vector<std::string> requests;  // in turn, escapes undone; none: it speaks by itself
  Duration request_interval = std::chrono::seconds(10), request_timeout = std::chrono::seconds(1);
  int telegrams_max = 16;     // of an M-Bus meter's answer
  bool sign_on = false;       // of IEC 62056-21, mode C (drivers/serial/sign_on.h)
  bool request_echo = false;  // the adapter hears what it sends
  Duration reopen_min = std::chrono::milliseconds(500), reopen_max = std::chrono::seconds(30);
  std::vector<RouteConfig> routes;      // their device, where they name none: the input's name
  std::vector<RouteConfig> only_route;  // as `route` says it, until the section is settled

  const std::string& place() const { return server.empty() ? device : server; }
  // Then answers may need more than one telegram (drivers/serial/mbus_answer.h).
  bool speaks_mbus() const { return framing.kind && framing.kind->name == "mbus"; }
};

}  // namespace millrace
