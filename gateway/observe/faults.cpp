#include "observe/faults.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/instance.h"
#include "base/span_words.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double minute = 60, hour = 3600, day = 86400;
constexpr double told_for = hour;  // of what is over as it happens: a payload that could not be read
constexpr double soon = 7 * day;   // a certificate that ends
constexpr int worn_percent = 80, worn_out_percent = 100;
constexpr std::size_t named_max = 3;

// What a reason says that a peer, TLS or the system gave, and what to do then. The first that fits counts.
struct Advice {
  std::string_view sign, next;
};
constexpr std::string_view login_next =
    "correct the login (token_file, password_file, credentials_file, connection_string_file); it is read anew "
    "at each try";
constexpr std::string_view rights_next =
    "let this login do it, in the other side's rights, or give another one";
constexpr std::string_view name_next =
    "create what is written to (database, table, bucket, stream, topic), or correct its name or path, then: "
    "millrace reload";
constexpr std::string_view portal_next =
    "a captive portal, a proxy, or another address: log in there, or correct servers, then: millrace reload";
constexpr Advice advice[] = {
    // Of an HTTP server, whose words behind the status may name anything.
    {"a page for people", portal_next},
    {"redirects are not followed", portal_next},
    {"HTTP 401", login_next},
    {"ExpiredToken", login_next},
    {"UnrecognizedClient", login_next},
    {"InvalidClientTokenId", login_next},
    {"InvalidAccessKeyId", login_next},
    {"SignatureDoesNotMatch", login_next},
    {"InvalidSignature", login_next},
    {"AUTHENTICATION_FAILED", login_next},
    {"proxy_username",
     "correct proxy_username, or what proxy_password_file holds; it is read anew at each try"},
    {"AccessDenied", rights_next},
    {"HTTP 403", rights_next},
    {"HTTP 404", name_next},
    {"ResourceNotFound", name_next},
    {"expired",
     "renew that certificate; a new file is read by itself. Whose it is says: millrace check --online"},
    {"not valid yet", "look at the clock first (timedatectl), then at the certificate"},
    {"certificate",
     "compare tls_ca, tls_cert and the name in servers with what the other side shows: millrace check --online"},
    {"password", "correct the user name, or the file it names (password_file); it is read anew at each try"},
    // A broker says so of a wrong password, too (mosquitto, to MQTT 5).
    {"not authori",
     "correct the user name or password (password_file is read anew at each try); if they are right: let this user "
     "do it, in the other side's rights (ACL)"},
    {"credentials",
     "correct the user name, or the file it names (password_file); it is read anew at each try"},
    {"topic", "create the topic, or correct its name in the configuration, then: millrace reload"},
    {"closed before a CONNACK",
     "see that the other side runs; its port may want TLS (mqtts://), or be another service's: millrace check --online"},
    {"does TLS answer on this port",
     "see that the other side runs; its port may be one without TLS, or another service's: millrace check --online"},
    {"cannot resolve", "look at the name in servers, and at the name servers of /etc/resolv.conf"},
    {"set version", "do what it says in the configuration, then: millrace reload"},
    {"client id", "give one of the two another client_id, then: millrace reload"},
    {"Address already in use",
     "another program has that address (ss -ltnp): end it, or give this one another address"},
    {"in use by another program", "end the other program, or give this input another port"},
    {"Permission denied", "let the user millrace open it (group dialout for serial ports)"},
    {"is gone", "plug the adapter in again; it is opened by its name by itself"},
    {"no answer of",
     "look at the device's power, wiring, address and speed: millrace read modbus --port ..."},
};

std::string_view advised(std::string_view reason, std::string_view otherwise) {
  for (const Advice& one : advice) {
    if (reason.find(one.sign) != std::string_view::npos) return one.next;
  }
  return otherwise;
}

