// SunSpec: inverters, meters and batteries that say themselves what they are and where it lies (SunSpec
// Information Model Specification). Holding registers 40000, 50000 or 0 say "SunS"; behind that lies a chain
// of models, each an id, a length and its registers, the common model first; id 65535 ends it. Pure but for
// the asking.
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
  std::vector<RegisterConfig> rows;  // what of it is known: names, and an inverter's readings
};

// The registers of a span, or nothing.
using ReadRegisters = std::function<std::optional<std::vector<std::uint16_t>>(const Span&)>;

// None: no SunSpec device.
std::optional<SunSpecDevice> find_sunspec(const ReadRegisters& read);

}  // namespace millrace
