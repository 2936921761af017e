// inputs.serial: frames from a serial port.
#include <algorithm>
#include <set>
#include <span>

#include "base/escapes.h"
#include "base/host_port.h"
#include "base/real_path.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/topic_pattern.h"
#include "drivers/serial/left_streams.h"
#include "drivers/serial/mbus_answer.h"
#include "drivers/serial/serial_config.h"
#include "drivers/serial/serial_driver.h"
#include "drivers/serial/serial_port.h"
#include "drivers/serial/serial_trial.h"
#include "ingest/input_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = SerialInputConfig;
using K = KeysOf<C>;
using R = KeysOf<RouteConfig>;

constexpr Key serial_route_keys[] = {
    R::key<&RouteConfig::topic>(
        "topic",
        "Which frames, where the framing knows topics (\"GP/RMC\" of nmea; `topic_until` of "
        "lines): \"{talker}/RMC\"; without it all that came so far")
        .names()
        .like("\"{talker}/{type}\""),
    R::base<RouteConfig>(route_shape),
};
constexpr Shape serial_route_shape = shape_of<RouteConfig>(serial_route_keys, "route");

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"scale\""),
    K::key<&C::device>("device", "A name under /dev/serial/by-id finds the adapter again")
        .like("\"/dev/serial/by-id/usb-FTDI_FT232R_A10K2V5X-if00-port0\"")
        .said_first(),
    K::key<&C::server>(
        "server",
        "Instead of a `device`: host:port of a serial server that gives the line's bytes by TCP "
        "and nothing else (ser2net, raw); speed and parity are set there"),
    K::key<&C::baud>("baud", "Speed of the line; any, where the adapter can do it").within(50, 4'000'000),
    K::choice<&C::parity>("parity", "none|even|odd", ""),
    K::key<&C::data_bits>("data_bits", "").within(7, 8),
    K::key<&C::stop_bits>("stop_bits", "").within(1, 2),
    K::key<&C::flow_control>("flow_control", "RTS and CTS: a full log stops a device that looks at them"),
    K::choice<&C::rs485>("rs485", "no|rts_high|rts_low",
                         "What RTS is while we send, where it switches the transceiver's direction"),
    K::key<&C::rs485_before>("rs485_before", "From the switching to the first bit").within(0s, 100ms),
    K::key<&C::rs485_after>("rs485_after", "From the last bit to the switching back").within(0s, 100ms),
    K::chosen<&C::framing>("framing", built_framers, "lines",
                           "How frames are found in the bytes: each is a payload"),
    K::size<&C::frame_max>("frame_max", "What is longer is thrown away, and counted").within(16, 64 << 10),
    K::size<&C::frame_max>("line_max", "The same, as it was called once").within(16, 64 << 10).formerly(),
    K::key<&C::acknowledge>(
        "acknowledge",
        "Frames are a microcontroller's (proto/device_frame.proto), which keeps each until it is told that it "
        "is on this box's disk; with framing = \"cobs\" and format = \"device\""),
    K::key<&C::ack_interval>(
        "ack_interval",
        "A frame is on the disk, and acknowledged, so soon: shorter for speed, longer for flash")
        .within(1ms, 10s)
        .only_with("acknowledge"),
    K::key<&C::request>("request",
                        "Sent every interval to a device that must be asked; \\r \\n \\xHH are such bytes")
        .like("'S\\r\\n'"),
    K::key<&C::requests>("requests", "More of them: all in turn, each once in an interval")
        .like("['\\x10\\x40\\x01\\x41\\x16', '\\x10\\x7B\\x01\\x7C\\x16']"),
    K::key<&C::request_interval>("request_interval", "").within(10ms, 24h),
    K::key<&C::request_timeout>("request_timeout",
                                "All frames that come until then are the answer; later ones are not taken")
        .within(1ms, 10min),
    K::key<&C::telegrams_max>(
        "telegrams_max",
        "Of framing = \"mbus\": a meter whose answer needs more than one telegram is asked for so many")
        .within(1, 64),
    K::key<&C::sign_on>(
        "sign_on",
        "A meter of IEC 62056-21 is asked in mode C: request '/?!\\r\\n' at 300 baud 7E1, then at the "
        "speed it offers; with framing = \"telegram\""),
    K::key<&C::request_echo>("request_echo",
                             "The adapter hears what it sends (two-wire RS-485): it is skipped"),
    K::key<&C::reopen_min>("reopen_min", "Between tries to open it: from here ...").within(100ms, 1h),
    K::key<&C::reopen_max>("reopen_max", "... to here, with chance").within(100ms, 24h),
    K::tables<&C::only_route>("route", route_shape, "One route, as it was written once").formerly(),
    K::tables<&C::routes>(
        "routes", serial_route_shape,
        "How a frame is read: the first that matches. Without `device` the device is called as the input")
        .said_first(),
};

