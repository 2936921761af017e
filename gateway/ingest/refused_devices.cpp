#include "ingest/refused_devices.h"

#include <algorithm>
#include <iterator>

#include "base/utf8.h"

namespace millrace {

void RefusedDevices::note(RefusedDevice one, Instant now) {
  for (std::string* name : {&one.client, &one.user, &one.from}) *name = shown(*name, name_max);
  one.topic = shown(one.topic, topic_max);
  for (std::string* words : {&one.why, &one.next}) *words = shown(*words, words_max);
  one.since = one.last = now;
  const auto known =
      std::ranges::find_if(devices_, [&](const RefusedDevice& other) { return other.is(one); });
  if (known != devices_.end()) {
    if (known->why == one.why) one.since = known->since;
    *known = std::move(one);
    return;
  }
  if (devices_.size() == kept_max) devices_.erase(least_wanted(one.from));
  devices_.push_back(std::move(one));
}

void RefusedDevices::came_in(std::string_view client) {
  if (devices_.empty()) return;
  std::erase_if(devices_, [name = shown(client, name_max)](const RefusedDevice& one) {
    return one.client == name && !one.let_in();
  });
}

std::vector<RefusedDevice> RefusedDevices::list(Instant now) const {
  std::vector<RefusedDevice> recent;
  std::ranges::copy_if(devices_, std::back_inserter(recent),
                       [now](const RefusedDevice& one) { return now - one.last < kept_for; });
  std::ranges::sort(recent, std::ranges::greater{}, [](const RefusedDevice& one) { return one.last.ns; });
  return recent;
}

// The oldest of the source that has most of them, with the one that comes.
std::vector<RefusedDevice>::iterator RefusedDevices::least_wanted(const std::string& from) {
  const auto places = [&](const RefusedDevice& one) {
    return std::ranges::count(devices_, one.from, &RefusedDevice::from) + (one.from == from ? 1 : 0);
  };
  return std::ranges::max_element(devices_, [&](const RefusedDevice& a, const RefusedDevice& b) {
    const auto of_a = places(a), of_b = places(b);
    return of_a != of_b ? of_a < of_b : a.last.ns > b.last.ns;
  });
}

}  // namespace millrace