// Advice as it holds for one of several gateways of a machine: `millrace check` would look at the first one's
// configuration. The user and the group of that name are everybody's.
std::string for_instance(std::string next, const std::string& instance) {
  if (instance.empty()) return next;
  const std::pair<std::string_view, std::string> said[] = {
      {": millrace ", text(": ", instance_command(instance), " ")},
      {"(millrace ", text("(", instance_command(instance), " ")},
      {"journalctl -u millrace", text("journalctl -u ", instance_unit(instance))}};
  for (const auto& [plain, ours] : said) {
    for (std::size_t at = 0; (at = next.find(plain, at)) != std::string::npos; at += ours.size())
      next.replace(at, plain.size(), ours);
  }
  return next;
}

std::string size_of(std::uint64_t bytes) { return format_size(static_cast<double>(bytes)); }

std::string waiting_words(const UplinkState& uplink, const StorageState& log) {
  if (uplink.backlog == 0) return "";
  const std::string room = log.room ? text(", room for ", span_words(*log.room), " more") : std::string();
  return text(" Nothing is lost: ", uplink.backlog, " records wait", room, ".");
}

class Finder {
 public:
  explicit Finder(const GatewayState& state) : state_(state) {}

  std::vector<Fault> find() {
    look_at_log();
    look_at_clock();
    for (const CertificateState& one : state_.certificates) look_at(one);
    for (const UplinkState& one : state_.uplinks) look_at(one);
    for (const InputState& one : state_.inputs) look_at(one);
    for (const AbsentUplink& one : state_.absent) look_at(one);
    look_at_flash();
    look_at_process();
    if (state_.otlp) look_at(*state_.otlp);
    for (const ShutFace& one : state_.shut_faces) look_at(one);
    for (Fault& fault : faults_) fault.next = for_instance(std::move(fault.next), state_.instance);
    std::ranges::stable_partition(faults_, [](const Fault& fault) { return fault.person; });
    return std::move(faults_);
  }

 private:
  void person(std::string id, std::string what, std::string next, Seconds lasts = {}) {
    faults_.push_back({std::move(id), true, std::move(what), std::move(next), lasts});
  }
  void note(std::string id, std::string what, std::string next, Seconds lasts = {}) {
    faults_.push_back({std::move(id), false, std::move(what), std::move(next), lasts});
  }

  void look_at_log() {
    const StorageState& log = state_.log;
    if (!log.trouble.empty()) {
      const bool read_only = log.trouble.find("read-only") != std::string::npos;
      const bool inodes = log.trouble.find(" inodes") != std::string::npos;
      const bool full = log.disk_total > 0 && log.disk_free < log.disk_total / 100;
      person("log", text("log: cannot be written: ", log.trouble),
             read_only
                 ? text("mount ", log.path, " writable again (why it is not: dmesg); it goes on by itself")
             : inodes ? text("take files off the file system of ", log.path, ": df -i ", log.path,
                             "; then it goes on by itself")
             : full   ? text("make room on the file system of ", log.path, ": df -h ", log.path,
                             "; then it goes on by itself")
                      : text("look at the disk under ", log.path, " (df -h ", log.path,
                             "; dmesg); it goes on by itself"));
    }
    if (log.blocked && log.trouble.empty()) {
      person("log full",
             text("log: full (", size_of(log.bytes_used), " of ", size_of(log.bytes_max), "): inputs pause"),
             "bring the uplinks back, they empty it; or raise log.max_size, and restart");
    }
    if (log.evicted_age && *log.evicted_age < minute) {
      person("log evicts",
             text("log: full (max_size ", size_of(log.bytes_max), "): the oldest readings make room, ",
                  log.evicted, " so far"),
             "bring the uplinks back, they empty it; or raise log.max_size, and restart");
    }
    if (log.evicted_age && *log.evicted_age >= minute && *log.evicted_age < day) {
      note("log evicted",
           text("log: it was full (max_size ", size_of(log.bytes_max), "), and ", log.evicted,
                " records made room before they were sent; each is told north"),
           "raise log.max_size: for how long an outage there is room, says millrace check", log.evicted_age);
    }
    if (log.lost_age && *log.lost_age < day) {
      note("log lost",
           text("log: ", log.vanished + log.lost,
                " records were lost by the storage since the start; each is told north"),
           "look at the disk: dmesg; journalctl -u millrace", log.lost_age);
    }
    const std::uint64_t may_take = log.bytes_max - std::min(log.bytes_max, log.bytes_used);
    if (log.disk_total > 0 && log.disk_free < may_take && log.trouble.empty()) {
      note("disk",
           text("disk: ", size_of(log.disk_free), " free under ", log.path, ", and the log may take ",
                size_of(may_take), " more"),
           "make room there, or lower log.max_size, before an outage fills it");
    }
    if (log.newer_format) {
      note("log format", "log: a later version wrote it; it is left untouched, ours lies beside it",
           "install that version again: it drains ours first");
    }
  }