void settle_routes(Section& section, SerialInputConfig& c) {
  if (!c.only_route.empty() && !c.routes.empty())
    section.error(
        "route",
        "a route stands in [[inputs.serial.routes]]; [inputs.serial.route] is how the only one was written");
  for (RouteConfig& route : c.only_route) c.routes.push_back(std::move(route));
  c.only_route.clear();
  if (c.routes.empty())
    section.error("a serial input needs [[inputs.serial.routes]] that say how a frame is read");
  for (RouteConfig& route : c.routes) {
    const bool named = route.topic.find("{device}") != std::string::npos;
    if (route.device == "{device}" && !named) route.device = c.name;
  }
}

// What the standard says (IEC 62056-21, 5 and 6.3), where the file says nothing else.
void settle_sign_on(Section& section, SerialInputConfig& c) {
  if (!c.sign_on) return;
  if (c.framing.kind && c.framing.kind->name != "telegram")
    section.error("sign_on", "\"sign_on\" needs framing = \"telegram\"");
  if (!section.has("baud")) c.baud = 300;
  if (!section.has("parity")) c.parity = "even";
  if (!section.has("data_bits")) c.data_bits = 7;
  if (!section.has("request") && !section.has("requests")) c.requests = {"/?!\r\n"};
  if (!section.has("request_interval")) c.request_interval = 1min;
  if (!section.has("request_timeout"))
    c.request_timeout =
        c.request_interval / static_cast<std::int64_t>(2 * std::max<std::size_t>(c.requests.size(), 1));
}

void settle_requests(Section& section, SerialInputConfig& c) {
  if (section.has("request")) c.requests.insert(c.requests.begin(), c.request);
  c.request.clear();
  const char* name = section.has("request") ? "request" : "requests";
  for (std::string& one : c.requests) {
    auto request = unescaped(one);
    if (!request.ok()) section.error(name, text("\"", name, "\": ", request.status().detail()));
    else one = std::move(request).value();
    if (one.empty() || one.size() > 1024) section.error(name, "a request has 1 to 1024 bytes");
    if (c.sign_on && !(one.starts_with('/') && one.ends_with("!\r\n")))  // IEC 62056-21, 6.3.1
      section.error(name, text("no meter answers \"", shown(one),
                               "\": a request of \"sign_on\" is '/?!\\r\\n', or '/?ADDRESS!\\r\\n'"));
    if (const auto sum = c.speaks_mbus() ? mbus_sum_missed(one) : std::nullopt)
      section.error(name,
                    text("no meter answers a request whose sum is wrong: the last byte but one of \"",
                         to_hex(bytes_of(one)), "\" must be ", to_hex(std::as_bytes(std::span(&*sum, 1)))));
  }
  if (c.requests.size() > 256) section.error(name, "more than 256 requests");
  for (const char* key : {"request_interval", "request_timeout", "request_echo"}) {
    if (section.has(key) && c.requests.empty()) section.error(key, text("\"", key, "\" is of a \"request\""));
  }
  if (!c.requests.empty() && c.framing.kind) {
    const auto framer = make_framer(c.framing, c.frame_max);
    if (framer->ends_by_pause() && c.request_timeout <= framer->pause())
      section.error("request_timeout", text("a frame ends by a pause of ", format_duration(framer->pause()),
                                            ": no answer is whole within a \"request_timeout\" of ",
                                            format_duration(c.request_timeout)));
  }
  if (!c.requests.empty() &&
      c.request_timeout * static_cast<std::int64_t>(c.requests.size()) > c.request_interval)
    section.error("request_timeout",
                  "so long a \"request_timeout\" for each request is more than the \"request_interval\"");
}

