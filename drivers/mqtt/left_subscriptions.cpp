#include "drivers/mqtt/left_subscriptions.h"

#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "drivers/mqtt/subscription_memory.h"

namespace millrace {
namespace {

constexpr std::string_view since_prefix = "unread-session/";

}  // namespace

void LeftSubscriptions::find(const Present& present, const std::map<std::string, Kept>& before) {
  for (const std::string& state : intake_.states(SubscriptionMemory::prefix)) {
    const auto of = SubscriptionMemory::whose(intake_, state);
    const std::string since =
        text(since_prefix, std::string_view(state).substr(SubscriptionMemory::prefix.size()));
    if (!of || present.claims.contains(SubscriptionMemory::claim(of->server, of->client_id))) {
      // An input of another name reads it: that has a memory of its own.
      if (!of || !present.names.contains(of->input)) remove(state);
      if (intake_.state(since)) remove(since);
      continue;
    }
    const Duration left = left_since(since);
    if (left.count() <= 0) {
      remove(state);
      remove(since);
      continue;
    }
    const std::string place = text(of->client_id, " at ", of->server);
    kept_[place] = {1, left};
    if (before.contains(place)) continue;
    LOG_WARN("the session ", shown(of->client_id, 256), " of input ", of->input, " at ", of->server,
             " has no reader any more, and the broker keeps in it what comes; an input with client_id = \"",
             shown(of->client_id, 256), "\" there reads it, else it is lost with the session's expiry");
  }
}

}  // namespace millrace
