#include "config/load.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/files.h"
#include "base/host_port.h"
#include "base/text.h"
#include "base/topic_filter.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
constexpr Duration day = 24h;
constexpr std::size_t runtime_dir_max = 107 - sizeof "control.sock";  // of sun_path (unix(7))

bool good_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name.front() != '@' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

// Every input, route, window and uplink has a name; state hangs on it.
void read_name(Section& section, std::string_view kind, std::string& name, std::set<std::string>& taken) {
  section.text("name", name, true);
  if (name.empty()) return;
  section.call(text("[[", kind, "]] \"", name, "\""));
  if (!good_name(name)) section.error("name", "a name has 1 to 64 letters, digits, - _ and .");
  if (!taken.insert(name).second) section.error("name", text("the name \"", name, "\" is taken already; names are unique"));
}

void read_gateway(Section root, GatewayConfig& out) {
  if (auto section = root.table("gateway")) {
    section->text("name", out.name);
    section->text("runtime_dir", out.runtime_dir);
    section->choice("log_level", out.log_level, {"debug", "info", "warn", "error"});
    section->choice("clock", out.clock, {"kernel", "rtc", "trust"});
    section->size("inbox_size", 64 << 10, 1 << 30, out.inbox_size);
    if (!out.name.empty() && !good_name(out.name)) section->error("name", "a name has 1 to 64 letters, digits, - _ and .");
    if (out.runtime_dir.size() > runtime_dir_max) section->error("runtime_dir", text("\"runtime_dir\" has more than ", runtime_dir_max, " bytes: no socket fits into it"));
    if (out.runtime_dir.empty() || out.runtime_dir.front() != '/') section->error("runtime_dir", "\"runtime_dir\" must be an absolute path");
    section->finish();
  }
  if (out.name.empty()) {
    char host[65] = {};
    if (::gethostname(host, sizeof host - 1) == 0) out.name = host;
    for (char& c : out.name) c = std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ? c : '-';
    if (out.name.empty()) out.name = "millrace";
  }
}

void read_log(Section root, LoadedConfig& loaded) {
  LogConfig& out = loaded.config.log;
  auto section = root.table("log");
  if (!section) return;
  section->text("path", out.path);
  section->size("max_size", 1 << 20, std::uint64_t{1} << 44, out.max_size);
  loaded.log_path_line = section->line("path");
  loaded.log_size_line = section->line("max_size");
  std::string when_full = "evict";
  section->choice("when_full", when_full, {"evict", "block"});
  out.block_when_full = when_full == "block";
  section->duration("commit_interval", 5ms, 60s, out.commit_interval);
  std::string commit = "interval";
  section->choice("commit", commit, {"interval", "when-unsent"});
  out.commit_when_unsent = commit == "when-unsent";
  section->duration("unsent_max", 1s, 10min, out.unsent_max);
  section->duration("forget_after", 1h, 3650 * day, out.forget_after);
  if (out.path.empty() || out.path.front() != '/') section->error("path", "\"path\" must be an absolute path");
  section->finish();
}

void read_tls(Section& section, TlsConfig& out, bool by_url) {
  section.text("tls_ca", out.ca);
  section.text("tls_cert", out.cert);
  section.secret("tls_key_file", out.key);
  out.enabled = by_url;
  if (!by_url && (!out.ca.empty() || !out.cert.empty() || out.key.given())) {
    section.error(section.has("tls_ca") ? "tls_ca" : "tls_cert", "TLS keys are given, but TLS is off: write mqtts:// (of Kafka: tls = true)");
  }
  if (out.cert.empty() != !out.key.given()) section.error("tls_cert", "tls_cert and tls_key_file go together");
}

