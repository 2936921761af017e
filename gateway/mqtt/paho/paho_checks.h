// What Paho C does not check of what a broker sends: it hands on topics with wildcards, NUL or broken UTF-8, packet
// identifier 0, doubled or forbidden properties and topic aliases that nobody announced. The rules are those of mqtt/packet.h.
// Pure; on any thread.
#pragma once

#include <MQTTAsync.h>

#include <string_view>

#include "mqtt/packet.h"

namespace millrace {

// A PUBLISH as Paho delivers it. Cheap where it has no properties.
mqtt::Fault publish_fault(int version, std::string_view topic, const MQTTAsync_message& message);
// A CONNACK of MQTT 5 that accepts. `out` is what it says.
mqtt::Fault connack_fault(bool session_present, const MQTTProperties& properties, mqtt::Connack& out);
// A text that a packet carries as a property; empty when it does not.
std::string_view property_text(const MQTTProperties& properties, MQTTPropertyCodes id);

}  // namespace millrace
