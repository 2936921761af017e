#include "record/record.h"

namespace millrace {

const char* lane_name(Lane lane) {
  static constexpr const char* names[] = {"alarm", "window", "raw", "held", "dead"};
  return names[static_cast<int>(lane)];
}

const char* kind_name(Kind kind) {
  static constexpr const char* names[] = {"reading", "window", "event", "loss", "dead"};
  return names[static_cast<int>(kind)];
}

const char* quality_name(Quality quality) {
  static constexpr const char* names[] = {"good", "uncertain", "bad"};
  return names[static_cast<int>(quality)];
}

void LossDetail::add_device(const std::string& device, std::uint64_t records) {
  const auto found = devices.find(device);
  if (found != devices.end()) found->second += records;
  else if (devices.size() < devices_max) devices.emplace(device, records);
  else other_devices += records;
}

Record loss_record(Lane lane, LossDetail loss, WallTime now) {
  auto detail = std::make_shared<Detail>();
  detail->body = std::move(loss);
  Record record;
  record.kind = Kind::loss;
  record.metric = lane_name(lane);
  record.time = now;
  record.trust = TimeTrust::gateway;
  record.detail = std::move(detail);
  return record;
}

}  // namespace millrace
