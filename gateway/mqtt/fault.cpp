#include "mqtt/fault.h"

#include "base/text.h"
#include "mqtt/packet.h"

namespace millrace {
namespace {

// Words of a broker, for a line of ours.
std::string quoted(std::string_view words) {
  constexpr std::size_t shown_max = 200;
  const bool cut = words.size() > shown_max;
  std::string shown;
  if (!good_utf8(words)) shown = text(words.size(), " bytes that are not text");
  else
    for (const char c : words.substr(0, shown_max))
      shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  // Not in the middle of a character.
  while (cut && !good_utf8(shown)) shown.pop_back();
  return text("\"", shown, cut ? "..." : "", "\"");
}

}  // namespace

MqttFault refused_connect(int code, int version) {
  if (version < 5) {
    static constexpr const char* reasons[] = {"the broker does not speak MQTT 3.1.1: set version = \"5\"",
                                              "client id refused", "server unavailable",
                                              "wrong user name or password", "not authorised"};
    if (code < 1 || code > 5) return {false, 0, text("refused with the unknown code ", code)};
    return {code != 3, 0, reasons[code - 1]};
  }
  if (code >= 1 && code <= 5) return speaks_3_1_1_only(code);
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

// Byte 2 is a return code of 3.1.1 (section 3.2.2.3), mostly 1.
MqttFault speaks_3_1_1_only(int code) {
  return {true, 0,
          text("the broker speaks MQTT 3.1.1 only (it answers MQTT 5 with code ", code,
               " of 3.1.1): set version = \"3.1.1\"")};
}

MqttFault ended_by_broker(int code, std::string_view reason_string, std::string_view server_reference) {
  MqttFault fault{
      false, code,
      text("the broker disconnected us: ", code == 0 ? "no reason given" : mqtt::reason_text(code))};
  if (!reason_string.empty()) fault.text += text(", ", quoted(reason_string));
  if (!server_reference.empty()) fault.text += text("; it names ", quoted(server_reference));
  switch (code) {
    // What trying again does not mend: what we ask for, who we are, or where.
    case mqtt::malformed_packet:
    case mqtt::protocol_error:
    case mqtt::not_authorized:
    case mqtt::banned:
    case mqtt::taken_over:
    case mqtt::bad_filter:
    case mqtt::administrative_action:
    case mqtt::qos_not_supported:
    case mqtt::use_another_server:
    case mqtt::server_moved:
    case mqtt::shared_subscriptions_not_supported:
    case mqtt::subscription_ids_not_supported:
    case mqtt::wildcards_not_supported: fault.needs_person = true; break;
    default: break;
  }
  return fault;
}

}  // namespace millrace
