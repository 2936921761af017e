#include "log/sqlite_log.h"

#include "base/logger.h"
#include "log/log_start.h"
#include "log/state_table.h"

namespace millrace {

const char* how_name(How how) {
  static constexpr const char* names[] = {"delivered", "dead",    "expired",   "skipped",
                                          "forgotten", "evicted", "unreadable"};
  return names[static_cast<int>(how)];
}

Result<std::unique_ptr<SqliteLog>> SqliteLog::open(Loop& loop, Folder& folder, const LogOptions& options,
                                                   std::uint64_t seed) {
  std::unique_ptr<SqliteLog> log(new SqliteLog(loop, folder, options));
  if (Status status = LogStart(log->p_).load(seed); !status.ok()) return status;
  return log;
}

namespace {

// What nobody wants any more: told as lost, and the cursor goes.
void drop(LogParts& parts, const Cursors::Key& key) {
  parts.mending.lose(key, parts.cursors.unsettled(key, parts.committed),
                     parts.cursors.ledger(key).unsettled(), How::forgotten, "forgotten");
  parts.state.drop(cursor_key(key.first, key.second));
  parts.cursors.erase(key);
  parts.open.dirty = true;
}

// The lanes that a consumer does not take any more, which are given up. A cursor that stayed would be
// admitted for ever what nobody reads and nobody can forget, until the log is full of it.
std::vector<Cursors::Key> leave_lanes(LogParts& parts, const std::string& consumer) {
  std::vector<Cursors::Key> left = parts.cursors.absent_of(consumer);
  for (const Cursors::Key& key : left) {
    const std::uint64_t records = parts.cursors.ledger(key).unsettled();
    if (consumer.front() != '@') {  // our own tell nobody
      LOG_WARN("uplink ", consumer, ": takes lane ", lane_name(key.second),
               " no longer (drain.lanes): ", records,
               " records of it that had not gone out are given up, and no more are kept for it");
    }
    drop(parts, key);
  }
  return left;
}

}  // namespace

SqliteLog::SubscriptionId SqliteLog::subscribe(const Subscription& subscription) {
  const SubscriptionId id = next_id_++;
  // `start` is of a name that nobody knows. A lane that comes to one, or comes back to it, begins with what
  // comes: what it once had was delivered or given up.
  const bool begins_now =
      (subscription.start == Subscription::Start::now || p_.cursors.knows(subscription.consumer)) &&
      !p_.state_lost;
  for (const Lane lane : subscription.lanes) {
    if (!p_.cursors.subscribe({subscription.consumer, lane}, id)) continue;
    Cursors::Cursor& cursor = *p_.cursors.find({subscription.consumer, lane});
    if (left_.erase({subscription.consumer, lane}) > 0 || begins_now) {
      cursor.settled = SettledSet(p_.next - 1);
      cursor.admitted_through = p_.next - 1;
    } else {
      for (const auto& [number, segment] : p_.sealed)
        cursor.ledger.admitted += segment.lanes[static_cast<std::size_t>(lane)].records;
      cursor.ledger.admitted += p_.head.lanes[static_cast<std::size_t>(lane)].records;
      cursor.admitted_through = p_.committed;
    }
    p_.groups.refresh_state();
    p_.open.dirty = true;
  }
  for (Cursors::Key& key : leave_lanes(p_, subscription.consumer)) left_.insert(std::move(key));
  p_.groups.schedule_close();
  return id;
}

void SqliteLog::forget(std::string_view consumer) {
  for (const Cursors::Key& key : p_.cursors.absent_of(consumer)) drop(p_, key);
  p_.groups.schedule_close();
}

SettledSet SqliteLog::settled(std::string_view consumer, Lane lane) const {
  const Cursors::Cursor* cursor = p_.cursors.find({std::string(consumer), lane});
  return cursor ? cursor->settled : SettledSet(p_.next - 1);
}

// As far as an unclean start would: a gap of that size is no loss.
void SqliteLog::number_behind(Sequence number) {
  if (number >= p_.next) p_.next = number + reserve_block;
}

std::optional<Bytes> SqliteLog::state(std::string_view name) const {
  const auto found = p_.state.get(user_key(name));
  return found ? std::optional(*found) : std::nullopt;
}

LogStats SqliteLog::stats() const {
  LogStats stats = p_.stats;
  stats.bytes_used = p_.space.bytes_used();
  stats.bytes_max = p_.options.bytes_max;
  stats.segments = p_.sealed.size() + 1;
  stats.dead_bytes = p_.space.letter_bytes();
  stats.row_bytes_max = p_.options.row_bytes_max;
  stats.blocked = p_.groups.full;
  stats.state_bytes = p_.state.user_bytes();
  stats.state_bytes_max = p_.options.state_bytes_max;
  return stats;
}

}  // namespace millrace