  void look_at_clock() {
    if (state_.clock_trusted) return;
    person(
        "clock", text("clock: not trusted, it says ", format_time(state_.at), ": ", state_.clock),
        text(
            "set the time, and let something keep it: timedatectl set-ntp true; where that is so, say gateway.clock",
            state_.clock_matters ? ". Windows wait for it" : "", clock_waits()));
  }

  std::string clock_waits() const {
    if (state_.clock_wait <= 0) {
      return ". Readings without a time of their own go north marked as unsynced (time_trust), with what the centre "
             "needs to correct them";
    }
    return text(". Until then readings without a time of their own are kept back, ",
                span_words(state_.clock_wait), " more at most (gateway.clock_wait); alarms go at once");
  }

  void look_at(const CertificateState& one) {
    if (one.left > soon) return;
    const std::string id = text("certificate ", one.side, " ", one.name, " ", one.key, " ", one.subject);
    const std::string who = text(one.side, " ", one.name, ": ", one.key, ": the certificate \"", one.subject,
                                 "\" of ", one.where);
    const char* next = one.of_peer ? "its owner must renew it; nothing is to be done here"
                                   : "put a new one in its place; it is read by itself";
    if (one.left <= 0) person(id, text(who, " expired on ", format_time(one.to)), next, -one.left);
    else note(id, text(who, " expires in ", span_words(one.left)), next, 0.0);
  }

  void look_at(const UplinkState& uplink) {
    const std::string who = "uplink " + uplink.name;
    if (!uplink.waits_for.empty()) {
      person(who, text(who, ": waiting for ", uplink.waits_for),
             "put that file there, readable for the user millrace; it starts by itself");
    } else if (uplink.running && !uplink.healthy) {
      const std::string waits = waiting_words(uplink, state_.log);
      const auto next =
          advised(uplink.state,
                  "see that the other side runs and that the way there is open: millrace check --online");
      Fault fault{who, uplink.blocked, text(who, ": ", uplink.state), text(next, ".", waits), {}};
      faults_.push_back(std::move(fault));
    }
    if (uplink.unverified) {
      note(who + " unverified", text(who, ": its server is not verified (insecure_skip_verify)"),
           "name the CA of its certificate (tls_ca), take insecure_skip_verify out, then: millrace reload");
    }
    if (uplink.refused_age && *uplink.refused_age < told_for) {
      note(who + " refused",
           text(who, ": the other side refused ", uplink.refused, " records for good; they are kept"),
           "why: millrace dlq ls; once that is mended: millrace dlq retry --all", uplink.refused_age);
    }
  }

  void look_at(const InputState& input) {
    const std::string who = "input " + input.name;
    if (!input.waits_for.empty()) {
      person(who, text(who, ": waiting for ", input.waits_for),
             "put that file there, readable for the user millrace; it starts by itself");
    } else if (input.running && !input.healthy) {
      const auto next =
          advised(input.state,
                  "see that the other side runs and that the way there is open: millrace check --online");
      faults_.push_back({who, input.blocked, text(who, ": ", input.state), text(next, "."), {}});
    } else if (!state_.log.blocked && state_.log.trouble.empty()) {  // else it pauses
      look_for_silence(input, who);
    }
    if (input.unread && input.unread->age < told_for) {
      note(who + " unread",
           text(who, ": ", input.undecodable, input.undecodable == 1 ? " payload" : " payloads",
                " could not be read, the last on ", input.unread->channel, ": ", input.unread->reason),
           "they are kept: millrace dlq ls; mend the route (millrace test), then: millrace dlq retry --all",
           input.unread->age);
    }
  }

