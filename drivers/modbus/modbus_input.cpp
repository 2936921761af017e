// inputs.modbus: registers and coils of devices on a bus.
#include <algorithm>
#include <cmath>
#include <set>

#include "base/files.h"
#include "base/host_port.h"
#include "base/label.h"
#include "base/text.h"
#include "config/network_keys.h"
#include "config/toml.h"
#include "drivers/modbus/libmodbus_line.h"
#include "drivers/modbus/modbus_driver.h"
#include "drivers/modbus/modbus_trial.h"
#include "drivers/modbus/reply_decoder.h"
#include "ingest/input_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = ModbusInputConfig;
using K = KeysOf<C>;
using R = KeysOf<RegisterConfig>;
using M = KeysOf<MapConfig>;
using D = KeysOf<SlaveConfig>;
using S = KeysOf<Rs485Config>;
using Tag = std::pair<std::string, std::string>;

constexpr std::size_t map_file_max = 1 << 20;
constexpr std::size_t devices_max = 1000, points_max = 100'000;

constexpr const char* orders = "ABCD|DCBA|BADC|CDAB";

void settle_register(Section& section, RegisterConfig& row) {
  row.line = section.line();
  if (row.scale == 0) section.error("scale", "a scale of 0 leaves nothing");
  if (row.min && row.max && *row.min > *row.max) section.error("min", "\"min\" is above \"max\"");
}

