#include "config/config.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/instance.h"
#include "base/text.h"
#include "config/network_keys.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using G = GatewayConfig;
using L = LogConfig;
using O = ObserveConfig;
constexpr std::size_t name_max = 64;           // of a name (good_name()); an instance's is shorter
constexpr Duration health_interval_min = 10s;  // each is a commit, and a message
constexpr std::size_t runtime_dir_max = 107 - sizeof "control.sock";  // of sun_path (unix(7))

constexpr Key gateway_keys[] = {
    KeysOf<G>::key<&G::name>("name", "Part of every record's identity; default: the host name")
        .like("\"pump-station-7\""),
    KeysOf<G>::key<&G::runtime_dir>("runtime_dir", "On tmpfs: the inbox and the control socket"),
    KeysOf<G>::size<&G::inbox_size>(
        "inbox_size",
        "What is accepted and not yet in the log; without [[inputs.mqtt]]: 512KiB. Half of it is "
        "the largest message of a broker; of a larger one the head goes to the dead lane")
        .within(64 << 10, 1 << 30)
        .like("\"4MiB\""),
    KeysOf<G>::size<&G::report_state_max>(
        "report_state_max",
        "Memory for report by exception, some 200 bytes for a device's metric; beyond it the oldest are forgotten, "
        "and their next readings forwarded")
        .within(64 << 10, 1 << 30),
    KeysOf<G>::choice<&G::clock>(
        "clock", "kernel|rtc|trust",
        "The clock is believed when the kernel says it is synchronised (NTP); a battery "
        "keeps it; whoever runs this machine does (a container, a VM)"),
    KeysOf<G>::key<&G::clock_wait>(
        "clock_wait",
        "How long after the boot what was stamped by a clock that is not believed yet is kept back, to be "
        "corrected; alarms are not. After that it goes as it is, marked unsynced")
        .within(0s, 3650 * 24h),
    KeysOf<G>::key<&G::health_interval>(
        "health_interval",
        "How often the centre is told how this gateway is (version, configuration, backlog, losses, wear): an event "
        "\"health\" in the alarm lane; 0s: never")
        .within(0s, 24h)
        .like("\"5min\""),
    KeysOf<G>::choice<&G::log_level>("log_level", "debug|info|warn|error", ""),
};

void check_folder(Section& section, const char* key, const std::string& path) {
  if (path.empty() || path.front() != '/') section.error(key, text("\"", key, "\" must be an absolute path"));
  if (path.find('\0') != std::string::npos)
    section.error(key, text("\"", key, "\" has a NUL character in it, where a path ends"));
}

void settle_gateway(Section& section, GatewayConfig& c) {
  if (!c.name.empty() && !good_name(c.name))
    section.error("name", "a name has 1 to 64 letters, digits, - _ and .");
  if (c.runtime_dir.size() > runtime_dir_max)
    section.error("runtime_dir",
                  text("\"runtime_dir\" has more than ", runtime_dir_max, " bytes: no socket fits into it"));
  check_folder(section, "runtime_dir", c.runtime_dir);
  if (c.health_interval > 0s && c.health_interval < health_interval_min)
    section.error("health_interval",
                  text("\"health_interval\" is 0s or at least ", format_duration(health_interval_min)));
  c.runtime_dir_said = section.line("runtime_dir") > 0;
}

constexpr Key log_keys[] = {
    KeysOf<L>::key<&L::path>("path", ""),
    KeysOf<L>::size<&L::max_size>(
        "max_size", "All files together, never more; what the disk has must be more: `check` warns")
        .within(1 << 20, std::int64_t{1} << 44),
    KeysOf<L>::choice<&L::block_when_full>(
        "when_full", "evict|block",
        "At max_size the oldest readings make room, and each loss is reported; or inputs pause. A disk that "
        "others fill evicts nothing: inputs pause until there is room"),
    KeysOf<L>::key<&L::commit_interval>(
        "commit_interval", "What a power cut may cost with durability = \"crash\"; longer spares flash")
        .within(5ms, 60s),
    KeysOf<L>::choice<&L::commit_when_unsent>(
        "commit", "interval|when-unsent",
        "The second: while the uplinks keep up a reading never touches flash; a power cut may then cost what "
        "was not delivered in the last `unsent_max`"),
    KeysOf<L>::key<&L::unsent_max>("unsent_max", "").within(1s, 10min).only_with("commit"),
    KeysOf<L>::key<&L::forget_after>("forget_after",
                                     "How long data is kept for an uplink that left this file: in time that "
                                     "passed, whatever the clock says")
        .within(1h, 3650 * 24h),
};

