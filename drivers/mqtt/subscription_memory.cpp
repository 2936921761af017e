#include "drivers/mqtt/subscription_memory.h"

#include <algorithm>

#include "base/composite_key.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/network_keys.h"

namespace millrace {

std::optional<SubscriptionMemory::Whose> SubscriptionMemory::whose(const Intake& intake,
                                                                   const std::string& state) {
  std::string_view key = std::string_view(state).substr(prefix.size()), input, server, client;
  const auto value = intake.state(state);
  if (!value || !take_key_part(key, input) || !take_key_part(key, server)) return std::nullopt;
  std::string_view rest = text_of(*value);
  if (!take_key_part(rest, client)) return std::nullopt;
  return Whose{std::string(input), std::string(server), std::string(client)};
}

std::string SubscriptionMemory::claim(std::string_view server, std::string_view client_id) {
  return text("mqtt ", mqtt_place(std::string(server)), " ", client_id);
}

// The value: the client id, then each filter, as parts of a composite key.
SubscriptionMemory::SubscriptionMemory(Intake& intake, std::string_view input, std::string_view server,
                                       std::string client_id)
    : intake_(intake),
      name_(std::string(prefix) + composite_key(input, server)),
      client_id_(std::move(client_id)) {
  const auto stored = intake_.state(name_);
  if (!stored) return;
  std::string_view rest = text_of(*stored), part;
  if (!take_key_part(rest, part)) return;
  if (part != client_id_) {
    LOG_WARN("input ", input, ": it was the client ", shown(part, 256), " at ", server,
             " before; the broker goes on keeping what comes in that session, and client_id = \"",
             shown(part, 256), "\" reads it, else it is lost with the session's expiry");
    return;
  }
  while (take_key_part(rest, part)) filters_.emplace_back(part);
}

std::vector<std::string> SubscriptionMemory::left_over(const std::vector<std::string>& wanted) const {
  std::vector<std::string> left;
  for (const std::string& filter : filters_) {
    if (std::find(wanted.begin(), wanted.end(), filter) == wanted.end()) left.push_back(filter);
  }
  return left;
}

void SubscriptionMemory::add(const std::vector<std::string>& wanted) {
  std::vector<std::string> all = left_over(wanted);
  all.insert(all.end(), wanted.begin(), wanted.end());
  save(std::move(all));
}

void SubscriptionMemory::settle(std::vector<std::string> filters) { save(std::move(filters)); }

void SubscriptionMemory::save(std::vector<std::string> filters) {
  std::sort(filters.begin(), filters.end());
  if (filters == filters_) return;
  filters_ = std::move(filters);
  std::string value = composite_key(client_id_);
  for (const std::string& filter : filters_) add_key_part(value, filter);
  // Without room for it, which the log tells, the next connection knows what was there before.
  if (intake_.put_state(name_, to_bytes(value)).ok()) intake_.commit(std::nullopt);
}

}  // namespace millrace
