#include "log/cursors.h"

#include <algorithm>

#include "base/text.h"
#include "log/state_table.h"

namespace millrace {

std::uint64_t numbers_in(const std::vector<Range>& ranges) {
  std::uint64_t sum = 0;
  for (const Range& r : ranges) sum += r.last - r.first + 1;
  return sum;
}

namespace {

std::uint64_t all_settled(const LaneLedger& ledger) {
  std::uint64_t sum = 0;
  for (const std::uint64_t n : ledger.settled) sum += n;
  return sum;
}

}  // namespace

// ---- who there is

bool Cursors::subscribe(const Key& key, Log::SubscriptionId id) {
  const auto [at, fresh] = cursors_.try_emplace(key);
  at->second.subscription = id;
  return fresh;
}

void Cursors::unsubscribe(Log::SubscriptionId id) {
  for (auto& [key, cursor] : cursors_) {
    if (cursor.subscription == id) cursor.subscription = 0;
  }
}

std::vector<std::string> Cursors::consumers() const {
  std::vector<std::string> names;
  for (const auto& [key, cursor] : cursors_) {
    if (names.empty() || names.back() != key.first) names.push_back(key.first);
  }
  return names;
}

bool Cursors::knows(std::string_view consumer) const {
  return std::any_of(cursors_.begin(), cursors_.end(),
                     [consumer](const auto& entry) { return entry.first.first == consumer; });
}

std::vector<std::string> Cursors::absent() const {
  std::vector<std::string> names;
  for (const auto& [key, cursor] : cursors_) {
    if (!cursor.subscribed() && (names.empty() || names.back() != key.first)) names.push_back(key.first);
  }
  return names;
}

std::vector<Cursors::Key> Cursors::absent_of(std::string_view consumer) const {
  std::vector<Key> keys;
  for (const auto& [key, cursor] : cursors_) {
    if (key.first == consumer && !cursor.subscribed()) keys.push_back(key);
  }
  return keys;
}

Cursors::Cursor* Cursors::find(const Key& key) {
  const auto found = cursors_.find(key);
  return found == cursors_.end() ? nullptr : &found->second;
}

// ---- what becomes of records

void Cursors::admit(Lane lane, std::uint64_t records, Sequence through) {
  for (auto& [key, cursor] : cursors_) {
    if (key.second != lane) continue;
    cursor.ledger.admitted += records;
    cursor.admitted_through = through;
  }
}

void Cursors::settle(const WriteSet::Settle& settle, bool starting, std::vector<Range>& left_open) {
  Cursor* cursor = find({settle.consumer, settle.lane});
  if (!cursor) return;  // forgotten meanwhile
  // What was evicted or found unreadable while it was on its way is settled already, and in the ledger.
  std::uint64_t numbers = 0;
  for (const Range& part : cursor->settled.unsettled_in(settle.range)) {
    if (!cursor->settled.can_settle(part)) {  // losses opened ranges meanwhile
      left_open.push_back(part);
      continue;
    }
    cursor->settled.settle(part);
    numbers += part.last - part.first + 1;
  }
  // Of a range that was settled in part nobody knows how many were left: never more than the ledger has open.
  const std::uint64_t open = starting ? numbers : cursor->ledger.unsettled();
  cursor->ledger.settled[static_cast<std::size_t>(settle.how)] += std::min({settle.records, numbers, open});
}

std::uint64_t Cursors::lose(const Key& who, const std::vector<Range>& ranges, std::uint64_t records,
                            How how) {
  Cursor* cursor = find(who);
  if (!cursor) return records;
  records = std::min(records, cursor->ledger.unsettled());
  for (const Range& range : ranges) {
    if (cursor->settled.can_settle(range)) cursor->settled.settle(range);
  }
  cursor->ledger.settled[static_cast<std::size_t>(how)] += records;
  return records;
}

void Cursors::take_over(const std::vector<Row>& rows) {
  for (auto& [key, cursor] : cursors_) {
    for (const Row& row : rows) {
      if (row.lane == key.second && row.first > cursor.admitted_through) {
        cursor.ledger.admitted += row.count;
        cursor.admitted_through = row.last();
      }
    }
  }
}

void Cursors::balance() {
  for (auto& [key, cursor] : cursors_)
    cursor.ledger.admitted = std::max(cursor.ledger.admitted, all_settled(cursor.ledger));
}

// ---- questions

std::vector<Range> Cursors::unsettled(const Key& key, Sequence end) const {
  const Cursor* cursor = find(key);
  return cursor ? cursor->settled.unsettled(end) : std::vector<Range>{};
}

LaneLedger Cursors::ledger(const Key& key) const {
  const Cursor* cursor = find(key);
  return cursor ? cursor->ledger : LaneLedger{};
}

bool Cursors::can_settle(const Key& key, Range range) const {
  const Cursor* cursor = find(key);
  if (!cursor) return true;
  const auto parts = cursor->settled.unsettled_in(range);
  // Several parts fill what lies between settled ranges: that joins them and opens none.
  return parts.size() != 1 || cursor->settled.can_settle(parts.front());
}

bool Cursors::wanted(const SegmentInfo& segment, Lane lane) const {
  const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
  if (span.empty()) return false;
  if (lane == Lane::dead) return true;
  return std::any_of(cursors_.begin(), cursors_.end(), [&](const auto& entry) {
    return entry.first.second == lane &&
           !entry.second.settled.unsettled_in({span.first, std::min(span.last, segment.valid_through)})
                .empty();
  });
}

// ---- in the state table

Bytes Cursors::encode(const Cursor& cursor) {
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_varint(cursor.settled.low());
  writer.put_varint(cursor.settled.ranges().size());
  for (const Range& r : cursor.settled.ranges()) {
    writer.put_varint(r.first);
    writer.put_varint(r.last);
  }
  writer.put_varint(cursor.ledger.admitted);
  writer.put_varint(cursor.admitted_through);
  for (const std::uint64_t n : cursor.ledger.settled) writer.put_varint(n);
  return bytes;
}

void Cursors::restore(const std::string& key, const Bytes& value) {
  const auto parts = split(key, '/');
  wire::Reader reader(value);
  Cursor cursor;
  cursor.settled = read_settled(reader);
  cursor.ledger.admitted = reader.get_varint();
  cursor.admitted_through = reader.get_varint();
  for (std::uint64_t& n : cursor.ledger.settled) n = reader.get_varint();
  for (const Lane lane : all_lanes) {
    if (parts.size() >= 3 && parts[1] == lane_name(lane))
      cursors_[{key.substr(8 + parts[1].size()), lane}] = cursor;
  }
}

std::vector<Cursors::Again> Cursors::check(const std::map<Sequence, Row>& rows, const std::set<Key>& doubtful,
                                           Sequence committed) {
  std::vector<Again> again;
  for (auto& [who, cursor] : cursors_) {
    const auto there = [&rows, lane = who.second, &cursor = cursor] {
      std::uint64_t sum = 0;
      for (const auto& [first, row] : rows) {
        if (row.lane == lane) sum += numbers_in(cursor.settled.unsettled_in({row.first, row.last()}));
      }
      return sum;
    };
    Again one{who, there(), cursor.ledger.unsettled(), 0, false};
    const bool doubted = doubtful.contains(who);
    if (one.found == one.booked || (!doubted && one.found > one.booked)) continue;
    one.ran_ahead = !doubted;
    if (one.ran_ahead) cursor.settled = SettledSet();
    one.sent_again = there();
    cursor.ledger.admitted = all_settled(cursor.ledger) + one.sent_again;
    cursor.admitted_through = std::max(cursor.admitted_through, committed);
    again.push_back(std::move(one));
  }
  return again;
}

}  // namespace millrace
