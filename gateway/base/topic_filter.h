// MQTT topic filters (MQTT 5, section 4.7): which are well formed, and what they match. The one judge of
// both, for subscriptions, routes and access lists: a filter that one place would refuse must not match
// anything in another.
#pragma once

#include <string_view>

#include "base/status.h"

namespace millrace {

// `invalid` says what is wrong: a wildcard that shares its level, a # that is not the last, no filter at all,
// and with $share/ the filter of a subscription, which is not one of topics.
Status check_topic_filter(std::string_view filter);
// The same for what is subscribed to, which may be shared (section 4.8.2): "$share/NAME/FILTER".
Status check_subscription(std::string_view filter);
// The filter of topics in a subscription that may be shared.
std::string_view topics_of_subscription(std::string_view filter);

// Whether `filter` matches `topic`, which has no wildcards. A filter that is not well formed matches nothing.
// Topics that begin with $ are not matched by a wildcard at the front (section 4.7.2).
bool filter_matches(std::string_view filter, std::string_view topic);

}  // namespace millrace
