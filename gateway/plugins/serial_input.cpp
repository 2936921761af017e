// inputs.serial: lines from a serial port.
#include "drivers/serial/serial_driver.h"
#include "drivers/serial/serial_port.h"
#include "plugin.h"
#include "plugins/check_route.h"
#include "plugins/fingerprint.h"

namespace millrace {
namespace {

InputPlan plan_of(const SerialInputConfig& c) {
  InputPlan plan;
  plan.name = c.name;
  plan.fingerprint = Fingerprint(c.device, c.baud, c.parity, c.data_bits, c.stop_bits, c.line_bytes_max, c.reopen_min, c.reopen_max, c.route).take();
  plan.claims = {"tty " + c.device};
  plan.routes = {c.route};
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<SerialDriver>(parts.loop, parts.rng, parts.inbox, parts.trust, parts.metrics, c);
  };
  return plan;
}

std::vector<InputPlan> inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const auto& input : config.serial_inputs) plans.push_back(plan_of(input));
  return plans;
}

void check(LoadedConfig& loaded) {
  for (const auto& input : loaded.config.serial_inputs) {
    check_route(loaded, input.name, input.route);
    if (!known_baud(input.baud)) {
      loaded.errors.push_back({input.route.line, 1, text("input \"", input.name, "\": ", input.baud, " baud is not a standard speed")});
    }
  }
}

void try_online(const Config& config, bool beside, std::vector<Trial>& trials) {
  for (const auto& input : config.serial_inputs) {
    const std::string what = text("input ", input.name, ": ", input.device);
    if (beside) {
      trials.push_back({Trial::State::unsure, what, "not tried: the running daemon holds it"});
    } else if (const auto port = open_serial_port(input); port.ok()) {
      trials.push_back({Trial::State::good, what, "opens, and takes the speed"});
    } else {
      trials.push_back({Trial::State::bad, what, port.status().detail()});
    }
  }
}

}  // namespace

extern const Plugin serial_input_plugin;
const Plugin serial_input_plugin{"inputs.serial", inputs, nullptr, check, try_online};

}  // namespace millrace