constexpr Key register_keys[] = {
    R::key<&RegisterConfig::name>("name", "The metric").required().names().like("\"voltage\""),
    R::choice<&RegisterConfig::table>("table", "coil|discrete|holding|input",
                                      "Coils and discrete inputs are bits"),
    R::key<&RegisterConfig::address>("address", "As in the protocol, from 0").within(0, 65535).like("107"),
    R::key<&RegisterConfig::reference>("reference",
                                       "Instead of table and address the number of the manual: 40108 is "
                                       "holding register 107, 30001 input register 0")
        .within(1, 465'536)
        .like("40108"),
    R::choice<&RegisterConfig::type>(
        "type", "u16|i16|u32|i32|u64|i64|f32|f64|bcd16|bcd32|bits|bool|string",
        "How many registers it takes follows from it: 1, 2 or 4; default: u16, of bits bool")
        .like("\"f32\""),
    R::choice<&RegisterConfig::byte_order>("byte_order", orders, "Of its registers; default: the device's")
        .like("\"CDAB\""),
    R::key<&RegisterConfig::length>("length", "Registers of a string, two characters each")
        .within(1, 125)
        .like("8"),
    R::key<&RegisterConfig::bit>("bit", "Of type bits: the lowest of them, from 0 ...")
        .within(0, 15)
        .like("3"),
    R::key<&RegisterConfig::bits>("bits", "... and how many: one is true or false, more are a number")
        .within(1, 16),
    R::key<&RegisterConfig::scale>("scale", "Value = what comes * scale + offset"),
    R::key<&RegisterConfig::offset>("offset", ""),
    R::key<&RegisterConfig::scale_register>(
        "scale_register",
        "At this address of the table lies a power of ten, an i16 (SunSpec): it is "
        "read with the row, and scales it too")
        .within(0, 65535)
        .like("40084"),
    R::key<&RegisterConfig::unit>("unit", ""),
    R::key<&RegisterConfig::min>("min", "What is less enters with quality bad").like("-50"),
    R::key<&RegisterConfig::max>("max", "What is more enters with quality bad").like("60"),
    R::key<&RegisterConfig::no_value>("no_value",
                                      "This number, as it comes, says that there is none; nan never is one")
        .like("32767"),
    R::key<&RegisterConfig::interval>("interval", "Polled so often; default: the device's")
        .within(10ms, 7 * 24h)
        .like("\"1min\""),
};
constexpr Shape register_shape = shape_of<RegisterConfig, settle_register>(register_keys, "register");

// The rows of a map that is a file of its own; its errors have that file's lines.
struct MapFile {
  std::vector<RegisterConfig> registers;
};
constexpr Key map_file_keys[] = {
    KeysOf<MapFile>::tables<&MapFile::registers>("registers", register_shape, "")};
constexpr Shape map_file_shape = shape_of<MapFile>(map_file_keys);

// What is wrong with the file is told by check(): its name alone is no fault.
void read_map_file(MapConfig& map) {
  // The daemon's folder is not that of whoever checks; and what is no file could keep us waiting.
  if (!map.file.starts_with('/')) return map.faults.push_back(text("\"", map.file, "\" must begin with /"));
  if (is_no_file(map.file)) return map.faults.push_back(text(map.file, " is no file"));
  const auto content = read_file(map.file, map_file_max);
  if (!content.ok()) return map.faults.push_back(content.status().detail());
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse(content.value(), map.file, errors);
  MapFile read;
  if (file) {
    Section root = file->root();
    read_keys(root, map_file_shape, &read);
  }
  for (const ConfigError& e : errors)
    map.faults.push_back(text(map.file, ":", e.line, ":", e.column, ": ", e.message));
  for (RegisterConfig& row : read.registers) {
    row.file = map.file;
    map.registers.push_back(std::move(row));
  }
}

void settle_map(Section& section, MapConfig& map) {
  map.line = section.line();
  if (!map.file.empty()) read_map_file(map);
  else if (map.registers.empty()) section.error(text("map \"", map.name, "\" has no registers"));
}

constexpr Key map_keys[] = {
    M::key<&MapConfig::name>("name", "").required().names().like("\"meter\""),
    M::key<&MapConfig::file>("file",
                             "Its registers stand in this file, as [[registers]]: for more than one bus")
        .like("\"/etc/millrace/maps/meter.toml\""),
    M::choice<&MapConfig::byte_order>(
        "byte_order", orders,
        "CDAB has the words of a number swapped, BADC the bytes in each register, DCBA both: of 16 bits and "
        "strings only the bytes"),
    M::key<&MapConfig::interval>("interval", "Default: the bus's").within(10ms, 7 * 24h).like("\"10s\""),
    M::tables<&MapConfig::registers>("registers", register_shape, "What is where, and what it is called"),
};
constexpr Shape map_shape = shape_of<MapConfig, settle_map>(map_keys);

constexpr Key tag_keys[] = {KeysOf<Tag>::key<&Tag::first>("NAME", ""),
                            KeysOf<Tag>::key<&Tag::second>("VALUE", "")};
constexpr Shape tag_shape = shape_of<Tag>(tag_keys);

void settle_device(Section& section, SlaveConfig& device) {
  device.line = section.line();
  if (Status status = check_label(Label::device, device.name); !device.name.empty() && !status.ok())
    section.error("name", status.detail());
  if (device.tags.size() > tags_max)
    section.error("tags", text("more tags than the ", tags_max, " a record may have"));
  std::size_t bytes = 0;
  for (const auto& [name, value] : device.tags) {
    bytes += name.size() + value.size();
    for (const Status& status :
         {check_label(Label::tag_name, name), check_label(Label::tag_value, value, name)}) {
      if (!status.ok()) section.error("tags", status.detail());
    }
  }
  if (bytes > tags_bytes_max)
    section.error("tags", text("the tags take more than ", tags_bytes_max, " bytes together"));
}

constexpr Key device_keys[] = {
    D::key<&SlaveConfig::name>("name", "").required().names().like("\"meter-1\""),
    D::key<&SlaveConfig::unit>("unit", "Its unit identifier, or slave address").within(0, 255),
    D::key<&SlaveConfig::map>("map", "The map whose registers it has").like("\"meter\""),
    D::choice<&SlaveConfig::byte_order>("byte_order", orders, "Default: the map's").like("\"ABCD\""),
    D::key<&SlaveConfig::interval>("interval", "Polled so often; default: the map's")
        .within(10ms, 7 * 24h)
        .like("\"1s\""),
    D::key<&SlaveConfig::timeout>("timeout", "Default: the bus's").within(10ms, 1min).like("\"300ms\""),
    D::key<&SlaveConfig::registers_max>("registers_max", "It takes no more in a request; default: the bus's")
        .within(1, 125)
        .like("32"),
    D::key<&SlaveConfig::gap>("gap", "Default: the bus's").within(0, 124).like("0"),
    D::entries<&SlaveConfig::tags>("tags", tag_shape, "What each of its records has")
        .like("{ hall = \"2\" }"),
    D::tables<&SlaveConfig::registers>("registers", register_shape, "Besides, or instead of, a map's"),
};
constexpr Shape device_shape = shape_of<SlaveConfig, settle_device>(device_keys, "device");

constexpr Key rs485_keys[] = {
    S::key<&Rs485Config::enabled>("enabled", "The kernel's driver switches the direction (TIOCSRS485)"),
    S::key<&Rs485Config::rts_on_send>("rts_on_send", "RTS is high while it sends"),
    S::key<&Rs485Config::rts_after_send>("rts_after_send", "RTS is high afterwards"),
    S::key<&Rs485Config::receive_own>("rx_during_tx",
                                      "It hears itself, for adapters that need it: as \"echo\", too"),
    S::key<&Rs485Config::delay_before_ms>("delay_rts_before_send", "Milliseconds").within(0, 1000),
    S::key<&Rs485Config::delay_after_ms>("delay_rts_after_send", "Milliseconds").within(0, 1000),
};
void settle_rs485(Section& section, Rs485Config& rs485) {
  if (!rs485.enabled && !section.has("enabled"))
    section.error("nobody switches the direction without \"enabled\": true, or false that it is meant so");
}
constexpr Shape rs485_shape = shape_of<Rs485Config, settle_rs485>(rs485_keys);

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"hall-2\""),
    K::choice<&C::mode>("mode", "rtu|tcp|rtu_over_tcp|tls",
                        "Over TCP with Modbus' own header, with RTU's frames (serial servers), or by TLS "
                        "(Modbus/TCP Security)"),
    K::key<&C::device>("device", "Of rtu: a name under /dev/serial/by-id finds the adapter again")
        .like("\"/dev/serial/by-id/usb-FTDI_FT232R_A10K2V5X-if00-port0\"")
        .said_first(),
    K::key<&C::server>("server", "Of tcp, rtu_over_tcp and tls; where no port is said 502, of tls 802")
        .like("\"192.0.2.7:502\""),
    K::include<&C::tls>(tls_shape),
    K::key<&C::baud>("baud", "Speed of the line").within(110, 4'000'000),
    K::choice<&C::parity>("parity", "none|even|odd",
                          "With none the standard wants two stop bits, and many devices one"),
    K::key<&C::stop_bits>("stop_bits", "").within(1, 2),
    K::key<&C::interval>("interval",
                         "Devices are polled so often where they, their map or register say nothing else")
        .within(10ms, 7 * 24h),
    K::key<&C::timeout>("timeout", "A whole answer must come within").within(10ms, 1min),
    K::key<&C::pause>("pause",
                      "Silence before a question; 0s: what the standard asks for, 3.5 characters on a line "
                      "and none over TCP")
        .within(0ms, 10s),
    K::key<&C::echo>("echo",
                     "The adapter gives back what it sends: the question is taken off before its answer"),
    K::key<&C::connect_timeout>("connect_timeout", "Looking the name up, connecting, and TLS")
        .within(100ms, 1min),
    K::key<&C::retries>("retries", "Asked again after a damaged answer").within(0, 5),
    K::key<&C::registers_max>("registers_max", "In a request").within(1, 125),
    K::key<&C::coils_max>("coils_max", "Coils or discrete inputs in a request").within(1, 2000),
    K::key<&C::gap>("gap", "Rows are read together over so many registers that nobody wants").within(0, 124),
    K::key<&C::failures_max>("failures_max",
                             "A device that is silent so often in a row is asked only now and then: from ...")
        .within(1, 100),
    K::key<&C::recovery_min>("recovery_min", "... so long after, then twice as long ...").within(100ms, 1h),
    K::key<&C::recovery_max>("recovery_max",
                             "... to so long; all silent devices take a hundredth of the bus's time at most")
        .within(100ms, 24h),
    K::key<&C::liveness>(
        "liveness",
        "That a device answers, or no more, and which registers it refuses, becomes an event "
        "in the alarm lane"),
    K::table<&C::report>("report", report_shape,
                         "Report by exception: not every reading leaves; docs/reporting.md of the package"),
    K::key<&C::reopen_min>("reopen_min", "Between tries to open it: from here ...").within(50ms, 1h),
    K::key<&C::reopen_max>("reopen_max", "... to here, with chance").within(100ms, 24h),
    K::table<&C::rs485>(
        "rs485", rs485_shape,
        "Direction of an RS-485 port by the kernel; adapters that switch by themselves need none of it"),
    K::tables<&C::maps>("maps", map_shape, "Registers that more than one device has"),
    K::tables<&C::devices>("devices", device_shape, "Who is on the bus").said_first(),
};

