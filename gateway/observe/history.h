// How the last day went, for a picture: what came, what waited and what was lost in each five minutes, and in
// each twenty seconds of the last quarter of an hour; and how each uplink was. Fixed rings, 13 KB and 3 KB an
// uplink, fed by the daily round: it costs nothing while nobody looks. Kept in memory alone: a restart begins
// anew. Pure, time is an argument.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "observe/faults.h"
#include "observe/gateway_state.h"

namespace millrace {

class History {
 public:
  static constexpr Duration day_step = std::chrono::minutes(5), quarter_step = std::chrono::seconds(20);
  static constexpr std::size_t day_steps = 288, quarter_steps = 45;
  // that have a line of their own; of more it is not kept how they were
  static constexpr std::size_t uplinks_max = 32;

  // How something was, the worst of a step.
  enum Was : std::uint8_t { unknown, good, troubled, needs_person };

  void look(const GatewayState& state, const std::vector<Fault>& faults, Instant now);
  // {"day": {"step_seconds", "into_step_seconds", "in": [records a second], "waiting": [the most], "lost":
  // [records], "was": [how]}, "quarter": the same, "uplinks": [{"name", "day": "0112..", "quarter"}]}: the
  // oldest first, the last one not over yet. Of steps that nobody saw: null, '0'.
  std::string json(Instant now) const;

 private:
  struct Step {
    std::int64_t number = -1;  // of time / step; -1: never
    float in = 0, lost = 0, waiting = 0, seconds = 0;
    Was was = unknown;
  };
  template <std::size_t N>
  struct Ring {
    Duration step;
    std::array<Step, N> steps{};
    Step& at(std::int64_t number);
    const Step* seen(std::int64_t number) const;
  };
  template <std::size_t N>
  struct Strip {
    std::array<std::uint8_t, N> was{};
    std::array<std::int64_t, N> number{};
    void note(std::int64_t step, Was how);
    std::string words(std::int64_t last) const;
  };
  struct Strips {
    Strip<day_steps> day;
    Strip<quarter_steps> quarter;
  };

  struct Totals {
    double in = 0, lost = 0;
  };
  template <std::size_t N>
  void note(Ring<N>& ring, const Totals& more, double waiting, Was was, Instant now, double seconds);
  void note_uplinks(const GatewayState& state, Instant now);

  Ring<day_steps> day_{day_step, {}};
  Ring<quarter_steps> quarter_{quarter_step, {}};
  std::map<std::string, Strips> uplinks_;
  Totals last_;
  Instant last_at_;
};

}  // namespace millrace
