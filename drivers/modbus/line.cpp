#include "drivers/modbus/line.h"

#include "base/host_port.h"
#include "base/real_path.h"
#include "drivers/modbus/libmodbus_line.h"
#include "drivers/modbus/mbap_line.h"

namespace millrace {

std::unique_ptr<Line> make_line(const Clock& clock, const ModbusInputConfig& config,
                                std::shared_ptr<const std::atomic<bool>> stopping) {
  if (config.numbered()) return std::make_unique<MbapLine>(clock, config, std::move(stopping));
  return std::make_unique<LibmodbusLine>(clock, config, std::move(stopping));
}

std::string claim_of(const ModbusInputConfig& config) {
  if (!config.over_tcp()) return "tty " + real_path(config.device);
  const auto where = parse_host_port(config.server, config.port());
  return "modbus " + (where.ok() ? where.value().to_string() : config.server);
}

}  // namespace millrace
