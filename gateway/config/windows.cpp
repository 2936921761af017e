#include "config/windows.h"

#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = WindowConfig;
using K = KeysOf<C>;
constexpr Duration year = 366 * 24h;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"1min\""),
    K::key<&C::size>("size", "").within(1s, year),
    K::key<&C::allowed_lateness>("allowed_lateness", "A late reading gives the window again, as a revision")
        .within(0s, year),
    K::key<&C::idle_close>("idle_close", "A device silent for this long after a window's end closes it")
        .within(1s, year),
    K::key<&C::future_max>(
        "future_max",
        "Readings further ahead of the gateway's clock, and of their device's pace, are not aggregated")
        .within(0s, year),
    K::key<&C::keys_max>("keys_max", "Devices' metrics it is made of; further ones are refused, and told")
        .within(1, 10'000'000),
    K::size<&C::state_max>("state_max",
                           "What its state may take in the log; default: an eighth of max_size, shared by "
                           "all windows, up to 8 MiB")
        .within(64 << 10, 1 << 30),
    K::key<&C::metrics>("metrics", "Default: every number").like("[\"temperature\"]"),
    K::words<&C::aggregates>("aggregates", built_aggregates,
                             "What is made of readings beside count, mean, min and max")
        .like("[\"stddev\"]"),
};

void settle(Section& section, WindowConfig& window) {
  window.line = section.line();
  if (window.aggregates.size() >= window_aggregates_max)
    section.error("aggregates", text("a window has at most ", window_aggregates_max - 1, " of them"));
  if (!section.has("state_max")) window.state_max = 0;  // bound_state() says how much
}

}  // namespace

const Shape window_shape = shape_of<C, settle>(keys);

}  // namespace millrace