void settle_server(Section& section, SerialInputConfig& c) {
  if (c.server.empty()) {
    if (c.device.empty()) section.error("a serial input needs a \"device\", or the \"server\" that has it");
    return;
  }
  if (!c.device.empty()) section.error("server", "either a \"device\" or the \"server\" that has it");
  if (const auto where = parse_host_port(c.server); !where.ok())
    section.error("server", where.status().detail());
  for (const char* key : {"baud", "parity", "data_bits", "stop_bits", "flow_control", "rs485", "rs485_before",
                          "rs485_after", "sign_on"}) {
    if (section.has(key)) section.error(key, text("\"", key, "\" is the serial server's to know"));
  }
  // A network brings bytes together, and holds them back.
  if (!c.framing.kind) return;
  const auto framer = make_framer(c.framing, c.frame_max);
  if (framer->begins_by_pause())
    section.error("framing", text("pauses of the line do not outlive a network: framing = \"",
                                  c.framing.kind->name, "\" cannot tell frames apart there"));
  else if (section.has("frame_pause") && framer->pause() > Duration::zero())
    section.error("frame_pause", "\"frame_pause\" is of a \"device\": no pause outlives a network");
}

void settle(Section& section, SerialInputConfig& c) {
  settle_server(section, c);
  if (c.reopen_max < c.reopen_min) section.error("reopen_max", "\"reopen_max\" is less than \"reopen_min\"");
  if (c.rs485 != "no" && c.flow_control)
    section.error("flow_control", "RTS is either the direction's or the flow's");
  for (const auto& [key, delay] :
       {std::pair{"rs485_before", c.rs485_before}, std::pair{"rs485_after", c.rs485_after}}) {
    if (c.rs485 == "no" && delay > Duration::zero())
      section.error(key, text("\"", key, "\" is of rs485 = \"rts_high\" or \"rts_low\""));
  }
  if (section.has("line_max") && section.has("frame_max"))
    section.error("line_max", "\"line_max\" is how \"frame_max\" was called once: one of the two");
  settle_routes(section, c);
  if (c.acknowledge && c.framing.kind && c.framing.kind->name != "cobs")
    section.error("acknowledge",
                  "\"acknowledge\" needs framing = \"cobs\": an acknowledgement is such a frame, too");
  else if (c.acknowledge && c.framing.kind && !make_framer(c.framing, c.frame_max)->checks())
    section.error("crc",
                  "\"acknowledge\" needs a \"crc\": a number that the line has changed would acknowledge "
                  "frames that never came");
  const auto of_device = [](const RouteConfig& route) { return route.format == "device"; };
  if (c.acknowledge && !std::ranges::all_of(c.routes, of_device))
    section.error("acknowledge",
                  "\"acknowledge\" needs format = \"device\" of each route: only such frames have the number "
                  "that is acknowledged");
  settle_sign_on(section, c);
  settle_requests(section, c);
  if (c.acknowledge && !c.requests.empty())
    section.error("request", "a device that is acknowledged speaks by itself");
}
constexpr Shape shape = shape_of<C, settle>(keys);

InputPlan plan_of(const SerialInputConfig& c) {
  InputPlan plan;
  plan.claims = {(c.server.empty() ? "tty " : "serial server ") + c.place()};
  if (const std::string port = real_path(c.device); c.server.empty() && port != c.device)
    plan.claims.push_back("tty " + port);
  if (c.acknowledge) plan.claims.push_back(Acknowledger::claim(c.name));
  plan.routes = c.routes;
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<SerialDriver>(parts.loop, parts.rng, parts.inbox, parts.intake, parts.trust,
                                          parts.metrics, c);
  };
  plan.make_framer = [c] { return make_framer(c.framing, c.frame_max); };
  return plan;
}