// mqtt://host[:port] or mqtts://host[:port]; all of one kind. Returns whether they are mqtts.
bool read_servers(Section& section, std::vector<std::string>& servers) {
  section.texts("servers", servers, true);
  std::size_t secure = 0;
  for (const std::string& server : servers) {
    std::string_view rest = server;
    if (rest.starts_with("mqtts://")) {
      ++secure;
      rest.remove_prefix(8);
    } else if (rest.starts_with("mqtt://")) {
      rest.remove_prefix(7);
    } else {
      section.error("servers", text("\"", server, "\" must start with mqtt:// or mqtts://"));
      continue;
    }
    if (!parse_host_port(rest, 1883).ok() || rest.find('/') != std::string_view::npos || rest.find('@') != std::string_view::npos) {
      section.error("servers", text("\"", server, "\" is not mqtt://HOST:PORT (user and password have keys of their own)"));
    }
  }
  if (secure != 0 && secure != servers.size()) section.error("servers", "some servers use TLS and some do not; give them inputs or uplinks of their own");
  return secure != 0;
}

void read_version(Section& section, int& version) {
  std::string text = version == 5 ? "5" : "3.1.1";
  section.choice("version", text, {"5", "3.1.1"});
  version = text == "5" ? 5 : 4;
}

void read_login(Section& section, std::string& username, SecretRef& password) {
  section.text("username", username);
  section.secret("password_file", password);
  if (password.given()) {
    if (username.empty()) section.error("password_file", "a password needs a username");
  }
}

void read_route(Section& section, RouteConfig& out, bool with_topic, bool publisher_known = false) {
  out.line = section.line();
  out.publisher_known = publisher_known;
  if (publisher_known) section.text("content_type", out.content_type);
  if (with_topic) {
    section.text("topic", out.topic, true);
    if (!out.topic.empty()) section.call(text("route \"", out.topic, "\""));
  }
  section.choice("format", out.format, {"json", "plain"});
  section.text("device", out.device);
  section.texts("tags", out.tags);
  if (auto fixed = section.table("fixed_tags")) {
    fixed->call("[fixed_tags]");
    for (const std::string& name : fixed->keys()) {
      if (std::find(out.tags.begin(), out.tags.end(), name) != out.tags.end()) fixed->error(name, text("\"", name, "\" is in tags, too"));
      fixed->text(name, out.fixed_tags.emplace_back(name, "").second);
    }
    fixed->finish();
  }
  section.text("each", out.each);
  section.text("time", out.time);
  section.choice("time_format", out.time_format, {"auto", "iso8601", "s", "ms", "us", "ns"});
  section.text("quality", out.quality);
  if (out.format == "plain") {
    for (const char* key : {"each", "time", "quality"}) {
      if (section.has(key)) section.error(key, text("\"", key, "\" is for format = \"json\""));
    }
  }
  if (auto metrics = section.table("metrics")) {
    metrics->call("[metrics]");
    for (const std::string& name : metrics->keys()) {
      MetricConfig metric;
      metric.name = name;
      if (metrics->is_text(name)) {
        metrics->text(name, metric.path, out.format == "json");
      } else if (auto spec = metrics->table(name)) {
        spec->call(text("metric \"", name, "\""));
        spec->text("path", metric.path, out.format == "json");
        spec->text("unit", metric.unit);
        std::string type = "number";
        spec->choice("type", type, {"number", "integer"});
        metric.integer = type == "integer";
        spec->finish();
      }
      out.metrics.push_back(std::move(metric));
    }
    metrics->finish();
  }
  if (out.format == "plain" && out.metrics.size() != 1) section.error("a plain payload is one value: give [metrics] one name");
  section.finish();
}

