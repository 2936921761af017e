#include "drivers/mqtt_endpoint/complaints.h"

#include "base/text.h"

namespace millrace {

bool Complaints::heard(const std::string& source, const std::string& why, Instant now) {
  if (!pending()) since_ = now;
  auto of = sources_.find(source);
  if (of == sources_.end()) {
    if (kinds_ >= kinds_max) {
      ++of_others_;
      return false;
    }
    of = sources_.emplace(source, Source{}).first;
  }
  if (const auto known = of->second.unsaid.find(why); known != of->second.unsaid.end()) {
    ++known->second;
    return false;
  }
  if (of->second.unsaid.size() >= kinds_of_source_max || kinds_ >= kinds_max) {
    ++of->second.more;
    return false;
  }
  ++kinds_;
  of->second.unsaid.emplace(why, 0);
  return true;
}

std::string Complaints::rest(Instant now) {
  if (now - since_ < every) return {};
  std::uint64_t all = of_others_, most = 0;
  std::string source, why;
  for (const auto& [name, of] : sources_) {
    std::uint64_t here = of.more, often = 0;
    for (const auto& [reason, count] : of.unsaid) here += count;
    all += here;
    if (here <= most) continue;
    most = here;
    source = name;
    why.clear();
    for (const auto& [reason, count] : of.unsaid) {
      if (count > often) {
        often = count;
        why = reason;
      }
    }
  }
  const Duration past = now - since_;
  sources_.clear();
  kinds_ = 0;
  of_others_ = 0;
  if (all == 0) return {};
  return text(all, " more connections were refused or ended in the last ",
              std::chrono::duration_cast<std::chrono::seconds>(past).count(), " s",
              source.empty() ? "" : text(", ", most, " of them from ", source),
              why.empty() ? "" : text(", mostly: ", why));
}

}  // namespace millrace
