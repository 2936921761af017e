#include "drivers/mqtt_endpoint/advice.h"

#include "base/instance.h"
#include "base/text.h"

namespace millrace {

// No name of the device's own is said in a command: who copies it would run what a stranger made up.
std::string advice_on(std::string_view why, const EndpointConfig& config) {
  const auto is = [why](std::string_view sign) { return why.find(sign) != std::string_view::npos; };
  if (is("wrong user name or password"))
    return text("let the device and users_file say the same: ", instance_command(), " passwd ",
                config.users_file, " USER");
  if (is("no user name and password")) return "give the device a user of users_file, and the password";
  if (is("proving who he is"))
    return "give the device a certificate of tls_ca, or let it in (users_file, anonymous = true)";
  if (is("access list")) return "look at clients of [[inputs.mqtt_endpoint.acl]], or at the device's name";
  if (is("may not publish"))
    return "look at publish of [[inputs.mqtt_endpoint.acl]], or at the device's topic";
  if (is("descriptors are short"))
    return "raise LimitNOFILE= of the service: millrace check says to what; or lower connections_max";
  if (is("connections already")) return "raise connections_max; or end who holds the others";
  if (is("wait to be checked"))
    return "nothing: it comes again when there is room; look at who else tries from there";
  if (is("in time") || is("for the sake of others"))
    return "look at the network between, and at whether it is a device at all";
  if (is("what came is TLS"))
    return "let the device connect without TLS (mqtt://), or give this input tls_cert and tls_key_file";
  if (is("MQTT without TLS")) return "let the device connect by TLS (mqtts://), or to an input without";
  if (is("what came is HTTP"))
    return "nothing of a device; the page and metrics are at [observe] listen; who else looks at this port?";
  if (is("refused our certificate"))
    return "give the device the CA that issued tls_cert, and look at the names in it and at the device's clock";
  if (is("ertificate") || is("TLS") || is("CA ") || is("handshake"))
    return "look at the device's certificate, the CA it trusts, its clock, and at tls_ca";
  return "look at how the device's MQTT is set: its version, client identifier and sizes";
}

}  // namespace millrace