void settle(Section& section, ModbusInputConfig& c) {
  if (c.reopen_max < c.reopen_min) section.error("reopen_max", "\"reopen_max\" is less than \"reopen_min\"");
  settle_tls(section, c.tls, c.mode == "tls");
  if (c.recovery_max < c.recovery_min)
    section.error("recovery_max", "\"recovery_max\" is less than \"recovery_min\"");
  if (c.report.deduplicate)
    section.table("report")->error("deduplicate",
                                   "\"deduplicate\" goes by times that devices give: Modbus has none");
  if (c.devices.empty()) section.error("a bus needs [[inputs.modbus.devices]]: who is on it");
}
constexpr Shape shape = shape_of<C, settle>(keys);

InputPlan plan_of(const ModbusInputConfig& c) {
  InputPlan plan;
  // A connection can be had more than once, but a line behind it cannot be asked twice at a time.
  plan.claims = {claim_of(c)};
  need_tls(plan.needs, c.tls);
  plan.decode = [decoder =
                     std::make_shared<const ReplyDecoder>(slaves_of(c), ReportRules::make(c.report, {}))](
                    const Arrival& arrival, std::vector<Record>& out, Unread& unread) {
    return decoder->decode(arrival, out, unread);
  };
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<ModbusDriver>(parts, c);
  };
  return plan;
}

