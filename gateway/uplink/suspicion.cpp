#include "uplink/suspicion.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace millrace {
namespace {

constexpr int losses_to_suspect = 3;
constexpr int rounds_needed = 4, rounds_of_silence_needed = 6;
constexpr int failed_controls_max = 12;
constexpr int neighbours_max = 3;     // that fail before it is not the record
constexpr int given_up_in_a_row = 8;  // of a lane in which nothing passes in between
constexpr int calm_after = 50;        // passes without a loss
constexpr std::size_t cuts_max = 64, seen_max = 4096;
// A loss that comes later has other reasons: a slow link on which the far side lost patience, a timeout in
// between.
constexpr Duration soon = std::chrono::seconds(20);
constexpr Duration control_least = std::chrono::seconds(1);
constexpr Duration fresh_first = std::chrono::minutes(10), fresh_most = std::chrono::hours(24);

bool same(const Suspicion::Part& a, const Suspicion::Part& b) {
  return a.lane == b.lane && a.range == b.range;
}
Range both(Range a, Range b) { return {std::max(a.first, b.first), std::min(a.last, b.last)}; }
bool within(const Suspicion::Part& inner, const Suspicion::Part& outer) {
  return inner.lane == outer.lane && both(inner.range, outer.range) == inner.range;
}

}  // namespace

Suspicion::Trial* Suspicion::find(const Part& part) {
  const auto found = std::find_if(trials_.begin(), trials_.end(),
                                  [&](const Trial& trial) { return same(trial.part, part); });
  return found == trials_.end() ? nullptr : &*found;
}

// As many as it takes: each failed control or neighbour asks for one more.
int Suspicion::rounds_of(const Trial& trial) {
  const int least = trial.swallowed ? rounds_of_silence_needed : rounds_needed;
  return least + std::min(trial.failed_controls, failed_controls_max);
}

void Suspicion::once_more(Trial& trial) {
  trial.due = false;
  trial.rounds = std::min(trial.rounds, rounds_of(trial) - 1);
}

Suspicion::Finding Suspicion::on_doubt(const std::vector<Part>& open, const Loss& loss, Instant now) {
  passed_since_loss_ = 0;
  if (open.empty()) return Finding::nothing;
  if (!alone()) {
    // Rows are cut anew when they are read again: what matters is what they have in common.
    std::vector<std::pair<Part, int>> seen;
    int most = 0;
    for (Part part : open) {
      const auto before = std::find_if(seen_.begin(), seen_.end(), [&](const auto& s) {
        return s.first.lane == part.lane && !both(s.first.range, part.range).empty();
      });
      if (before != seen_.end()) part.range = both(before->first.range, part.range);
      seen.emplace_back(part, before == seen_.end() ? 1 : before->second + 1);
      most = std::max(most, seen.back().second);
    }
    if (loss.apart) {  // those of other ways are still in their own row
      forget_seen(open);
      if (seen_.size() < seen_max) seen.insert(seen.end(), seen_.begin(), seen_.end());
    }
    seen_ = std::move(seen);
    if (most < losses_to_suspect && !loss.said_so) return Finding::nothing;
    alone_ = true;
    watched_.clear();
    for (const Part& part : open) watched_.emplace_back(part.lane, part.range);
    if (!loss.said_so || open.size() > 1) return Finding::nothing;
  }
  // Several were on their way: they left before.
  if (open.size() != 1 || (loss.after > soon && !loss.swallowed)) return Finding::nothing;
  const Part& part = open.front();
  if (!part.single()) {
    if (part.bytes > passed_) {
      row_refused_ = row_refused_ == 0 ? part.bytes : std::min(row_refused_, part.bytes);
      fresh_until_ = std::max(fresh_until_, now + fresh_first);
    }
    return Finding::split;
  }
  if (!find(part)) trials_.push_back({part});
  Trial& trial = *find(part);
  if (!loss.swallowed) trial.lived = std::max(trial.lived, loss.after);
  if (loss.swallowed) {
    trial.swallowed = trial.due = true;
  } else if (loss.said_so) {
    if (credit_[part.lane] > 0) return give_up(part, now);
    trial.due = true;
  } else if (loss.proved && ++trial.rounds >= rounds_of(trial)) {
    trial.due = true;
  }
  return Finding::nothing;
}

// What of these is in a row of losses is not any more.
void Suspicion::forget_seen(const std::vector<Part>& open) {
  std::erase_if(seen_, [&](const auto& s) {
    return std::any_of(open.begin(), open.end(), [&](const Part& part) {
      return s.first.lane == part.lane && !both(s.first.range, part.range).empty();
    });
  });
}

void Suspicion::on_lost(const std::vector<Part>& open, bool was_controlled, bool apart) {
  passed_since_loss_ = 0;
  if (apart) forget_seen(open);
  else seen_.clear();
  if (!was_controlled) return;
  for (const Part& part : open) {
    if (Trial* trial = find(part)) {
      trial->rounds = 0;
      ++trial->failed_controls;
    }
  }
}

void Suspicion::on_passed(const Part& part, Instant) {
  passed_ = std::max(passed_, part.bytes);
  if (part.bytes >= refused_) refused_ = 0;  // somebody mended it, or it was never the size
  if (part.bytes >= row_refused_) row_refused_ = 0;
  credit_[part.lane] = given_up_in_a_row;
  for (Trial& trial : trials_) {
    if (trial.part.lane == part.lane && part.bytes <= trial.part.bytes) trial.others_passed = true;
  }
  std::erase_if(seen_, [&](const auto& s) { return within(s.first, part); });
  forget(part);
  if (++passed_since_loss_ >= calm_after && trials_.empty()) watched_.clear();
  if (watched_.empty()) alone_ = false;
  if (!alone()) cuts_.clear();
}