  void look_for_silence(const InputState& input, const std::string& who) {
    if (!input.running) return;
    if (!input.silent) return tell_silent(input, who);
    note(who + " silent",
         text(who, ": nothing has come for ", span_words(input.last_seen.value_or(0)), " (as a rule every ",
              span_words(input.usual.value_or(0)), "), though it is ", input.state),
         "look at the devices and at what lies between: power, network, their broker", input.last_seen);
  }

  void tell_silent(const InputState& input, const std::string& who) {
    if (input.silent_devices == 0) return;
    std::string names;
    std::size_t named = 0;
    for (const SilentDevice& device : input.silent_first) {
      if (named++ == named_max) break;
      names += text(names.empty() ? "" : ", ", device.name, " (for ", span_words(device.silent),
                    ", as a rule every ", span_words(device.usual), ")");
    }
    if (input.silent_devices > named_max) names += text(" and ", input.silent_devices - named_max, " more");
    note(who + " devices", text(who, ": silent: ", names),
         "look at their power and their way here; what came last: millrace trace DEVICE",
         input.silent_first.empty() ? Seconds() : Seconds(input.silent_first.front().silent));
  }

  void look_at(const AbsentUplink& absent) {
    if (absent.records == 0) return;
    note("absent " + absent.name,
         text("uplink ", absent.name, ": not in the configuration; ", absent.records,
              " records are kept for it until ", format_time(absent.until)),
         text("put it back, or give them up: millrace uplink forget ", absent.name));
  }

  // No reading depends on it: nothing of this wants a person at night.
  void look_at(const OtlpState& otlp) {
    if (!otlp.healthy) {
      note("otlp", text("metrics: not pushed to ", otlp.endpoint, ": ", otlp.state),
           text(advised(otlp.state,
                        "see that it runs, what it says to a login, and that the way there is open: "
                        "millrace check --online"),
                ". Readings go on."));
    }
    if (otlp.rejected_age && *otlp.rejected_age < told_for) {
      note("otlp rejected",
           text("metrics: ", otlp.endpoint, " rejected ", otlp.rejected_points, " points",
                otlp.rejected_why.empty() ? "" : ": ", otlp.rejected_why),
           "look at the limits of the collector, and at its log", otlp.rejected_age);
    }
  }

  void look_at(const ShutFace& face) {
    person(face.what, text(face.what, ": ", face.trouble, "; ", face.without),
           text(advised(face.trouble, "look at what it says, and at the configuration: millrace check"),
                ". It is tried again by itself; a new address wants a restart. Readings go on."));
  }

  void look_at_flash() {
    const auto used = state_.flash.life_used_percent;
    if (!used || *used < worn_percent) return;
    const std::string what =
        text("flash: ", state_.flash.device, " says that ", *used, " % of its life are used");
    if (*used >= worn_out_percent)
      person("flash", what, "exchange it; back the log up first: millrace log backup FOLDER");
    else note("flash", what, "plan its exchange; a longer log.commit_interval spares it");
  }

  void look_at_process() {
    const Seconds age = state_.process.turned_away_age;
    if (age && *age < told_for) {
      note(
          "descriptors",
          text("connections: ", state_.process.turned_away, " were turned away for want of file descriptors"),
          "raise LimitNOFILE= of the service: millrace check says to what", age);
    }
  }

  const GatewayState& state_;
  std::vector<Fault> faults_;
};

}  // namespace

std::vector<Fault> faults_of(const GatewayState& state) { return Finder(state).find(); }

void FaultWatch::look(std::vector<Fault>& faults, Instant now) {
  std::map<std::string, Instant> still;
  for (Fault& fault : faults) {
    const auto known = since_.find(fault.id);
    const Instant since = still[fault.id] = known == since_.end() ? now : known->second;
    if (!fault.lasts) fault.lasts = to_seconds(now - since);
  }
  since_ = std::move(still);
}

}  // namespace millrace