// ---- what the words alone do not show -----------------------------------------------------------------

class Checks {
 public:
  Checks(const ModbusInputConfig& c, const PartConfig& part, LoadedConfig& loaded)
      : c_(c), part_(part), loaded_(loaded) {}

  void all() {
    const std::size_t errors = loaded_.errors.size();
    line_of_bus();
    for (const MapConfig& map : c_.maps) {
      for (const std::string& fault : map.faults) at(map.line, text("map \"", map.name, "\": ", fault));
      tell(map.line, faults_of(map.registers));
    }
    std::set<std::string> names, used;
    std::size_t points = 0;
    for (const SlaveConfig& device : c_.devices) {
      if (!names.insert(device.name).second)
        at(device.line, text("the device \"", device.name, "\" is there already; names are unique"));
      used.insert(device.map);
      one(device, points);
    }
    for (const MapConfig& map : c_.maps) {
      if (!used.contains(map.name))
        loaded_.warnings.push_back(text("input \"", c_.name, "\": no device has the map \"", map.name, "\""));
    }
    if (c_.devices.size() > devices_max)
      fail("devices", text("more than ", devices_max, " devices on one bus"));
    if (points > points_max) fail("devices", text("more than ", points_max, " registers on one bus"));
    if (loaded_.errors.size() == errors) plan();
    names_of_other_buses();
  }