void Suspicion::keep_only(Lane lane, const std::vector<Range>& open) {
  std::erase_if(trials_, [&](const Trial& trial) {
    const Range& range = trial.part.range;
    return trial.part.lane == lane && std::ranges::none_of(open, [&](const Range& one) {
             return one.first <= range.last && range.first <= one.last;
           });
  });
}

void Suspicion::forget(const Part& part) {
  std::erase_if(trials_, [&](const Trial& trial) { return within(trial.part, part); });
  std::vector<std::pair<Lane, Range>> left;
  for (const auto& [lane, range] : watched_) {
    const Range below{range.first, std::min(range.last, part.range.first - 1)};
    const Range above{std::max(range.first, part.range.last + 1), range.last};
    if (lane != part.lane || part.range.last < range.first || part.range.first > range.last) {
      left.emplace_back(lane, range);
      continue;
    }
    if (!below.empty()) left.emplace_back(lane, below);
    if (!above.empty()) left.emplace_back(lane, above);
  }
  watched_ = std::move(left);
  if (watched_.empty()) alone_ = false;
}

void Suspicion::cut_at(Lane lane, Sequence first) {
  if (cuts_.size() >= cuts_max) cuts_.erase(cuts_.begin());
  cuts_.emplace_back(lane, first);
}

Suspicion::Finding Suspicion::on_too_large(const Part& part, const std::string& words) {
  // Words that may be of everything: what passes in another lane speaks against that, too.
  int* credit = &credit_[part.lane];
  for (auto& [lane, left] : credit_) {
    if (!words.empty() && left > *credit) credit = &left;
  }
  if (*credit > 0) {
    --*credit;
    forget(part);
    return Finding::give_up;
  }
  if (!find(part)) trials_.push_back({part});
  find(part)->due = find(part)->too_large = true;
  find(part)->words = words;
  return Finding::nothing;
}

Suspicion::Finding Suspicion::give_up(const Part& part, Instant now) {
  const bool by_size = part.bytes > passed_;
  if (by_size) {
    refused_ = refused_ == 0 ? part.bytes : std::min(refused_, part.bytes);
    fresh_for_ = fresh_for_.count() == 0 ? fresh_first : std::min<Duration>(fresh_for_ * 2, fresh_most);
    fresh_until_ = now + fresh_for_;
  }
  --credit_[part.lane];
  forget(part);
  return Finding::give_up;
}

Suspicion::Finding Suspicion::on_neighbour_passed(const Part& suspect, Instant now) {
  Trial* trial = find(suspect);
  if (!trial || !trial->due) return Finding::nothing;
  if (trial->too_large) {
    forget(suspect);
    return Finding::give_up;
  }
  if (trial->swallowed && ++trial->rounds < rounds_of(*trial)) {
    trial->due = trial->others_passed = false;
    return Finding::nothing;
  }
  if (!trial->swallowed && std::exchange(trial->shared_fate, false)) {
    once_more(*trial);
    return Finding::nothing;
  }
  return give_up(suspect, now);
}

Suspicion::Finding Suspicion::on_neighbour_failed(const Part& suspect) {
  Trial* trial = find(suspect);
  if (!trial || !trial->due) return Finding::nothing;
  const bool enough = ++trial->failed_neighbours >= neighbours_max;
  trial->others_passed = false;  // not any more
  trial->shared_fate = true;
  if (enough || !trial->too_large) (void)no_neighbour(suspect);
  if (trial->swallowed) {
    trial->rounds = 0;
    ++trial->failed_controls;
  }
  if (!enough) return Finding::nothing;
  trial->failed_neighbours = 0;
  return Finding::blocked;
}

Duration Suspicion::control(const Part& part) const {
  const Trial* trial = find(part);
  return trial && !trial->too_large ? std::max<Duration>(2 * trial->lived, control_least) : Duration{0};
}

std::vector<Suspicion::Part> Suspicion::waiting_for_neighbours(Lane lane) const {
  std::vector<Part> parts;
  for (const Trial& trial : trials_) {
    if (trial.part.lane == lane && trial.due) parts.push_back(trial.part);
  }
  return parts;
}

std::size_t Suspicion::neighbour_below(const Part& suspect) const {
  const Trial* trial = find(suspect);
  const std::size_t limit = refused_ > 0 ? refused_ : SIZE_MAX;
  return trial && !trial->too_large ? std::min(limit, suspect.bytes) : limit;
}

bool Suspicion::no_neighbour(const Part& suspect) {
  Trial* trial = find(suspect);
  if (!trial || trial->others_passed) return trial != nullptr;
  once_more(*trial);
  return false;
}

std::string Suspicion::charge(const Part& part) const {
  const Trial* trial = find(part);
  const std::string size = text(part.bytes, " bytes");
  if (trial && trial->swallowed) {
    return text("never acknowledged: ", size,
                " had no answer though others had, again and again, and smaller ones pass");
  }
  if (trial && !trial->words.empty()) return trial->words;
  if (!trial || trial->too_large || trial->rounds == 0) return "refused for its size: " + size;
  return text("refused by hanging up: ", size, " ended ", trial->rounds,
              " good connections, and smaller ones pass");
}

std::string Suspicion::limit_words() const {
  if (refused_ == 0) return "";
  return text("a limit of the far side between ", passed_, " and ", refused_, " bytes is suspected");
}

}  // namespace millrace