// Two meters whose readings nothing tells apart are one device, now with the values of the one, now of the
// other.
void check_meters(const SerialInputConfig& c, LoadedConfig& loaded) {
  std::multiset<std::uint8_t> meters;
  for (const std::string& request : c.requests) {
    const auto meter = c.speaks_mbus() ? mbus_meter_asked(request) : std::nullopt;
    if (meter && (*meter == mbus_selected || !meters.contains(*meter))) meters.insert(*meter);
  }
  const auto takes_all = std::ranges::find(c.routes, std::string(), &RouteConfig::topic);
  if (meters.size() < 2 || takes_all == c.routes.end()) return;
  loaded.warnings.push_back(text("input \"", c.name, "\": ", meters.size(),
                                 " meters are asked, and a route without a \"topic\" makes one device, \"",
                                 takes_all->device,
                                 "\", of all of them: topic = \"{address}\" and device = \"",
                                 takes_all->device, "-{address}\" keep them apart"));
}

// Levels that are empty match, but make no device.
bool takes_no_topic(const RouteConfig& route) {
  const auto pattern = TopicPattern::parse(route.topic);
  TopicMatch match;
  return pattern.ok() && pattern.value().matches("", match) &&
         Template::parse(route.device, TopicPattern()).ok();
}

// Where frames have no topic, and no request gives them one (SerialDriver::keep), only a route for all of
// them is ever reached.
void check_topics(const SerialInputConfig& c, LoadedConfig& loaded) {
  if (!c.framing.kind || c.requests.size() > 1 || make_framer(c.framing, c.frame_max)->knows_topics()) return;
  for (const RouteConfig& route : c.routes) {
    if (route.topic.empty() || takes_no_topic(route)) continue;
    const std::string_view why = c.framing.kind->name == "lines" ? " without \"topic_until\"" : "";
    loaded.errors.push_back({route.line, 1,
                             text("input \"", c.name, "\": nothing comes to the route of topic \"",
                                  route.topic, "\": frames of framing = \"", c.framing.kind->name, "\"", why,
                                  " have no topic, but for the answers to more than one of \"requests\"")});
  }
}

// Of frames that have their length from elsewhere.
void check_frame_max(const SerialInputConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  if (!c.framing.kind || c.frame_max == C{}.frame_max || !make_framer(c.framing, c.frame_max)->knows_length())
    return;
  const char* key = part.places.contains("frame_max") ? "frame_max" : "line_max";
  loaded.warnings.push_back(about_key(loaded, "input", c.name, key,
                                      text("it does nothing: framing = \"", c.framing.kind->name,
                                           "\" says itself how long a frame is, and such frames are taken")));
}

void check(const SerialInputConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  check_meters(c, loaded);
  check_frame_max(c, part, loaded);
  check_topics(c, loaded);
  for (std::size_t i = 0; i + 1 < c.routes.size(); ++i) {
    if (!c.routes[i].topic.empty()) continue;
    loaded.errors.push_back({c.routes[i + 1].line, 1,
                             text("input \"", c.name,
                                  "\": nothing comes here: a route above has no "
                                  "\"topic\" and takes every frame")});
    return;
  }
}

// What streams are remembered.
StateWish state(const SerialInputConfig& c) {
  const std::uint64_t bytes = c.acknowledge ? DeviceLink::streams_max * 128 : 0;
  return {bytes, text("acknowledge = true is up to ", bytes, " bytes of state"), false};
}

std::unique_ptr<Keeper> keeper(const SouthParts& parts, Duration keep_max) {
  return std::make_unique<LeftStreams>(parts.intake, parts.passed_us, keep_max);
}

void try_online(const SerialInputConfig& c, bool beside, std::vector<Trial>& trials) {
  const std::string what = text("input ", c.name, ": ", c.place());
  if (beside) {
    trials.push_back({Trial::State::unsure, what, "not tried: the running daemon holds it"});
  } else if (auto port = open_place(c); port.ok()) {
    trials.push_back(
        {Trial::State::good, what, c.server.empty() ? "opens, and takes the speed" : "connects"});
    for (const std::string& request : c.requests) trials.push_back(ask_once(c, port.value(), request));
  } else {
    trials.push_back({Trial::State::bad, what, port.status().detail()});
  }
}

constexpr InputKind make_kind() {
  InputKind kind =
      kind_of<InputKind, C>("serial", "A serial port: bytes become frames, frames become payloads", shape);
  kind.descriptors = 2;
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.state = typed<state>;
  kind.try_online = typed<try_online>;
  kind.keeper = keeper;
  return kind;
}

}  // namespace

extern const InputKind serial_input_kind;
const InputKind serial_input_kind = make_kind();

}  // namespace millrace
