// What ended or prevented an MQTT connection, and whether somebody must act (credentials, certificates).
#pragma once

#include <string>
#include <string_view>

namespace millrace {

struct MqttFault {
  bool needs_person = false;
  int reason_code = 0;  // MQTT 5 reason code, or 0
  std::string text;
  bool hung_up = false;  // the broker ended a connection it had taken
};

// A CONNACK that refuses: of MQTT 3.1.1 (version 4; section 3.2.2.3) codes 1 to 5, of MQTT 5
// (section 3.2.2.2) 128 and more.
MqttFault refused_connect(int code, int version);
// A broker that answers MQTT 5 with a CONNACK of 3.1.1, which says `code`.
MqttFault speaks_3_1_1_only(int code);
// A DISCONNECT from the broker (MQTT 5, section 3.14.2.1), with what it says beside the code: its own words,
// and where else to go. Both come from outside and are shown cleaned and cut.
MqttFault ended_by_broker(int code, std::string_view reason_string, std::string_view server_reference);

}  // namespace millrace
