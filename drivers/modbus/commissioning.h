// What a person at the bus wants: `millrace read modbus` shows registers in every order side by side,
// `millrace scan modbus` finds who answers, on which settings of the line, and what SunSpec devices say of
// themselves; both print the TOML that fits. They ask by the same functions as the daemon, and never write.
// Blocks; a command of its own process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "drivers/modbus/line.h"
#include "drivers/modbus/modbus_config.h"

namespace millrace {

struct ReadWish {
  std::int32_t unit = 1;
  Span span{Table::holding, 0, 10};
};

// The columns of `read` as text. Pure. `data`: as on the wire.
std::string shown_registers(const Span& span, BytesView data);

struct ScanWish {
  std::vector<std::int32_t> bauds, units;
  std::vector<std::string> parities;
  Duration budget{0};  // then it stops, with what it has
};

// `print` takes results, `progress` a line that the next one overwrites. The code is that of a command:
// exit_no when nobody answered or what answered was an exception, exit_unavailable when the bus could not be
// had.
int read_modbus(const ModbusInputConfig& bus, const ReadWish& wish,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& complain);
int scan_modbus(const ModbusInputConfig& bus, const ScanWish& wish,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& progress);

// The bus as TOML, without devices.
std::string bus_toml(const ModbusInputConfig& bus);

}  // namespace millrace
