// The inputs, or the uplinks, of a gateway whose configuration changes while it runs: one state machine a
// name. It knows what runs under the name, whether that is stopping, and what the configuration wants there.
//
// The last configuration always wins. A part that does not fit it any more is stopped once; when its stop has
// called back it is destroyed, and only then is its successor made, of the plan that is wanted at that
// moment; or nobody follows. So however reloads overlap, there are never two parts of one name, and what was
// removed does not come back.
//
// A plan may need what is not there yet (a file). It waits for that, is told once for each change, and starts
// by itself when it comes; who runs under its name as the configuration was before goes on until then.
//
// What is made starts when it may: the owner can have it wait, and a plan names its claims (a port, a client
// identifier at a broker, a tty), so that it waits for whoever goes, and still has one of them under another
// name.
//
// Who does not stop is told by name. A stop that never calls back holds its name and its claims, and nothing
// else.
//
// A Plan has a `name`, a `config` that can be compared, and `claims`; a Part has `start()`, and `stop(done)`
// that also works before start(). On the loop.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/logger.h"
#include "base/text.h"
#include "loop/loop.h"

namespace millrace {

template <typename Plan, typename Part>
class Slots {
 public:
  static constexpr Duration late_after = std::chrono::seconds(10);
  static constexpr Duration look_first = std::chrono::milliseconds(500), look_last = std::chrono::seconds(10);

  enum class State { waiting, running, stopping };
  struct Rules {
    std::string kind;  // "input", for the log
    std::function<std::unique_ptr<Part>(const Plan&)> make;
    std::function<bool(const Plan&)> may_start;  // asked for what is made, at each go_on()
    // its part has stopped, and the configuration wants none
    std::function<void(const std::string& name)> removed;
    std::function<void()> stopped;                    // a part has: others may wait for what it held
    std::function<std::string(const Plan&)> missing;  // what is not there yet, in words; empty: it can start
  };

  Slots(Loop& loop, Rules rules) : loop_(loop), rules_(std::move(rules)) {}
  ~Slots() { *alive_ = false; }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  // The configuration as it is now. What runs as it says goes on; what does not is told to stop, and what is
  // missing is made. Nothing starts before go_on(). How many names changed.
  std::size_t want(const std::vector<Plan>& plans) {
    if (stopped_) return 0;
    std::size_t changed = 0;
    for (auto& [name, slot] : slots_) {
      const auto plan =
          std::find_if(plans.begin(), plans.end(), [&name = name](const Plan& p) { return p.name == name; });
      const bool listed = plan != plans.end();
      const bool same = slot.wanted ? listed && plan->config == slot.wanted->config : !listed;
      if (!same) ++changed;
      slot.wanted = listed ? std::optional<Plan>(*plan) : std::nullopt;
    }
    for (const Plan& plan : plans) {
      if (slots_.contains(plan.name)) continue;
      ++changed;
      slots_[plan.name].wanted = plan;
    }
    // First those that go: who comes may want what they hold.
    for (auto& [name, slot] : slots_) {
      if (slot.part && slot.state == State::running) look(name, slot);
      if (slot.part && slot.state != State::stopping && !slot.fits() && !slot.stands_in())
        begin_stop(name, slot);
    }
    for (auto& [name, slot] : slots_) {
      if (!slot.part) make(slot);
    }
    return changed;
  }

  // Starts what was made and may start.
  void go_on() {
    if (stopped_) return;
    for (auto& [name, slot] : slots_) {
      if (!slot.part || slot.state != State::waiting || held_by_leaving(slot.wanted->claims)) continue;
      if (rules_.may_start && !rules_.may_start(*slot.wanted)) continue;
      look(name, slot);
      if (!slot.missing.empty()) continue;
      slot.state = State::running;
      slot.part->start();
    }
    look_later();
  }

  // All of them, for good; also those that are stopping already. `done` runs once, later, when none is left.
  void stop(std::function<void()> done) {
    stopped_ = std::move(done);
    look_timer_.reset();
    for (auto& [name, slot] : slots_) {
      slot.wanted.reset();
      if (slot.part && slot.state != State::stopping) begin_stop(name, slot);
    }
    loop_.post([this, alive = alive_] {
      if (*alive) all_gone();
    });
  }

