#include "log/log_space.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/state_table.h"

namespace millrace {
namespace {

constexpr Duration look_again_after = std::chrono::minutes(1);

}  // namespace

void LogSpace::read(Lane lane, Range range, Log::Direction direction, std::size_t bytes_max,
                    std::function<void(Result<std::vector<Row>>)> done) {
  range.last = std::min(range.last, p_.committed);
  if (p_.cache.reaches(range.first) && direction == Log::Direction::up) {
    p_.loop.post([done = std::move(done), rows = p_.cache.read(lane, range, bytes_max)]() mutable {
      done(std::move(rows));
    });
    return;
  }
  // a damaged file is about to be replaced: what it holds is not to be seen before
  if (!p_.mending.waiting.empty()) {
    p_.mending.waiting.begin()->second.push_back(
        [this, alive = p_.alive, lane, range, direction, bytes_max, done = std::move(done)](Status status) {
          if (!status.ok() || !*alive)
            return done(status.ok() ? Status{Code::closed, "the log is closed"} : status);
          read(lane, range, direction, bytes_max, done);
        });
    return;
  }
  // part of it is withheld from flash: whoever reads so far back shows that it must not be
  if (range.last > p_.durable) {
    p_.withheld.flush();
    (p_.groups.writing ? p_.groups.writing_dones : p_.open.dones)
        .push_back([this, lane, range, direction, bytes_max, done = std::move(done)](const Status& status) {
          if (status.ok()) read(lane, range, direction, bytes_max, done);
          else done(status);
        });
    return;
  }
  std::vector<SegmentInfo> segments;
  for (const auto& [id, segment] : p_.sealed) {
    if (!segment.lanes[static_cast<std::size_t>(lane)].empty()) segments.push_back(segment);
  }
  // What is on its way to the head is read where it still lies.
  for (const GroupWrite::Copy* copy : p_.copies()) {
    if (!copy->lanes[static_cast<std::size_t>(lane)].empty()) segments.push_back(copy->segment);
  }
  segments.push_back(p_.head);
  auto result = std::make_shared<ReadRows>();
  p_.loop.run_blocking(
      "read",
      [reader = p_.reader, segments = std::move(segments), head = p_.head.id, lane, range, direction,
       bytes_max, result] { *result = reader->read(segments, head, lane, range, direction, bytes_max); },
      [this, alive = p_.alive, lane, range, direction, bytes_max, result, done = std::move(done)] {
        if (!*alive) return done(Status{Code::closed, "the log is closed"});
        if (result->fault.ok()) return done(std::move(result->rows));
        if (result->fault_in != p_.head.id && !p_.sealed.contains(result->fault_in)) {
          // It went meanwhile, and its rows are in the head now; or it is about to, and whoever copies it
          // says.
          const auto copies = p_.copies();
          const bool still = std::any_of(copies.begin(), copies.end(), [&](const GroupWrite::Copy* copy) {
            return copy->segment.id == result->fault_in;
          });
          return still ? done(result->fault) : read(lane, range, direction, bytes_max, done);
        }
        p_.mending.on_read_fault(
            result->fault_in, result->fault,
            [this, alive, lane, range, direction, bytes_max, result, done](Status status) {
              if (!*alive) return done(Status{Code::closed, "the log is closed"});
              if (status.ok()) return read(lane, range, direction, bytes_max, done);
              if (result->rows.empty()) return done(status);
              done(std::move(result->rows));
            });
      });
}

std::uint64_t LogSpace::bytes_used() const {
  std::uint64_t sum = p_.head.file_bytes + p_.aside_bytes + p_.unwritten.file_bytes();
  for (const auto& [id, segment] : p_.sealed) sum += segment.file_bytes;
  return sum + p_.state.file_bytes();
}

// What the open group and the one in the air will add.
std::uint64_t LogSpace::bytes_coming() const {
  std::uint64_t bytes = p_.open.waiting();
  if (p_.groups.writing) {
    for (const Row& row : p_.groups.writing->rows) bytes += row.columns->size();
  }
  return bytes;
}

// Whether less than `margin` is left beside what a roll-over may need, and state when its files become one.
bool LogSpace::over(std::uint64_t margin) const {
  const std::uint64_t state = p_.state.has_files() ? p_.state.user_bytes() : 0;
  return bytes_used() + bytes_coming() + state + margin + 3 * p_.options.segment_bytes > p_.options.bytes_max;
}

// What state and a roll-over leave for rows is not all for them: an inbox that is on its way must fit, and a
// roll-over makes the head half as large at once, so that there is room again only when more than that was
// given back. Of a small log whose state has its share both are less: what never comes free would be waited
// for, for good.
bool LogSpace::full() const {
  if (p_.options.when_full != WhenFull::block) return false;
  return over(inbox_margin() + (p_.groups.full ? std::min(2 * p_.options.segment_bytes, share()) : 0));
}

std::uint64_t LogSpace::inbox_margin() const { return std::min(p_.options.inbox_bytes, share()); }

std::uint64_t LogSpace::share() const {
  const std::uint64_t state = p_.state.file_bytes() + (p_.state.has_files() ? p_.state.user_bytes() : 0);
  const std::uint64_t others = state + 3 * p_.options.segment_bytes;
  return (p_.options.bytes_max - std::min(p_.options.bytes_max, others)) / 4;
}

// Lets go of segments that nobody wants any more, and of the oldest one when the bound asks for it.
void LogSpace::make_room() {
  if (reclaiming_ || p_.stopping) return;
  const bool tight = over(0) || full();
  if (p_.aside_bytes > 0 && tight) {
    remove_aside(p_.folder);
    p_.aside_bytes = 0;
  }
  if (tight) p_.state.remove_retired(p_.folder);
  // For the log's own bound alone: a disk that others fill, or that fails, evicts nothing. And only while
  // records come in: when only settles do, rows on their way north are better delivered than evicted.
  const bool evict = p_.options.when_full == WhenFull::evict && over(0) && p_.groups.coming;
  std::vector<SegmentInfo> oldest_first;
  for (const auto& [id, segment] : p_.sealed) oldest_first.push_back(segment);
  for (const SegmentInfo& segment : oldest_first) {
    bool wanted = false;
    for (const Lane lane : all_lanes)
      wanted = wanted || (lane != Lane::dead && p_.cursors.wanted(segment, lane));
    if (wanted && !evict) continue;
    // Of what is older than an evicted row nothing is delivered: no younger segment goes before this one,
    // which has its turn when the device is out of it, or when it is mended.
    if (wanted && p_.mending.stays(segment.id)) return;
    if (p_.mending.waiting.contains(segment.id)) continue;
    if (!wanted && !tight && mostly_letters(segment)) continue;
    if (!wanted && segment.lanes[static_cast<std::size_t>(Lane::dead)].empty()) {
      reclaim(segment, {}, false);
      continue;
    }
    if (p_.mending.stays(segment.id)) continue;
    return look_and_reclaim(segment, wanted);
  }
  if (evict && !p_.open.seal_next && p_.head.row_bytes() >= p_.options.segment_bytes / 4 &&
      !p_.groups.writing) {
    p_.open.seal_next = true;  // the head is all there is: close it, so that it can go next time
    p_.open.dirty = true;
    p_.groups.schedule_close();
  }
}

// Its rows must be looked at: which stay, and how many are lost.
void LogSpace::look_and_reclaim(const SegmentInfo& segment, bool evict) {
  reclaiming_ = true;
  auto rows = std::make_shared<Result<std::vector<ListedRow>>>(Status{Code::closed, "not read"});
  p_.loop.run_blocking(
      "read", [reader = p_.reader, segment, evict, rows] { *rows = reader->list(segment, evict); },
      [this, alive = p_.alive, segment, rows, evict] {
        if (!*alive) return;
        reclaiming_ = false;
        // A device is being taken out of it meanwhile: that commit looks again.
        if (p_.mending.stays(segment.id)) return;
        // what is evicted must be told, and that cannot be written
        if (evict && !p_.stats.trouble.empty()) return;
        if (rows->ok()) {
          const bool stays = !evict && !over(0) && !full() && stays_for_letters(segment, rows->value());
          return stays ? make_room() : reclaim(segment, rows->value(), evict);
        }
        p_.mending.on_read_fault(segment.id, rows->status(), [this, alive, segment](Status status) {
          // What cannot be mended cannot be kept either, when there is no room left. What could not be
          // looked at just now can: no descriptor or a slow disk is no damage.
          if (!*alive || status.ok() || status.code() == Code::unavailable || !over(0)) return;
          if (p_.mending.given_up(segment.id)) p_.mending.lose_segment(segment.id, "damaged file");
        });
      });
}

// A segment with more dead letters than this stays for them, as long as all of them have not more than their
// share of the log: were they carried from head to head, each would soon be full of them again.
std::uint64_t LogSpace::letters_carried_max() const { return p_.options.segment_bytes / 4; }

// Its rows are looked at again when some of its letters were struck, but not for each of them: a retry of
// thousands strikes them one after the other.
bool LogSpace::mostly_letters(const SegmentInfo& segment) const {
  const LaneSpan& dead = segment.lanes[static_cast<std::size_t>(Lane::dead)];
  const auto looked = looked_at_.find(segment.id);
  if (looked == looked_at_.end() && dead.bytes <= letters_carried_max()) return false;
  if (!letters_have_room()) return false;
  const std::uint64_t struck = p_.struck.count_in({dead.first, dead.last});
  if (looked == looked_at_.end()) return struck == 0;
  if (struck == looked->second.struck) return true;
  return p_.loop.now() - looked->second.at < look_again_after && !p_.struck.has_all({dead.first, dead.last});
}

bool LogSpace::letters_have_room() const { return letter_bytes() <= p_.options.bytes_max / dead_share; }

std::uint64_t LogSpace::letter_bytes() const {
  std::uint64_t bytes = letter_bytes(p_.head);
  for (const auto& [id, segment] : p_.sealed) bytes += id == p_.head.id ? 0 : letter_bytes(segment);
  return bytes;
}

// Of those that were not struck: as they were found, else by the part of the numbers that was.
std::uint64_t LogSpace::letter_bytes(const SegmentInfo& segment) const {
  const LaneSpan& dead = segment.lanes[static_cast<std::size_t>(Lane::dead)];
  if (dead.empty()) return 0;
  const auto looked = looked_at_.find(segment.id);
  if (looked != looked_at_.end()) return looked->second.bytes;
  const auto numbers = static_cast<double>(dead.last - dead.first + 1);
  const auto left = numbers - static_cast<double>(p_.struck.count_in({dead.first, dead.last}));
  return static_cast<std::uint64_t>(static_cast<double>(dead.bytes) * left / numbers);
}

// Whether it stays for its letters, now that its rows are known.
bool LogSpace::stays_for_letters(const SegmentInfo& segment, const std::vector<ListedRow>& rows) {
  std::uint64_t bytes = 0;
  for (const ListedRow& listed : rows) {
    const Row& row = listed.row;
    if (row.lane == Lane::dead && !p_.struck.has_all({row.first, row.last()})) bytes += listed.bytes;
  }
  const LaneSpan& dead = segment.lanes[static_cast<std::size_t>(Lane::dead)];
  looked_at_[segment.id] = {p_.struck.count_in({dead.first, dead.last}), bytes, p_.loop.now()};
  const bool stays = bytes > letters_carried_max() && letters_have_room();
  if (!stays) looked_at_.erase(segment.id);
  return stays;
}

// One commit: the rows that stay move to the head, the rest is settled as evicted with a loss record, the
// table forgets the segment. The file goes after that commit.
void LogSpace::reclaim(const SegmentInfo& segment, const std::vector<ListedRow>& rows, bool evict) {
  if (!p_.sealed.contains(segment.id)) return;
  // What the log holds of each lane besides: alarms and windows stay, but not for ever in the place of
  // everything else.
  std::array<std::uint64_t, lane_count> lane_bytes{};
  for (const SegmentInfo& other : p_.segments()) {
    if (other.id == segment.id) continue;
    for (const Lane lane : all_lanes)
      lane_bytes[static_cast<std::size_t>(lane)] +=
          lane == Lane::dead ? letter_bytes(other) : other.lanes[static_cast<std::size_t>(lane)].bytes;
  }
  const auto lane_bytes_max = [&](Lane lane) -> std::uint64_t {
    if (lane == Lane::dead) return p_.options.bytes_max / dead_share;
    if (!evict) return UINT64_MAX;
    return lane == Lane::alarm || lane == Lane::window ? p_.options.bytes_max / 5 : 0;
  };
  std::uint64_t keep_budget = p_.options.segment_bytes / 2;
  GroupWrite::Copy copy;
  copy.segment = segment;
  for (const Lane lane : {Lane::alarm, Lane::dead, Lane::window, Lane::raw, Lane::held}) {
    for (const ListedRow& listed : rows) {
      const Row& row = listed.row;
      if (row.lane != lane) continue;
      SegmentInfo only = segment;
      only.lanes = {};
      only.lanes[static_cast<std::size_t>(lane)].add(row.first, row.last(), row.count, listed.bytes);
      if (!p_.cursors.wanted(only, lane)) continue;
      if (lane == Lane::dead && p_.struck.has_all({row.first, row.last()})) continue;
      std::uint64_t& held = lane_bytes[static_cast<std::size_t>(lane)];
      if (held + listed.bytes <= lane_bytes_max(lane) && listed.bytes <= keep_budget) {
        keep_budget -= listed.bytes;
        held += listed.bytes;
        copy.firsts.push_back(row.first);
        copy.lanes[static_cast<std::size_t>(lane)].add(row.first, row.last(), row.count, listed.bytes);
      } else if (lane == Lane::dead) {
        copy.lost.push_back({row.first, row.last()});
        p_.mending.lose_letters({{row.first, row.last()}}, row.count, How::evicted, "dead_full");
      } else {
        // The oldest go first: below a raw or held row that is evicted nothing of its lane is left.
        p_.mending.lose_row(listed, lane == Lane::raw || lane == Lane::held ? 1 : row.first, How::evicted,
                            "evicted");
      }
    }
  }
  if (!copy.firsts.empty()) p_.open.copies.push_back(std::move(copy));
  drop_segment(segment.id);
}

// The table forgets the segment in the open group; the file goes once that is committed.
void LogSpace::drop_segment(std::uint32_t id) {
  p_.sealed.erase(id);
  looked_at_.erase(id);
  p_.state.drop(segment_key(id));
  p_.open.removals.push_back(segment_name(id));
  p_.loop.run_blocking(
      "read", [reader = p_.reader, id] { reader->forget(id); }, [] {});
  p_.open.dirty = true;
  p_.groups.schedule_close();
}

}  // namespace millrace