 private:
  void at(int line, const std::string& message) {
    loaded_.errors.push_back({line, 1, text("input \"", c_.name, "\": ", message)});
  }
  void fail(const char* key, const std::string& message) {
    loaded_.fail(part_, key, text("input \"", c_.name, "\": ", message));
  }
  void tell(int line, const std::vector<RowFault>& faults) {
    for (const RowFault& fault : faults)
      at(fault.file.empty() ? fault.line : line,
         fault.file.empty() ? fault.message : text(fault.file, ":", fault.line, ": ", fault.message));
  }

  void line_of_bus() {
    if (c_.numbered() && c_.echo) fail("echo", "\"echo\" is of mode = \"rtu\" and \"rtu_over_tcp\"");
    if (c_.over_tcp()) {
      for (const char* key : {"device", "baud", "parity", "stop_bits", "rs485"}) {
        if (part_.places.contains(key)) fail(key, text("\"", key, "\" is of mode = \"rtu\""));
      }
      if (c_.server.empty()) return fail("mode", text("mode = \"", c_.mode, "\" needs a \"server\""));
      if (const auto where = parse_host_port(c_.server, c_.port()); !where.ok())
        fail("server", where.status().detail());
      if (c_.tls.enabled && c_.tls.cert.empty())
        loaded_.warnings.push_back(text("input \"", c_.name,
                                        "\": no tls_cert: a server that keeps to Modbus/TCP Security takes "
                                        "nobody without a certificate"));
      return;
    }
    if (!c_.server.empty()) fail("server", "\"server\" is of mode = \"tcp\", \"rtu_over_tcp\" or \"tls\"");
    if (part_.places.contains("connect_timeout"))
      fail("connect_timeout", "\"connect_timeout\" is of mode = \"tcp\", \"rtu_over_tcp\" or \"tls\"");
    if (c_.device.empty()) return fail("mode", "mode = \"rtu\" needs a \"device\"");
    if (c_.device.front() != '/') fail("device", text("\"", c_.device, "\" is no path"));
    if (!known_modbus_baud(c_.baud)) fail("baud", text(c_.baud, " baud is not a speed that libmodbus knows"));
  }

  void one(const SlaveConfig& device, std::size_t& points) {
    const int unit_max = c_.numbered() ? 255 : 247;
    if (device.unit > unit_max || (c_.numbered() && device.unit > 247 && device.unit < 255) ||
        (!c_.numbered() && device.unit == 0))
      at(device.line, text("device \"", device.name, "\": unit ", device.unit, " is none; there are ",
                           c_.numbered() ? "0 to 247, and 255" : "1 to 247"));
    std::vector<RegisterConfig> rows;
    if (!device.map.empty()) {
      const auto map = std::find_if(c_.maps.begin(), c_.maps.end(),
                                    [&](const MapConfig& m) { return m.name == device.map; });
      if (map == c_.maps.end()) return no_map(device);
      rows = map->registers;
    }
    const std::size_t known = rows.size();
    rows.insert(rows.end(), device.registers.begin(), device.registers.end());
    if (rows.empty()) at(device.line, text("device \"", device.name, "\" has neither a map nor registers"));
    if (!device.registers.empty()) tell(device.line, faults_of(rows, known));
    points += rows.size();
    const int most = device.registers_max > 0 ? device.registers_max : c_.registers_max;
    for (const RegisterConfig& row : rows) {
      if (row.type == open_choice) continue;
      const int count = registers_of(static_cast<PointType>(row.type), row.length);
      if (count > most)
        at(row.file.empty() ? row.line : device.line,
           text("register \"", row.name, "\" takes ", count, " registers; registers_max of \"", device.name,
                "\" is ", most));
    }
  }