  // The part that the configuration wants under this name; null while its predecessor is stopping.
  Part* find(const std::string& name) {
    const auto found = slots_.find(name);
    return found == slots_.end() || !found->second.part || found->second.state == State::stopping
               ? nullptr
               : found->second.part.get();
  }
  // Whether anybody is there under this name, be it only to stop.
  bool contains(const std::string& name) const { return slots_.contains(name); }
  std::size_t size() const { return slots_.size(); }
  // What the plan of this name waits for; empty: nothing.
  std::string waits_for(const std::string& name) const {
    const auto found = slots_.find(name);
    return found == slots_.end() ? std::string() : found->second.missing;
  }
  // Whether somebody who goes has one of these: he is stopping, or stands in for a successor that wants
  // others.
  bool held_by_leaving(const std::vector<std::string>& claims) const {
    return std::any_of(slots_.begin(), slots_.end(), [&](const auto& entry) {
      const Slot& slot = entry.second;
      return slot.part && (slot.state == State::stopping || slot.stands_in()) &&
             std::any_of(claims.begin(), claims.end(), [&](const std::string& claim) {
               return std::find(slot.claims.begin(), slot.claims.end(), claim) != slot.claims.end();
             });
    });
  }
  // What the parts that are here hold, and those that are wanted.
  std::set<std::string> claims() const {
    std::set<std::string> all;
    for (const auto& [name, slot] : slots_) {
      if (slot.part) all.insert(slot.claims.begin(), slot.claims.end());
      if (slot.wanted) all.insert(slot.wanted->claims.begin(), slot.wanted->claims.end());
    }
    return all;
  }
  std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& [name, slot] : slots_) all.insert(name);
    return all;
  }
  std::string stopping_names() const {
    std::string names;
    for (const auto& [name, slot] : slots_) {
      if (slot.part && slot.state == State::stopping) names += text(names.empty() ? "" : ", ", name);
    }
    return names;
  }
  // `see(name, part, state)`.
  template <typename See>
  void for_each(See see) const {
    for (const auto& [name, slot] : slots_) {
      if (slot.part) see(name, *slot.part, slot.state);
    }
  }

 private:
  struct Slot {
    std::optional<Plan> wanted;
    std::unique_ptr<Part> part;
    decltype(Plan::config) config;  // of the plan the part was made from, and what that claims
    std::vector<std::string> claims;
    State state = State::waiting;
    std::unique_ptr<Timer> late;
    std::string missing;  // what `wanted` waits for
    bool fits() const { return wanted && wanted->config == config; }
    // For who is wanted and cannot start yet.
    bool stands_in() const { return state == State::running && !fits() && !missing.empty(); }
  };

  void make(Slot& slot) {
    slot.config = slot.wanted->config;
    slot.claims = slot.wanted->claims;
    slot.state = State::waiting;
    slot.part = rules_.make(*slot.wanted);
  }

  // What runs as it is wanted needs nothing any more: what becomes of its files is its own business.
  void look(const std::string& name, Slot& slot) {
    const bool asks = rules_.missing && slot.wanted && !(slot.state == State::running && slot.fits());
    const std::string missing = asks ? rules_.missing(*slot.wanted) : std::string();
    if (missing == slot.missing) return;
    if (!missing.empty()) {
      LOG_WARN(rules_.kind, " ", name, ": waiting for ", missing,
               slot.state == State::running ? "; until then it goes on as it was configured before"
                                            : "; it starts by itself");
      look_in_ = look_first;
    } else if (slot.wanted) {
      LOG_INFO(rules_.kind, " ", name, ": what it waited for is there");
    }
    slot.missing = missing;
  }

  void look_later() {
    if (look_timer_ || stopped_ ||
        std::ranges::none_of(slots_, [](const auto& entry) { return !entry.second.missing.empty(); }))
      return;
    look_timer_ = loop_.after(look_in_, [this] { look_again(); });
  }

  void look_again() {
    look_timer_.reset();
    look_in_ = std::min(look_in_ * 2, look_last);
    for (auto& [name, slot] : slots_) {
      if (slot.missing.empty() || slot.state != State::running) continue;
      look(name, slot);
      if (slot.missing.empty()) begin_stop(name, slot);
    }
    go_on();
  }

  void begin_stop(const std::string& name, Slot& slot) {
    slot.state = State::stopping;
    slot.late = loop_.after(late_after, [this, name, &slot] {
      LOG_WARN(rules_.kind, " ", name, ": told to stop ", format_duration(late_after), " ago, and has not",
               slot.wanted ? "; what the configuration wants there starts when it has" : "");
    });
    // Posted: a part may be called after its own `done` as long as that call lasts.
    slot.part->stop([this, alive = alive_, name] {
      loop_.post([this, alive, name] {
        if (*alive) on_stopped(name);
      });
    });
  }

  void on_stopped(const std::string& name) {
    const auto found = slots_.find(name);
    Slot& slot = found->second;
    slot.late.reset();
    slot.part.reset();
    if (slot.wanted) {
      make(slot);
    } else {
      slots_.erase(found);
      if (rules_.removed && !stopped_) rules_.removed(name);
    }
    if (stopped_) return all_gone();
    go_on();
    if (rules_.stopped) rules_.stopped();
  }

  void all_gone() {
    std::erase_if(slots_, [](const auto& entry) { return !entry.second.part; });
    if (slots_.empty() && !told_) {
      told_ = true;
      stopped_();
    }
  }

  Loop& loop_;
  const Rules rules_;
  std::map<std::string, Slot> slots_;
  std::function<void()> stopped_;  // set: stopping, or stopped
  bool told_ = false;
  Duration look_in_ = look_first;
  std::unique_ptr<Timer> look_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
