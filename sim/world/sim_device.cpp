#include "sim/world/sim_device.h"

#include <algorithm>
#include <vector>

namespace millrace::sim {

using mqtt::PacketType;

void SimDevice::connect(SimNet& net) {
  if (stream_) return;
  stream_ = net.dial(address_);
  if (!stream_) return;
  welcome_ = false;
  framer_ = mqtt::Framer(1 << 16);
  stream_->read([this](BytesView chunk) { hear(chunk); });
  mqtt::ConnectWrite connect;
  connect.version = 4;
  connect.client_id = name_;
  connect.keep_alive_seconds = 600;
  connect.clean_start = false;
  std::string bytes;
  mqtt::put_connect(connect, bytes);
  stream_->write(std::move(bytes));
}

void SimDevice::publish(SimNet& net, const std::function<std::string(std::uint64_t)>& payload) {
  connect(net);
  if (!stream_ || !welcome_ || flying_.size() >= open_max) return;
  std::uint16_t id = 1;
  while (flying_.contains(id)) ++id;
  ++number_;
  flying_[id] = {number_, payload(number_), false};
  say(id, false);
}

void SimDevice::say(std::uint16_t id, bool again) {
  const Flight& flight = flying_.at(id);
  std::string bytes;
  if (flight.received) {
    mqtt::put_ack(PacketType::pubrel, id, mqtt::success, 4, bytes);
  } else {
    const std::string topic = "dev/" + name_;
    mqtt::PublishWrite publish;
    publish.topic = topic;
    publish.payload = bytes_of(flight.payload);
    publish.packet_id = id;
    publish.qos = static_cast<std::uint8_t>(qos_);
    publish.duplicate = again;
    mqtt::put_publish(publish, 4, bytes);
  }
  stream_->write(std::move(bytes));
}

void SimDevice::hear(BytesView chunk) {
  if (chunk.empty()) return stream_.reset();
  framer_.push(chunk);
  mqtt::Packet packet;
  while (stream_ && framer_.next(packet) == mqtt::Framer::Next::packet) on_packet(packet);
}

void SimDevice::on_packet(const mqtt::Packet& packet) {
  if (packet.type == PacketType::connack) {
    welcome_ = true;
    std::vector<std::pair<std::uint64_t, std::uint16_t>> open;
    for (const auto& [id, flight] : flying_) open.emplace_back(flight.number, id);
    std::ranges::sort(open);
    for (const auto& [number, id] : open) say(id, true);
    return;
  }
  mqtt::Ack ack;
  if (!mqtt::parse_ack(packet, 4, ack).ok()) return;
  const auto flight = flying_.find(ack.packet_id);
  if (flight == flying_.end()) return;
  if (packet.type == PacketType::pubrec) {
    flight->second.received = true;
    return say(ack.packet_id, false);
  }
  acknowledged_.insert(flight->second.number);
  flying_.erase(flight);
}

}  // namespace millrace::sim