  // What the plan shows: values that cannot be read with their powers of ten, and more than the line carries.
  void plan() {
    double load = 0;  // of a second
    const auto slaves = slaves_of(c_);
    for (std::size_t i = 0; i < slaves.size(); ++i) {
      const PlanLimits limits = limits_of(slaves[i], c_);
      for (const Block& block : plan_blocks(*slaves[i].points, limits)) {
        const int most = is_bit_table(block.span.table) ? limits.bits_max : limits.registers_max;
        if (block.span.count > most)
          at(c_.devices[i].line,
             text("device \"", slaves[i].name, "\": what lies between its values and their scale_registers (",
                  place_words(block.span.table, block.span.first, block.span.count),
                  ") must be read in one request, and registers_max is ", most));
        load += to_seconds(time_of(block)) / to_seconds(block.interval);
      }
    }
    if (c_.over_tcp() || load <= 1) return;
    loaded_.warnings.push_back(text("input \"", c_.name, "\": all polls together take ", tenths(load),
                                    " times what ", c_.baud,
                                    " baud carry: longer intervals, or fewer registers; as it is, polls are "
                                    "left out (millrace_modbus_missed_polls_total)"));
  }

  // On the line: the question's 8 characters, the answer's 5 and its data, and the pause before.
  Duration time_of(const Block& block) const {
    const int bits = 1 + 8 + (c_.parity == "none" ? 0 : 1) + c_.stop_bits;  // of a character
    const auto characters = static_cast<std::int64_t>(8 + 5 + data_bytes(block.span));
    const Duration pause = c_.pause.count() > 0 ? c_.pause : frame_silence(c_.baud);
    return pause + Duration{characters * bits * 1'000'000'000 / std::max(c_.baud, 1)};
  }

  static std::string tenths(double number) {
    const auto whole = static_cast<std::int64_t>(std::lround(number * 10));
    return text(whole / 10, ".", whole % 10);
  }

  // Whoever reads what leaves us would take two devices of one name for one.
  void names_of_other_buses() {
    const auto same = [](const SlaveConfig& a, const SlaveConfig& b) {
      return a.name == b.name &&
             std::is_permutation(a.tags.begin(), a.tags.end(), b.tags.begin(), b.tags.end());
    };
    for (const PartConfig& other : loaded_.config.inputs) {
      if (&other == &part_) return;  // the later one tells
      if (other.kind != part_.kind) continue;
      for (const SlaveConfig& its : other.as<C>().devices) {
        const auto twin =
            std::ranges::find_if(c_.devices, [&](const SlaveConfig& d) { return same(d, its); });
        if (twin == c_.devices.end()) continue;
        loaded_.warnings.push_back(text("input \"", c_.name, "\": the device \"", its.name,
                                        "\" is on the bus \"", other.name,
                                        "\" too, and both give readings of one name; another name, or a tag, "
                                        "keeps them apart"));
      }
    }
  }

  void no_map(const SlaveConfig& device) {
    std::vector<std::string_view> names;
    for (const MapConfig& map : c_.maps) names.push_back(map.name);
    const std::string_view nearest = nearest_word(device.map, names);
    at(device.line, text("device \"", device.name, "\": there is no map \"", device.map, "\"",
                         nearest.empty() ? "" : "; did you mean \"", nearest, nearest.empty() ? "" : "\"?"));
  }

  const ModbusInputConfig& c_;
  const PartConfig& part_;
  LoadedConfig& loaded_;
};

void check(const ModbusInputConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  Checks(c, part, loaded).all();
}

constexpr InputKind make_kind() {
  InputKind kind = kind_of<InputKind, C>("modbus",
                                         "A Modbus bus: registers and coils of devices on a serial line or "
                                         "behind TCP. It reads, and never writes",
                                         shape);
  kind.descriptors = 3 + lookup_descriptors;
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.try_online = typed<try_modbus_online>;
  return kind;
}

}  // namespace

extern const InputKind modbus_input_kind;
const InputKind modbus_input_kind = make_kind();

}  // namespace millrace
