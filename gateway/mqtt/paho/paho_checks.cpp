#include "mqtt/paho/paho_checks.h"

#include <algorithm>
#include <span>
#include <string>

#include "base/text.h"

namespace millrace {
namespace {

std::span<const MQTTProperty> all_of(const MQTTProperties& properties) {
  return {properties.array, properties.array ? static_cast<std::size_t>(std::max(properties.count, 0)) : 0};
}
std::string_view view_of(const MQTTLenString& text) { return {text.data, text.data ? static_cast<std::size_t>(std::max(text.len, 0)) : 0}; }

void put_number(std::uint32_t value, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}
void put_variable(std::uint32_t value, std::string& out) {
  do {
    out += static_cast<char>((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
    value >>= 7;
  } while (value > 0);
}
void put_text(std::string_view text, std::string& out) {
  put_number(static_cast<std::uint32_t>(text.size()), 2, out);
  out += text;
}

// The bytes that Paho has read the properties from (section 2.2.2), length first.
void put_properties(const MQTTProperties& properties, std::string& out) {
  std::string bytes;
  for (const MQTTProperty& property : all_of(properties)) {
    bytes += static_cast<char>(property.identifier);
    switch (MQTTProperty_getType(property.identifier)) {
      case MQTTPROPERTY_TYPE_BYTE: put_number(property.value.byte, 1, bytes); break;
      case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER: put_number(property.value.integer2, 2, bytes); break;
      case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER: put_number(property.value.integer4, 4, bytes); break;
      case MQTTPROPERTY_TYPE_VARIABLE_BYTE_INTEGER: put_variable(property.value.integer4, bytes); break;
      case MQTTPROPERTY_TYPE_BINARY_DATA:
      case MQTTPROPERTY_TYPE_UTF_8_ENCODED_STRING: put_text(view_of(property.value.data), bytes); break;
      case MQTTPROPERTY_TYPE_UTF_8_STRING_PAIR:
        put_text(view_of(property.value.data), bytes);
        put_text(view_of(property.value.value), bytes);
        break;
      default: break;  // an identifier that is none: the reader will say so
    }
  }
  put_variable(static_cast<std::uint32_t>(bytes.size()), out);
  out += bytes;
}

mqtt::Packet packet_of(mqtt::PacketType type, std::uint8_t flags, const std::string& body) { return {type, flags, bytes_of(body)}; }

}  // namespace

mqtt::Fault publish_fault(int version, std::string_view topic, const MQTTAsync_message& message) {
  if (version == 5 && message.properties.count > 0) {
    std::string body;
    put_text(topic, body);
    if (message.qos > 0) put_number(static_cast<std::uint16_t>(message.msgid), 2, body);
    put_properties(message.properties, body);
    const auto flags = static_cast<std::uint8_t>((message.dup ? 8 : 0) | (message.qos & 3) << 1 | (message.retained ? 1 : 0));
    mqtt::Publish publish;
    mqtt::UserProperties properties;
    return mqtt::parse_publish(packet_of(mqtt::PacketType::publish, flags, body), 5, publish, properties, mqtt::From::broker);
  }
  if (message.qos == 0 && message.dup) return {mqtt::malformed_packet, "PUBLISH of QoS 0 marked as a duplicate"};
  if (message.qos > 0 && message.msgid == 0) return {mqtt::malformed_packet, "packet identifier 0"};
  if (!good_utf8(topic)) return {mqtt::malformed_packet, "its topic is not UTF-8"};
  if (topic.empty()) return {mqtt::protocol_error, "no topic and no alias"};
  if (!mqtt::good_topic(topic)) return {mqtt::bad_topic, "a topic that is none to publish to"};
  return {};
}

mqtt::Fault connack_fault(bool session_present, const MQTTProperties& properties, mqtt::Connack& out) {
  std::string body{session_present ? '\1' : '\0', '\0'};
  put_properties(properties, body);
  return mqtt::parse_connack(packet_of(mqtt::PacketType::connack, 0, body), 5, out);
}

std::string_view property_text(const MQTTProperties& properties, MQTTPropertyCodes id) {
  for (const MQTTProperty& property : all_of(properties)) {
    if (property.identifier == id) return view_of(property.value.data);
  }
  return {};
}

}  // namespace millrace
