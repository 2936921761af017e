#include "config/network_keys.h"

#include <arpa/inet.h>

#include <charconv>

#include "base/host_port.h"
#include "base/text.h"
#include "base/utf8.h"
#include "base/without_users.h"

namespace millrace {
namespace {

using K = KeysOf<TlsConfig>;

constexpr Key tls_keys[] = {
    K::key<&TlsConfig::ca>(
        "tls_ca", "Whom the certificate of the other side comes from; default: the system's own store")
        .like("\"/etc/millrace/ca.pem\""),
    K::key<&TlsConfig::cert>("tls_cert", "Our own, with the chain; picked up when it changes")
        .like("\"/etc/millrace/client.pem\""),
    K::key<&TlsConfig::key>("tls_key_file", "Its key").like("\"/etc/millrace/client.key\""),
};

constexpr Key alpn_keys[] = {
    K::key<&TlsConfig::alpn>("tls_alpn", "What is asked for where a port has several protocols (RFC 7301)")
        .like("[\"x-amzn-mqtt-ca\"]"),
};

constexpr Key unverified_keys[] = {
    K::key<&TlsConfig::skip_verify>("insecure_skip_verify",
                                    "Any certificate will do: whoever is on the way can read all of it and "
                                    "answer. For a trial; each start warns"),
};

bool numeric_address(std::string address) {
  const bool bracketed = address.size() > 2 && address.front() == '[' && address.back() == ']';
  if (bracketed) address = address.substr(1, address.size() - 2);
  if (bracketed) address = address.substr(0, address.find('%'));  // of a link-local address, its interface
  unsigned char ignored[16];
  return ::inet_pton(bracketed ? AF_INET6 : AF_INET, address.c_str(), ignored) == 1;
}

}  // namespace

const Shape tls_shape = shape_of<TlsConfig>(tls_keys);
const Shape alpn_shape = shape_of<TlsConfig>(alpn_keys);
const Shape unverified_shape = shape_of<TlsConfig>(unverified_keys);

void settle_tls(Section& section, TlsConfig& tls, bool enabled) {
  tls.enabled = enabled;
  if (!enabled && (!tls.ca.empty() || !tls.cert.empty() || tls.key.given())) {
    section.error(
        section.has("tls_ca") ? "tls_ca" : "tls_cert",
        "TLS keys are given, but TLS is off: write mqtts:// or https:// (of Kafka: tls = true; of Modbus: mode = \"tls\")");
  }
  if (tls.skip_verify && !enabled)
    section.error("insecure_skip_verify", "insecure_skip_verify is of TLS, and TLS is off");
  if (tls.skip_verify && !tls.ca.empty())
    section.error(
        "insecure_skip_verify",
        "tls_ca says by whom the server is verified, insecure_skip_verify that it is not: one of the two");
  check_key_pair(section, tls);
  if (!tls.alpn.empty() && !enabled) section.error("tls_alpn", "ALPN is of TLS: write mqtts://");
  for (const std::string& name : tls.alpn) {
    if (name.empty() || name.size() > 255) section.error("tls_alpn", "a protocol's name has 1 to 255 bytes");
  }
}

void warn_of_unverified(const std::string& uplink, const TlsConfig& tls, std::vector<std::string>& warnings) {
  if (tls.skip_verify)
    warnings.push_back(
        text("uplink \"", uplink,
             "\": insecure_skip_verify: its server is not verified, anybody on the way can answer "
             "in its place and read everything"));
}

void check_key_pair(Section& section, const TlsConfig& tls) {
  if (tls.cert.empty() != !tls.key.given())
    section.error("tls_cert", "tls_cert and tls_key_file go together");
}

bool check_mqtt_servers(Section& section, const std::vector<std::string>& servers) {
  std::size_t secure = 0, plain = 0;
  for (const std::string& server : servers) {
    std::string_view rest = server;
    if (rest.starts_with("mqtts://")) {
      ++secure;
      rest.remove_prefix(8);
    } else if (rest.starts_with("mqtt://")) {
      ++plain;
      rest.remove_prefix(7);
    } else {
      section.error("servers", text("\"", without_login(server), "\" must start with mqtt:// or mqtts://"));
      continue;
    }
    if (!parse_host_port(rest, 1883).ok() || rest.find('/') != std::string_view::npos ||
        rest.find('@') != std::string_view::npos) {
      section.error("servers", text("\"", without_login(server),
                                    "\" is not mqtt://HOST:PORT (user and password have keys of their own)"));
    }
  }
  if (secure != 0 && plain != 0)
    section.error("servers",
                  "some servers use TLS and some do not; give them inputs or uplinks of their own");
  return secure != 0;
}

std::string mqtt_place(const std::string& server) {
  const bool secure = server.starts_with("mqtts://");
  auto where = parse_host_port(std::string_view(server).substr(secure ? 8 : 7), secure ? 8883 : 1883);
  if (!where.ok()) return server;
  std::string& host = where.value().host;
  for (char& c : host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (host == "localhost") host = "127.0.0.1";
  return text(secure ? "mqtts://" : "mqtt://", where.value().to_string());
}

// Brokers hang up on a control character, and a NUL ends the text for some who read it: that would be another
// client than is configured, or a record that is taken for what they hang up on.
void check_mqtt_text(Section& section, const char* key, const std::string& value) {
  constexpr std::size_t bytes_max = 65535;
  if (value.size() > bytes_max)
    section.error(key, text("\"", key, "\" has more than the 65535 bytes of a text in MQTT"));
  else if (find_fault(value, Controls::none).kind != TextFault::ok)
    section.error(key, text("\"", key, "\" has a control character, for which brokers hang up"));
}

void check_login(Section& section, const std::string& username, const SecretRef& password) {
  if (password.given() && username.empty()) section.error("password_file", "a password needs a username");
}

bool is_loopback(const std::string& listen) {
  const std::string address = listen.substr(0, listen.rfind(':'));
  return address.starts_with("127.") || address == "[::1]";
}

void check_listen(Section& section, const std::string& listen) {
  const std::size_t colon = listen.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    const char* end = listen.data() + listen.size();
    if (const auto parsed = std::from_chars(listen.data() + colon + 1, end, port);
        parsed.ptr != end || parsed.ec != std::errc{})
      port = -1;
  }
  if (port < 0 || port > 65535 || !numeric_address(listen.substr(0, colon))) {
    section.error("listen", text("\"", listen,
                                 "\" is not ADDRESS:PORT, like \"127.0.0.1:1883\" or \"[::]:8883\" "
                                 "(an address, no name; a port up to 65535)"));
  }
}

}  // namespace millrace
