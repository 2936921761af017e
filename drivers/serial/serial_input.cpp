// inputs.serial: lines from a serial port.
#include "base/text.h"
#include "config/toml.h"
#include "drivers/serial/serial_config.h"
#include "drivers/serial/serial_driver.h"
#include "drivers/serial/serial_port.h"
#include "ingest/input_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = SerialInputConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"scale\""),
    K::key<&C::device>("device", "A name under /dev/serial/by-id finds the adapter again")
        .required()
        .like("\"/dev/serial/by-id/usb-FTDI_FT232R_A10K2V5X-if00-port0\""),
    K::key<&C::baud>("baud", "Speed of the line").within(300, 4'000'000),
    K::choice<&C::parity>("parity", "none|even|odd", ""),
    K::key<&C::data_bits>("data_bits", "").within(7, 8),
    K::key<&C::stop_bits>("stop_bits", "").within(1, 2),
    K::size<&C::line_bytes_max>("line_max", "What is longer is thrown away, and counted")
        .within(16, 64 << 10),
    K::key<&C::reopen_min>("reopen_min", "Between tries to open it: from here ...").within(100ms, 1h),
    K::key<&C::reopen_max>("reopen_max", "... to here, with chance").within(100ms, 24h),
    K::table<&C::route>(
        "route", route_shape,
        "How a line is read: it is a payload. Without `device` the device is called as the input")
        .said_first(),
};

void settle(Section& section, SerialInputConfig& c) {
  if (c.reopen_max < c.reopen_min) section.error("reopen_max", "\"reopen_max\" is less than \"reopen_min\"");
  if (!section.has("route"))
    section.error("a serial input needs a [inputs.serial.route] that says how a line is read");
  if (c.route.device.empty()) c.route.device = c.name;
}
constexpr Shape shape = shape_of<C, settle>(keys);

InputPlan plan_of(const SerialInputConfig& c) {
  InputPlan plan;
  plan.claims = {"tty " + c.device};
  plan.routes = {c.route};
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<SerialDriver>(parts.loop, parts.rng, parts.inbox, parts.trust, parts.metrics, c);
  };
  return plan;
}

void check(const SerialInputConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  if (!known_baud(c.baud))
    loaded.fail(part, "baud", text("input \"", c.name, "\": ", c.baud, " baud is not a standard speed"));
}

void try_online(const SerialInputConfig& c, bool beside, std::vector<Trial>& trials) {
  const std::string what = text("input ", c.name, ": ", c.device);
  if (beside) {
    trials.push_back({Trial::State::unsure, what, "not tried: the running daemon holds it"});
  } else if (const auto port = open_serial_port(c); port.ok()) {
    trials.push_back({Trial::State::good, what, "opens, and takes the speed"});
  } else {
    trials.push_back({Trial::State::bad, what, port.status().detail()});
  }
}

constexpr InputKind make_kind() {
  InputKind kind = kind_of<InputKind, C>("serial", "A serial port: lines become payloads", shape);
  kind.descriptors = 2;
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.try_online = typed<try_online>;
  return kind;
}

}  // namespace

extern const InputKind serial_input_kind;
const InputKind serial_input_kind = make_kind();

}  // namespace millrace
