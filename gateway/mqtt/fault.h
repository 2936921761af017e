// What ended or prevented an MQTT connection, and whether somebody must act (credentials, certificates).
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

struct MqttFault {
  bool needs_person = false;
  int reason_code = 0;  // MQTT 5 reason code, or 0
  std::string text;
};

// A CONNACK that refuses: of MQTT 3.1.1 (version 4; section 3.2.2.3) codes 1 to 5, of MQTT 5 (section 3.2.2.2) 128 and more.
MqttFault refused_connect(int code, int version);

}  // namespace millrace
