// Keys that several kinds have in common: brokers, logins, TLS, what is listened on.
#pragma once

#include <string>
#include <vector>

#include "config/keys.h"
#include "config/toml.h"

namespace millrace {

inline constexpr const char* mqtt_versions = "5=5|3.1.1=4";

// tls_ca, tls_cert, tls_key_file; their owner settles them.
extern const Shape tls_shape;
// tls_alpn, of those whose protocol has no name of its own to ask for.
extern const Shape alpn_shape;
// insecure_skip_verify; who takes it warns of it.
extern const Shape unverified_shape;
void warn_of_unverified(const std::string& uplink, const TlsConfig& tls, std::vector<std::string>& warnings);
// Whether TLS is on is known elsewhere; keys of it without it are an error.
void settle_tls(Section& section, TlsConfig& tls, bool enabled);
// Certificate and key, or neither.
void check_key_pair(Section& section, const TlsConfig& tls);

// mqtt://host[:port] or mqtts://host[:port]; all of one sort. Returns whether they are mqtts.
bool check_mqtt_servers(Section& section, const std::vector<std::string>& servers);
// One of them, spelled in one way: who is a client there must not be another under the same identifier.
std::string mqtt_place(const std::string& server);
// What goes into a packet as it is: a client identifier, a user name, a topic (MQTT 5, section 1.5.4).
void check_mqtt_text(Section& section, const char* key, const std::string& value);
void check_login(Section& section, const std::string& username, const SecretRef& password);
// "127.0.0.1:1883", "[::1]:8883": numeric, as it is bound.
void check_listen(Section& section, const std::string& listen);
// Of what that takes: whether only this machine reaches it.
bool is_loopback(const std::string& listen);

}  // namespace millrace
