#include "uplink/shipping.h"

#include <algorithm>

#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using D = DrainConfig;
constexpr Duration day = 24h;

template <std::size_t At>
std::int64_t& priority_of(D& drain) {
  return drain.priority[At].second;
}
constexpr Key priority_keys[] = {
    KeysOf<D>::key<priority_of<0>>("alarm", "").within(0, 9),
    KeysOf<D>::key<priority_of<1>>("window", "").within(0, 9),
    KeysOf<D>::key<priority_of<2>>("raw", "").within(0, 9),
};
constexpr Shape priority_shape = shape_of<D>(priority_keys);
D& whole(D& drain) { return drain; }

constexpr Key drain_keys[] = {
    KeysOf<D>::key<&D::lanes>("lanes", "\"window\" and \"alarm\" alone cost the link little"),
    KeysOf<D>::choice<&D::newest_first>(
        "order", "oldest|newest",
        "One queue, device order kept; or what came since the last reconnect goes first"),
    KeysOf<D>::table<whole>("priority", priority_shape,
                            "Lower goes first; a waiting lane gets one batch in ten at least")
        .on_a_line(),
    KeysOf<D>::key<&D::rate>("rate", "For backlog only; or \"500 records/s\"; default: no limit")
        .like("\"64KiB/s\""),
    KeysOf<D>::key<&D::max_age>(
        "max_age",
        "What is older is not sent, and reported as expired; default: whatever its age. Not in the hour "
        "after the clock was set, nor while it is not trusted")
        .within(1min, 3650 * day)
        .like("\"7d\""),
    KeysOf<D>::key<&D::replay_after>("replay_after",
                                     "Sent later than this: marked as replay, and backlog for `rate`")
        .within(1s, 365 * day),
};

// "64KiB/s" or "500 records/s".
bool read_rate(const std::string& words, DrainConfig& out) {
  if (!words.ends_with("/s")) return false;
  std::string_view rest = trim(std::string_view(words).substr(0, words.size() - 2));
  double& to = rest.ends_with("records") ? out.rate_records : out.rate_bytes;
  if (rest.ends_with("records")) rest = trim(rest.substr(0, rest.size() - 7));
  const auto value = parse_size(rest);
  if (!value || *value == 0) return false;
  to = static_cast<double>(*value);
  return true;
}

void settle_drain(Section& section, DrainConfig& drain) {
  for (const std::string& lane : drain.lanes) {
    if (lane != "alarm" && lane != "window" && lane != "raw")
      section.error("lanes", text("\"", lane, "\" is no lane; there are \"alarm\", \"window\", \"raw\""));
  }
  if (drain.lanes.empty()) section.error("lanes", "\"lanes\" is empty: this uplink would send nothing");
  if (!drain.rate.empty() && !read_rate(drain.rate, drain))
    section.error("rate", "\"rate\" is like \"64KiB/s\" or \"500 records/s\"");
}

constexpr Shape drain_shape = shape_of<D, settle_drain>(drain_keys);

using S = ShippingConfig;
using K = KeysOf<S>;
constexpr Key shipping_keys[] = {
    K::choice<&S::start_oldest>("start", "now|oldest",
                                "A new uplink begins with what comes, or with all the log holds"),
    K::key<&S::standby_of>("standby_of",
                           "Sends only while this uplink is down, and then what that one has not sent; it is "
                           "asked for the same lanes")
        .like("\"central\""),
    K::key<&S::standby_after>("standby_after", "Of standby_of: down for longer than this").within(1s, 24h),
    K::size<&S::batch_size>("batch_size", "At most; a batch is what the link carries in some seconds")
        .within(4 << 10, 2 << 20),
    K::key<&S::connect_timeout>("connect_timeout",
                                "Of each: looking the name up, connecting with TLS, the other side's answer")
        .within(1s, 5min),
    K::key<&S::initial_interval>("initial_interval", "Between tries to connect: from here ...")
        .within(50ms, 1h),
    K::key<&S::max_interval>("max_interval", "... to here, with chance").within(1s, 24h),
    K::table<&S::drain>("drain", drain_shape, "What is sent, in which order, and how fast"),
};

void settle(Section& section, ShippingConfig& shipping) {
  if (shipping.max_interval < shipping.initial_interval)
    section.error("max_interval", "\"max_interval\" is less than \"initial_interval\"");
  if (shipping.standby_of.empty()) {
    if (section.has("standby_after"))
      section.error("standby_after", "\"standby_after\" is of a standby: say of whom, with standby_of");
    return;
  }
  if (shipping.standby_of == shipping.name)
    section.error("standby_of", text("\"", shipping.name, "\" cannot stand by for itself"));
  if (section.has("start"))
    section.error("start", text("a standby has no start of its own: it goes on where \"", shipping.standby_of,
                                "\" is"));
}

}  // namespace

const Shape shipping_shape = shape_of<S, settle>(shipping_keys);

bool DrainConfig::sends(const std::string& lane) const {
  return std::find(lanes.begin(), lanes.end(), lane) != lanes.end();
}

}  // namespace millrace
