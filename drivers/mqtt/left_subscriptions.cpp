#include "drivers/mqtt/left_subscriptions.h"

#include "base/composite_key.h"
#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "drivers/mqtt/subscription_memory.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::string_view since_prefix = "unread-session/";

}  // namespace

void LeftSubscriptions::remove(const std::string& state) {
  if (!intake_.state(state)) return;
  (void)intake_.put_state(state, {});  // removing is never refused
  put_ = true;
}

// How much longer it is remembered, by when it was first seen without a reader.
Duration LeftSubscriptions::left_of(const std::string& since) {
  const std::int64_t now = passed_us_();
  const auto bytes = intake_.state(since);
  if (!bytes) {
    Bytes seen;
    wire::Writer(seen).put_varint(static_cast<std::uint64_t>(now));
    (void)intake_.put_state(since, std::move(seen));  // refused: it is tried again at the next look
    put_ = true;
    return keep_max_;
  }
  const auto left_at = static_cast<std::int64_t>(wire::Reader(*bytes).get_varint());
  return keep_max_ - std::chrono::microseconds(std::max<std::int64_t>(0, now - left_at));
}

void LeftSubscriptions::look(const Present& present) {
  const auto before = std::exchange(kept_, {});
  for (const std::string& state : intake_.states(SubscriptionMemory::prefix)) {
    const auto of = SubscriptionMemory::whose(intake_, state);
    const std::string since =
        text(since_prefix, std::string_view(state).substr(SubscriptionMemory::prefix.size()));
    if (!of || present.claims.contains(SubscriptionMemory::claim(of->server, of->client_id))) {
      // An input of another name reads it: that has a memory of its own.
      if (!of || !present.names.contains(of->input)) remove(state);
      remove(since);
      continue;
    }
    const Duration left = left_of(since);
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
  if (std::exchange(put_, false)) (void)intake_.commit(std::nullopt);
}

}  // namespace millrace
