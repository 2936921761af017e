#include "mqtt/fault.h"

#include "base/text.h"
#include "mqtt/packet.h"

namespace millrace {

MqttFault refused_connect(int code, int version) {
  if (version < 5) {
    static constexpr const char* reasons[] = {"protocol version refused", "client id refused", "server unavailable", "wrong user name or password", "not authorised"};
    if (code < 1 || code > 5) return {false, 0, text("refused with the unknown code ", code)};
    return {code != 3, 0, reasons[code - 1]};
  }
  MqttFault fault{false, code, mqtt::reason_text(code)};
  switch (code) {
    case mqtt::unsupported_version:
    case mqtt::bad_client_id:
    case mqtt::bad_credentials:
    case mqtt::not_authorized:
    case mqtt::banned:
    case mqtt::bad_auth_method: fault.needs_person = true; break;
    default: break;
  }
  return fault;
}

}  // namespace millrace