void read_mqtt_input(Section& section, MqttInputConfig& out, std::set<std::string>& names) {
  read_name(section, "inputs.mqtt", out.name, names);
  const bool secure = read_servers(section, out.servers);
  section.texts("topics", out.topics);
  for (const std::string& filter : out.topics) {
    if (Status status = check_subscription(filter); !status.ok()) section.error("topics", status.detail());
  }
  read_version(section, out.version);
  std::int64_t qos = out.qos;
  section.integer("qos", 0, 2, qos);
  out.qos = static_cast<int>(qos);
  section.text("client_id", out.client_id);
  section.flag("persistent_session", out.persistent_session);
  section.duration("session_expiry", 1min, 365 * day, out.session_expiry);
  section.duration("keep_alive", 1s, 18h, out.keep_alive);
  section.duration("connect_timeout", 1s, 5min, out.connect_timeout);
  section.duration("reconnect_min", 100ms, 1h, out.reconnect_min);
  section.duration("reconnect_max", 1s, 24h, out.reconnect_max);
  if (out.reconnect_max < out.reconnect_min) section.error("reconnect_max", "\"reconnect_max\" is less than \"reconnect_min\"");
  read_login(section, out.username, out.password);
  read_tls(section, out.tls, secure);
  std::string durability = "crash";
  section.choice("durability", durability, {"crash", "power"});
  out.power_durable = durability == "power";
  section.choice("retained", out.retained, {"changed", "ignore", "all"});
  for (Section& route : section.tables("routes")) read_route(route, out.routes.emplace_back(), true);
  if (out.routes.empty()) section.error("an input needs at least one [[inputs.mqtt.routes]]");
  section.finish();
}

bool numeric_address(std::string address) {
  const bool bracketed = address.size() > 2 && address.front() == '[' && address.back() == ']';
  if (bracketed) address = address.substr(1, address.size() - 2);
  if (bracketed) address = address.substr(0, address.find('%'));  // of a link-local address, its interface
  unsigned char ignored[16];
  return ::inet_pton(bracketed ? AF_INET6 : AF_INET, address.c_str(), ignored) == 1;
}

// "127.0.0.1:1883", "[::1]:8883": numeric, as it is bound.
void read_listen(Section& section, std::string& out, bool may_be_none = false) {
  section.text("listen", out);
  if (may_be_none && out.empty()) return;
  const std::size_t colon = out.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    const char* end = out.data() + out.size();
    if (const auto parsed = std::from_chars(out.data() + colon + 1, end, port); parsed.ptr != end || parsed.ec != std::errc{}) port = -1;
  }
  if (port < 0 || port > 65535 || !numeric_address(out.substr(0, colon))) {
    section.error("listen", text("\"", out, "\" is not ADDRESS:PORT, like \"127.0.0.1:1883\" or \"[::]:8883\""));
  }
}

// The names of the publisher that an access list may speak of stand in for one character each while it is judged.
std::string without_names(std::string pattern, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    for (std::size_t at = 0; (at = pattern.find(name, at)) != std::string::npos;) pattern.replace(at, name.size(), "x");
  }
  return pattern;
}

void read_acl(Section& section, AclConfig& out, const EndpointConfig& input) {
  for (const auto& [key, patterns] : {std::pair{"users", &out.users}, std::pair{"clients", &out.clients}, std::pair{"subjects", &out.subjects}}) {
    section.texts(key, *patterns);
    for (const std::string& pattern : *patterns) {
      if (pattern.empty()) section.error(key, "an empty pattern fits nobody; leave the list away where anybody is meant");
    }
  }
  section.texts("publish", out.publish, true);
  for (const std::string& filter : out.publish) {
    const std::string bare = without_names(filter, {"{username}", "{client_id}", "{subject}"});
    if (Status status = check_topic_filter(bare); !status.ok()) section.error("publish", text(bare == filter ? "" : text("\"", filter, "\": "), status.detail()));
    else if (bare.find_first_of("{}") != std::string::npos) section.error("publish", text("\"", filter, "\": known are {username}, {client_id} and {subject}"));
  }
  if (!out.users.empty() && input.users_file.empty()) section.error("users", "there are no users without users_file");
  if (!out.subjects.empty() && input.client_certificates == "none") section.error("subjects", "there are no subjects without client_certificates");
  section.finish();
}

constexpr std::size_t sessions_max_open = SIZE_MAX, sessions_max_default = 10'000;

