#include "uplink/standby_check.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

void check_standby(const UplinkPlan& plan, const std::vector<UplinkPlan>& all, LoadedConfig& loaded) {
  const std::string& of = plan.shipper.standby_of;
  if (of.empty() || of == plan.name) return;  // itself: said when it was read
  const auto fail = [&](const char* key, const std::string& why) {
    loaded.fail(plan.config, key, text("uplink \"", plan.name, "\": ", why));
  };
  const auto first = std::ranges::find(all, of, &UplinkPlan::name);
  if (first == all.end()) {
    std::vector<std::string_view> names;
    for (const UplinkPlan& other : all) {
      if (other.name != plan.name) names.push_back(other.name);
    }
    const std::string_view nearest = nearest_word(of, names);
    return fail("standby_of", text("there is no uplink \"", of, "\"",
                                   nearest.empty() ? "" : text("; did you mean \"", nearest, "\"?")));
  }
  if (!first->shipper.standby_of.empty())
    return fail("standby_of",
                text("\"", of, "\" is itself a standby, of \"", first->shipper.standby_of, "\""));
  for (const UplinkPlan& other : all) {
    if (&other == &plan) break;
    if (other.shipper.standby_of == of)
      return fail("standby_of",
                  text("\"", of, "\" has a standby, \"", other.name, "\"; one is all there can be"));
  }
  const DrainConfig& own = plan.shipper.drain;
  const DrainConfig& its = first->shipper.drain;
  const auto sorted = [](std::vector<std::string> lanes) {
    std::ranges::sort(lanes);
    return lanes;
  };
  if (sorted(own.lanes) != sorted(its.lanes))
    fail("drain", text("drain.lanes must be those of \"", of, "\": it sends from the same cursor"));
  if (own.max_age != its.max_age)
    fail("drain", text("drain.max_age must be that of \"", of,
                       "\": what one gives up as too old is settled for both"));
}

}  // namespace millrace
