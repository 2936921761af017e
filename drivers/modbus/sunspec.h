// SunSpec: inverters, meters and batteries that say themselves what they are and where it lies (SunSpec
// Information Model Specification). Holding registers 40000, 50000 or 0 say "SunS"; behind that lies a chain
// of models, each an id, a length and its registers, the common model first; id 65535 ends it. Rows are made
// of inverters (101 to 103, 111 to 113), meters (201 to 204) and the modules of a string inverter (160). What
// has a power of ten there has a row, also where it has no value now: a scan at night sees an inverter
// asleep. The powers are read with each poll, for devices change them as they run. Pure but for the asking.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "drivers/modbus/modbus_config.h"
#include "drivers/modbus/reply.h"

namespace millrace {

struct SunSpecModel {
  std::uint16_t id = 0, first = 0, length = 0;  // `first`: where its data begin, behind id and length
};

struct SunSpecDevice {
  std::string manufacturer, model, version, serial;
  std::vector<SunSpecModel> models;
  std::vector<RegisterConfig> rows;  // what of it is known: names and readings
};

// The registers of a span, or nothing.
using ReadRegisters = std::function<std::optional<std::vector<std::uint16_t>>(const Span&)>;

// None: no SunSpec device.
std::optional<SunSpecDevice> find_sunspec(const ReadRegisters& read);

}  // namespace millrace