void read_endpoint(Section& section, EndpointConfig& out, std::set<std::string>& names) {
  read_name(section, "inputs.mqtt_endpoint", out.name, names);
  read_listen(section, out.listen);
  section.flag("anonymous", out.anonymous);
  section.text("users_file", out.users_file);
  section.text("tls_cert", out.tls.cert);
  section.secret("tls_key_file", out.tls.key);
  section.text("tls_ca", out.tls.ca);
  section.choice("client_certificates", out.client_certificates, {"none", "optional", "required"});
  out.tls.enabled = !out.tls.cert.empty();
  if (out.tls.cert.empty() != !out.tls.key.given()) section.error("tls_cert", "tls_cert and tls_key_file go together");
  if (out.client_certificates != "none" && (!out.tls.enabled || out.tls.ca.empty())) {
    section.error("client_certificates", "client certificates need tls_cert, tls_key_file, and in tls_ca whom they come from");
  }
  if (!out.anonymous && out.users_file.empty() && out.client_certificates != "required") {
    section.error("nobody can connect: give users_file (made by `millrace passwd`), or client_certificates = \"required\", or say anonymous = true");
  }
  section.duration("ack_interval", 1ms, 10s, out.ack_interval);
  const auto number = [&](const char* key, std::int64_t min, std::int64_t max, auto& value) {
    std::int64_t read = static_cast<std::int64_t>(value);
    section.integer(key, min, max, read);
    value = static_cast<std::remove_reference_t<decltype(value)>>(read);
  };
  number("receive_maximum", 1, 10'000, out.receive_maximum);
  number("connections_max", 1, 100'000, out.connections_max);
  out.sessions_max = sessions_max_open;
  if (section.has("sessions_max")) number("sessions_max", 0, 1'000'000, out.sessions_max);
  number("connect_rate", 1, 100'000, out.connect_rate);
  section.size("packet_max", 128, 1 << 20, out.packet_max);
  section.duration("connect_timeout", 1s, 5min, out.connect_timeout);
  section.duration("keep_alive_max", 1s, 18h, out.keep_alive_max);
  section.duration("session_expiry_max", 0s, 365 * day, out.session_expiry_max);
  std::string when_full = "pause";
  section.choice("when_full", when_full, {"pause", "refuse"});
  out.refuse_when_full = when_full == "refuse";
  section.flag("liveness", out.liveness);
  for (Section& acl : section.tables("acl")) read_acl(acl, out.acl.emplace_back(), out);
  for (Section& route : section.tables("routes")) read_route(route, out.routes.emplace_back(), true, true);
  if (out.routes.empty()) section.error("an input needs at least one [[inputs.mqtt_endpoint.routes]]");
  section.finish();
}

void read_serial_input(Section& section, SerialInputConfig& out, std::set<std::string>& names) {
  read_name(section, "inputs.serial", out.name, names);
  section.text("device", out.device, true);
  std::int64_t number = out.baud;
  section.integer("baud", 300, 4'000'000, number);
  out.baud = static_cast<int>(number);
  section.choice("parity", out.parity, {"none", "even", "odd"});
  number = out.data_bits;
  section.integer("data_bits", 7, 8, number);
  out.data_bits = static_cast<int>(number);
  number = out.stop_bits;
  section.integer("stop_bits", 1, 2, number);
  out.stop_bits = static_cast<int>(number);
  std::uint64_t line = out.line_bytes_max;
  section.size("line_max", 16, 64 << 10, line);
  out.line_bytes_max = line;
  section.duration("reopen_min", 100ms, 1h, out.reopen_min);
  section.duration("reopen_max", 100ms, 24h, out.reopen_max);
  if (out.reopen_max < out.reopen_min) section.error("reopen_max", "\"reopen_max\" is less than \"reopen_min\"");
  if (auto route = section.table("route")) {
    out.route.device = out.name;
    read_route(*route, out.route, false);
  } else {
    section.error("a serial input needs a [inputs.serial.route] that says how a line is read");
  }
  section.finish();
}

void read_window(Section& section, WindowConfig& out, std::set<std::string>& names) {
  read_name(section, "windows", out.name, names);
  section.duration("size", 1s, 366 * day, out.size);
  section.duration("allowed_lateness", 0s, 366 * day, out.allowed_lateness);
  section.duration("idle_close", 1s, 366 * day, out.idle_close);
  section.duration("future_max", 0s, 366 * day, out.future_max);
  section.texts("metrics", out.metrics);
  std::int64_t keys = static_cast<std::int64_t>(out.keys_max);
  section.integer("keys_max", 1, 10'000'000, keys);
  out.keys_max = static_cast<std::size_t>(keys);
  out.state_max = 0;
  section.size("state_max", 64 << 10, 1 << 30, out.state_max);
  section.finish();
}

// A session in the log: 1,024 identifiers held and as many digests remembered, and the names.
constexpr std::uint64_t session_state_bytes = 4608;
using StateLines = std::map<std::string, int>;  // where the windows and endpoints of a name stand

void warn_of_lateness(const Config& config, std::vector<std::string>& warnings) {
  for (const WindowConfig& window : config.windows) {
    if (window.allowed_lateness / window.size >= static_cast<std::int64_t>(window_panes_max)) {
      warnings.push_back(text("window \"", window.name, "\": allowed_lateness holds more than ", window_panes_max,
                              " windows; of each device and metric no more than the newest ", window_panes_max, " are kept for late readings"));
    }
  }
}

// Windows and sessions are kept in the log's state, which may take a quarter of it. What the configuration leaves open is made
// to fit: windows take an eighth of the log at most, sessions what is left. What it says and does not fit is an error.
void bound_state(Config& config, const StateLines& lines, LoadedConfig& loaded) {
  const std::uint64_t space = config.log.max_size / log_state_share;
  const auto too_much = [&](int line, const std::string& what) {
    loaded.errors.push_back({line, 1, text(what, " does not fit the log: all state may take a quarter of log.max_size, ", format_size(static_cast<double>(space)))});
  };
  std::uint64_t windows = 0;
  for (WindowConfig& window : config.windows) {
    if (window.state_max == 0) {
      window.state_max = std::clamp<std::uint64_t>(config.log.max_size / 8 / config.windows.size(), 64 << 10, 8 << 20);
    }
    windows += window.state_max;
    if (windows > space) {
      too_much(lines.at(window.name), text("window \"", window.name, "\": with this one the windows may have ", format_size(static_cast<double>(windows)),
                                           " of state (state_max), which"));
      windows = space;
    }
  }
  std::uint64_t left = space - windows;
  std::size_t open = 0;
  for (const EndpointConfig& endpoint : config.endpoints) {
    if (endpoint.sessions_max == sessions_max_open) {
      ++open;
      continue;
    }
    const std::uint64_t bytes = endpoint.sessions_max * session_state_bytes;
    if (bytes > left) {
      too_much(lines.at(endpoint.name), text("input \"", endpoint.name, "\": sessions_max = ", endpoint.sessions_max, " is up to ",
                                             format_size(static_cast<double>(bytes)), " of sessions beside what windows and others take, which"));
    }
    left -= std::min(left, bytes);
  }
  for (EndpointConfig& endpoint : config.endpoints) {
    if (endpoint.sessions_max == sessions_max_open) endpoint.sessions_max = std::clamp<std::uint64_t>(left / open / session_state_bytes, 1, sessions_max_default);
  }
  warn_of_lateness(config, loaded.warnings);
}

// "64KiB/s" or "500 records/s".
bool read_rate(const std::string& words, DrainConfig& out) {
  if (!words.ends_with("/s")) return false;
  std::string_view rest = trim(std::string_view(words).substr(0, words.size() - 2));
  double& to = rest.ends_with("records") ? out.rate_records : out.rate_bytes;
  if (rest.ends_with("records")) rest = trim(rest.substr(0, rest.size() - 7));
  const auto value = parse_size(rest);
  if (!value || *value == 0) return false;
  to = static_cast<double>(*value);
  return true;
}

void read_drain(Section& section, DrainConfig& out, const std::string& title) {
  section.call(title);
  section.texts("lanes", out.lanes);
  for (const std::string& lane : out.lanes) {
    if (lane != "alarm" && lane != "window" && lane != "raw") section.error("lanes", text("\"", lane, "\" is no lane; there are \"alarm\", \"window\", \"raw\""));
  }
  if (out.lanes.empty()) section.error("lanes", "\"lanes\" is empty: this uplink would send nothing");
  std::string order = "oldest", rate;
  section.choice("order", order, {"oldest", "newest"});
  out.newest_first = order == "newest";
  if (auto priority = section.table("priority")) {
    priority->call(title + " priority");
    for (auto& [lane, value] : out.priority) priority->integer(lane, 0, 9, value);
    priority->finish();
  }
  section.text("rate", rate);
  if (!rate.empty() && !read_rate(rate, out)) section.error("rate", "\"rate\" is like \"64KiB/s\" or \"500 records/s\"");
  section.duration("max_age", 1min, 3650 * day, out.max_age);
  section.duration("replay_after", 1s, 365 * day, out.replay_after);
  section.finish();
}

void read_bytes(Section& section, std::string_view key, std::uint64_t least, std::uint64_t most, std::size_t& out) {
  std::uint64_t value = out;
  section.size(key, least, most, value);
  out = value;
}

// What every uplink has, whatever it speaks.
template <typename UplinkConfig>
void read_shipping(Section& section, UplinkConfig& out, Duration send_timeout_max) {
  if (auto drain = section.table("drain")) read_drain(*drain, out.drain, text("uplink \"", out.name, "\" [drain]"));
  std::string start = "now";
  section.choice("start", start, {"now", "oldest"});
  out.start_oldest = start == "oldest";
  section.duration("connect_timeout", 1s, 5min, out.connect_timeout);
  section.duration("send_timeout", 1s, send_timeout_max, out.send_timeout);
  section.duration("initial_interval", 50ms, 1h, out.initial_interval);
  section.duration("max_interval", 1s, 24h, out.max_interval);
  if (out.max_interval < out.initial_interval) section.error("max_interval", "\"max_interval\" is less than \"initial_interval\"");
  std::int64_t window = static_cast<std::int64_t>(out.window);
  section.integer("window", 1, 64, window);
  out.window = static_cast<std::size_t>(window);
  read_bytes(section, "batch_size", 4 << 10, 2 << 20, out.batch_size);
}

void read_mqtt_uplink(Section& section, MqttUplinkConfig& out, std::set<std::string>& names) {
  read_name(section, "uplinks.mqtt", out.name, names);
  const bool secure = read_servers(section, out.servers);
  read_version(section, out.version);
  section.text("client_id", out.client_id);
  section.text("topic", out.topic, false);
  if (out.topic.find_first_of("+#") != std::string::npos) section.error("topic", "a topic to publish to has no + and no #");
  section.duration("keep_alive", 1s, 18h, out.keep_alive);
  section.duration("prefer_first_after", 10s, 30 * day, out.prefer_first_after);
  read_shipping(section, out, 10min);
  read_login(section, out.username, out.password);
  read_tls(section, out.tls, secure);
  section.finish();
}

void read_kafka_uplink(Section& section, KafkaUplinkConfig& out, std::set<std::string>& names) {
  read_name(section, "uplinks.kafka", out.name, names);
  out.connect_timeout = 30s;  // several exchanges of some hundred bytes: 10 s are too few at 2,400 bit/s
  section.texts("servers", out.servers, true);
  for (const std::string& server : out.servers) {
    if (!parse_host_port(server, 9092).ok() || server.find('/') != std::string::npos) section.error("servers", text("\"", server, "\" is not HOST:PORT"));
  }
  section.text("client_id", out.client_id);
  section.choice("format", out.format, {"record", "json", "batch"});
  section.text("topic", out.topic);
  out.key = out.format == "batch" ? "{gateway}" : "{device}";
  section.text("key", out.key);
  section.choice("compression", out.compression, {"none", "lz4", "zstd", "gzip", "snappy"});
  section.duration("linger", 0s, 10s, out.linger);
  section.flag("exactly_once", out.exactly_once);
  section.text("transactional_id", out.transactional_id);
  section.text("marker_topic", out.marker_topic);
  section.duration("transaction_timeout", 5s, 15min, out.transaction_timeout);
  for (const char* key : {"transactional_id", "marker_topic", "transaction_timeout"}) {
    if (section.has(key) && !out.exactly_once) section.error(key, text("\"", key, "\" is of exactly_once = true"));
  }
  read_shipping(section, out, 1h);
  if (section.has("window") && out.exactly_once && out.window != 1) section.error("window", "with exactly_once one transaction is in flight: \"window\" is 1");
  read_bytes(section, "message_max", 1000, 64 << 20, out.message_max);
  read_bytes(section, "queue_size", 1 << 20, 1 << 30, out.queue_size);
  section.choice("sasl_mechanism", out.sasl_mechanism, {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"});
  section.text("username", out.username);
  section.secret("password_file", out.password);
  section.secret("token_file", out.token);
  if (out.sasl_mechanism == "OAUTHBEARER") {
    if (!out.token.given()) section.error("sasl_mechanism", "OAUTHBEARER needs a token_file");
  } else {
    if (out.token.given()) section.error("token_file", "a token is of sasl_mechanism = \"OAUTHBEARER\"");
    if (!out.sasl_mechanism.empty() && (out.username.empty() || !out.password.given())) section.error("sasl_mechanism", "SASL needs username and password_file");
    if (out.sasl_mechanism.empty() && (!out.username.empty() || out.password.given())) section.error("username", "a login needs a sasl_mechanism");
  }
  bool tls = section.has("tls_ca") || section.has("tls_cert");
  section.flag("tls", tls);
  read_tls(section, out.tls, tls);
  section.text("schema_registry", out.schema_registry);
  section.text("schema_registry_username", out.schema_registry_username);
  section.secret("schema_registry_password_file", out.schema_registry_password);
  section.text("schema_registry_ca", out.schema_registry_tls.ca);
  for (const char* key : {"schema_registry_username", "schema_registry_password_file", "schema_registry_ca"}) {
    if (section.has(key) && out.schema_registry.empty()) section.error(key, text("\"", key, "\" without a schema_registry"));
  }
  if (out.schema_registry_username.empty() != !out.schema_registry_password.given()) {
    section.error("schema_registry_username", "schema_registry_username and schema_registry_password_file go together");
  }
  section.finish();
}

}  // namespace

LoadedConfig load_config(const std::string& content, const std::string& name) {
  LoadedConfig loaded;
  loaded.path = name;
  const auto file = TomlFile::parse(content, name, loaded.errors);
  if (!file) return loaded;
  Config& config = loaded.config;
  Section root = file->root();
  read_gateway(root, config.gateway);
  read_log(root, loaded);
  std::set<std::string> inputs, windows, uplinks;
  StateLines lines;
  std::optional<Section> section;
  const auto tables = [&](const char* side, const char* kind) {
    std::vector<Section> found = section->tables(kind);
    for (const Section& table : found) loaded.kinds.emplace_back(text(side, ".", kind), table.line());
    return found;
  };
  const auto note_places = [&loaded](const char* side, const std::string& name, const Section& section) {
    loaded.places[text(side, " ", name, " ")] = section.place("");
    for (const std::string& key : section.keys()) loaded.places[text(side, " ", name, " ", key)] = section.place(key);
  };
  if ((section = root.table("inputs"))) {
    for (Section& input : tables("inputs", "mqtt")) {
      read_mqtt_input(input, config.mqtt_inputs.emplace_back(), inputs);
      note_places("input", config.mqtt_inputs.back().name, input);
    }
    for (Section& input : tables("inputs", "mqtt_endpoint")) {
      read_endpoint(input, config.endpoints.emplace_back(), inputs);
      lines[config.endpoints.back().name] = input.line();
      note_places("input", config.endpoints.back().name, input);
    }
    for (Section& input : tables("inputs", "serial")) {
      read_serial_input(input, config.serial_inputs.emplace_back(), inputs);
      note_places("input", config.serial_inputs.back().name, input);
    }
    section->finish();
  }
  for (Section& window : root.tables("windows")) {
    read_window(window, config.windows.emplace_back(), windows);
    lines[config.windows.back().name] = window.line();
  }
  if ((section = root.table("uplinks"))) {
    for (Section& uplink : tables("uplinks", "mqtt")) {
      read_mqtt_uplink(uplink, config.mqtt_uplinks.emplace_back(), uplinks);
      note_places("uplink", config.mqtt_uplinks.back().name, uplink);
    }
    for (Section& uplink : tables("uplinks", "kafka")) {
      read_kafka_uplink(uplink, config.kafka_uplinks.emplace_back(), uplinks);
      note_places("uplink", config.kafka_uplinks.back().name, uplink);
    }
    section->finish();
  }
  if ((section = root.table("observe"))) {
    read_listen(*section, config.observe.listen, true);
    section->finish();
  }
  root.finish();
  bound_state(config, lines, loaded);
  if (config.mqtt_inputs.empty() && config.endpoints.empty() && config.serial_inputs.empty()) loaded.warnings.push_back("no inputs: nothing will be collected");
  if (config.mqtt_uplinks.empty() && config.kafka_uplinks.empty()) loaded.warnings.push_back("no uplinks: nothing will be forwarded or stored");
  if (config.gateway.inbox_size == 0) config.gateway.inbox_size = config.mqtt_inputs.empty() ? 512 << 10 : 4 << 20;
  for (MqttInputConfig& input : config.mqtt_inputs) {
    if (input.client_id.empty()) input.client_id = text("millrace-", config.gateway.name, "-", input.name);
    if (input.qos == 0) loaded.warnings.push_back(text("input \"", input.name, "\": qos = 0: the broker may drop messages, and nobody would know"));
    if (!input.persistent_session) {
      loaded.warnings.push_back(text("input \"", input.name, "\": persistent_session = false: what is published while the gateway is away is lost"));
    }
  }
  for (MqttUplinkConfig& uplink : config.mqtt_uplinks) {
    if (uplink.client_id.empty()) uplink.client_id = text("millrace-", config.gateway.name, "-up-", uplink.name);
    if (uplink.version != 5) {
      loaded.warnings.push_back(text("uplink \"", uplink.name, "\": MQTT 3.1.1 cannot tell a denied topic: a broker that lets us not publish to \"", uplink.topic,
                                     "\" acknowledges and drops everything; see it arrive once, or use version = \"5\""));
    }
  }
  for (KafkaUplinkConfig& uplink : config.kafka_uplinks) {
    if (uplink.client_id.empty()) uplink.client_id = text("millrace-", config.gateway.name, "-up-", uplink.name);
    if (uplink.transactional_id.empty()) uplink.transactional_id = text("millrace-", config.gateway.name, "-", uplink.name);
    if (!uplink.sasl_mechanism.empty() && !uplink.tls.enabled) {
      loaded.warnings.push_back(text("uplink \"", uplink.name, "\": a login without TLS can be read by everybody on the way"));
    }
  }
  std::stable_sort(loaded.errors.begin(), loaded.errors.end(), [](const ConfigError& a, const ConfigError& b) { return a.line < b.line; });
  return loaded;
}

LoadedConfig load_config_file(const std::string& path) {
  auto content = read_file(path, 4 << 20);
  if (content.ok()) return load_config(content.value(), path);
  LoadedConfig loaded;
  loaded.errors.push_back({0, 0, content.status().detail()});
  return loaded;
}

std::string about_key(const LoadedConfig& loaded, const std::string& side, const std::string& name, const std::string& key, const std::string& what) {
  auto place = loaded.places.find(text(side, " ", name, " ", key));
  if (place == loaded.places.end()) place = loaded.places.find(text(side, " ", name, " "));
  const ConfigPlace at = place == loaded.places.end() ? ConfigPlace{} : place->second;
  return text(loaded.path, ":", at.line, ":", at.column, ": ", side, " \"", name, "\": ", key, ": ", what);
}

std::string format_errors(const std::string& path, const std::vector<ConfigError>& errors) {
  std::string out;
  for (const ConfigError& error : errors) {
    out += error.line > 0 ? text(path, ":", error.line, ":", error.column, ": ", error.message, "\n") : text(path, ": ", error.message, "\n");
  }
  return out;
}

}  // namespace millrace