void settle_log(Section& section, LogConfig& c) {
  c.path_line = section.line("path");
  c.size_line = section.line("max_size");
  check_folder(section, "path", c.path);
}

std::string& observe_cert(O& c) { return c.tls.cert; }
SecretRef& observe_key(O& c) { return c.tls.key; }

constexpr Key observe_keys[] = {
    KeysOf<O>::key<&O::listen>("listen", "/metrics, /healthz, /readyz, and the page at /; \"\" for none"),
    KeysOf<O>::key<&O::page>(
        "page",
        "The web page; beyond this machine only with TLS and a token or users. Without them from elsewhere by "
        "ssh -L 9464:127.0.0.1:9464 HOST")
        .only_with("listen"),
    KeysOf<O>::key<observe_cert>("tls_cert", "Of `listen`, with the chain: https; picked up when it changes")
        .like("\"/etc/millrace/server.pem\"")
        .only_with("listen"),
    KeysOf<O>::key<observe_key>("tls_key_file", "Its key")
        .like("\"/etc/millrace/server.key\"")
        .only_with("listen"),
    KeysOf<O>::key<&O::token>(
        "token_file",
        "16 characters or more that whoever asks must say: as the password of any user name, or as a bearer "
        "token; health is for everybody")
        .like("\"/etc/millrace/observe.token\"")
        .only_with("listen"),
    KeysOf<O>::key<&O::users_file>(
        "users_file",
        "Or whoever asks is one of these, by name and password (`millrace passwd`); only with TLS")
        .like("\"/etc/millrace/operators\"")
        .only_with("listen"),
    KeysOf<O>::key<&O::page_streams>("page_streams",
                                     "Browsers that are served live at a time; the others look every 5 s")
        .within(1, 1024)
        .only_with("page"),
    KeysOf<O>::key<&O::silent_after>(
        "silent_after",
        "A device that speaks as a rule and does not for so long, and five times its rule, is silent")
        .within(1s, 30 * 24h),
    KeysOf<O>::key<&O::devices_max>("devices_max",
                                    "Devices that are watched, of all inputs; beyond them they are counted")
        .within(0, 100'000),
    KeysOf<O>::key<&O::device_events>(
        "device_events", "That a device is alive, late, silent or back becomes an event in the alarm lane"),
    KeysOf<O>::key<&O::inventory>("inventory",
                                  "What is known of each device is forwarded so often, and when it brings "
                                  "something else; 0s: never")
        .within(0s, 366 * 24h),
    KeysOf<O>::key<&O::device_series_max>("device_series_max",
                                          "So many devices have a series millrace_device_last_seen_seconds")
        .within(0, 100'000),
    KeysOf<O>::table<&O::otlp>(
        "otlp", otlp_shape,
        "Where nobody can scrape this gateway it pushes what /metrics says, by OTLP; off without this table"),
};

void settle_observe(Section& section, ObserveConfig& c) {
  c.listen_said = section.line("listen") > 0;
  if (c.inventory > Duration{0} && c.inventory < 1min)
    section.error("inventory", "\"inventory\" is less than a minute");
  if (c.listen.empty()) return;
  check_listen(section, c.listen);
  c.on_loopback = is_loopback(c.listen);
  if (c.tls.cert.empty() != !c.tls.key.given())
    section.error("tls_cert", "tls_cert and tls_key_file go together");
  if (c.token.given() && !c.on_loopback && c.tls.cert.empty())
    section.error("token_file",
                  "a token in clear words can be read on the way: give tls_cert and tls_key_file as well");
  if (!c.users_file.empty() && c.tls.cert.empty())
    section.error("users_file",
                  "a password in clear words can be read on the way: give tls_cert and tls_key_file as well");
  if (c.page && section.has("page") && !c.on_loopback && !c.is_guarded()) {
    section.error(
        "page",
        "the page shows readings to whoever asks: beyond this machine it needs tls_cert, tls_key_file and "
        "token_file or users_file. Or keep \"listen\" on 127.0.0.1, and look from elsewhere by ssh -L 9464:127.0.0.1:9464 "
        "HOST (metrics alone: page = false)");
  }
}

constexpr Shape gateway_shape = shape_of<G, settle_gateway>(gateway_keys);
constexpr Shape log_shape = shape_of<L, settle_log>(log_keys);
constexpr Shape observe_shape = shape_of<O, settle_observe>(observe_keys);

using K = KeysOf<Config>;
constexpr Key keys[] = {
    K::table<&Config::gateway>("gateway", gateway_shape, "").said_first(),
    K::table<&Config::log>("log", log_shape, "").said_first(),
    K::parts<&Config::inputs>("inputs"),
    K::tables<&Config::windows>("windows", window_shape, "Count, mean, min, max of each device and metric"),
    K::parts<&Config::uplinks>("uplinks"),
    K::table<&Config::observe>("observe", observe_shape, "").said_first(),
};

// What the file leaves open lies beside what the machine's first gateway has.
void settle_instance(Section& section, Config& c) {
  if (!c.gateway.runtime_dir_said) c.gateway.runtime_dir += "/" + instance();
  if (c.log.path_line == 0) c.log.path = text("/var/lib/millrace/", instance(), "/log");
  if (!c.observe.listen_said)
    section.error(
        "observe",
        "an instance listens at an address of its own: [observe] listen = \"127.0.0.1:9465\", or \"\" for none");
}

bool is_one_folder(const std::string& a, const std::string& b) {
  const auto plain = [](const std::string& path) {
    return std::filesystem::path(path + "/").lexically_normal();
  };
  return plain(a) == plain(b);
}

void settle(Section& section, Config& c) {
  if (!instance().empty()) settle_instance(section, c);
  if (is_one_folder(c.log.path, c.gateway.runtime_dir))
    section.error("log", text("log.path and gateway.runtime_dir are one folder, ", c.log.path,
                              ": give each its own, runtime_dir on tmpfs"));
  if (!c.gateway.name.empty()) return;
  char host[65] = {};
  if (::gethostname(host, sizeof host - 1) == 0) c.gateway.name = host;
  for (char& at : c.gateway.name)
    at = std::isalnum(static_cast<unsigned char>(at)) || at == '-' || at == '.' ? at : '-';
  if (c.gateway.name.empty()) c.gateway.name = "millrace";
  if (instance().empty()) return;
  c.gateway.name.resize(std::min(c.gateway.name.size(), name_max - 1 - instance().size()));
  c.gateway.name += "-" + instance();
}

}  // namespace

const Shape config_shape = shape_of<Config, settle>(keys);

std::vector<std::string> keep_fixed(const Config& a, Config& b) {
  std::vector<std::string> changed;
  Config was = a;  // but for what is taken at a reload
  was.gateway.clock_wait = b.gateway.clock_wait;
  was.observe.otlp = b.observe.otlp;
  for (const Key& key : config_shape) {
    const Shape one{&key, 1};
    if (!same_values(one, &was, &b))
      changed.push_back(text(key.type == Key::Type::tables ? "[[" : "[", key.name,
                             key.type == Key::Type::tables ? "]]" : "]"));
  }
  b.gateway = was.gateway;
  b.log = was.log;
  b.windows = was.windows;
  b.observe = was.observe;
  return changed;
}

}  // namespace millrace
