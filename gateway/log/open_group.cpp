#include "log/open_group.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/state_table.h"
#include "record/record_proto.h"
#include "record/unsynced.h"

namespace millrace {
namespace {

constexpr Duration refusal_silence = std::chrono::minutes(1);
constexpr std::size_t waiters_max = 1 << 16;  // commits in the open group that somebody hears of
// what is settled beyond it comes again after a kill, where nothing could be written
constexpr std::size_t noted_settles_max = 256;
constexpr std::uint64_t letters_open_max = 8 << 20;  // a look into the inbox with its largest payload, twice

}  // namespace

// Events ask nobody before they come: in a storm of them, or while nothing can be written, the open group
// takes only so many, and a full log none. Those that went are counted and told.
bool OpenGroup::has_room_beside() const {
  if (p_.options.when_full == WhenFull::block) return !p_.space.over(p_.space.inbox_margin() / 2);
  return p_.space.bytes_used() + p_.space.bytes_coming() + 2 * p_.options.segment_bytes <=
         p_.options.bytes_max;
}

// A letter is of a payload, or a record, that had room when it came, and that is accepted, or settled, by
// now. A log that evicts takes a payload that can be read in any case; but an uplink may refuse more records
// at once than a small one has room for.
bool OpenGroup::has_room_for_letter(std::size_t bytes, Letters letters) const {
  if (p_.options.when_full == WhenFull::block) return !p_.space.over(bytes);
  if (letters == Letters::of_records) return has_room_beside();
  return p_.space.bytes_used() + p_.space.bytes_coming() + bytes <= p_.options.bytes_max;
}

const char* OpenGroup::why_not(Lane lane, std::size_t bytes, Letters letters) const {
  const OpenLane& open = lanes[static_cast<std::size_t>(lane)];
  if (bytes > p_.options.row_bytes_max) return "too_large";
  if (lane != Lane::alarm && lane != Lane::dead) return nullptr;
  const bool letter = lane == Lane::dead && letters != Letters::asked_for;
  const std::uint64_t most =
      letter ? std::min(letters_open_max, p_.options.bytes_max / 4) : p_.options.open_bytes_max;
  if (!open.empty() && open.bytes_waiting() + bytes > most) return "too_many";
  return (letter ? has_room_for_letter(bytes, letters) : has_room_beside()) ? nullptr : "log_full";
}

// `clock_offset_us` (wall minus monotonic): the clocks are read once for a set, and where a record asks for
// it.
void OpenGroup::append(Lane lane, const Record& record, std::optional<std::int64_t>& clock_offset_us,
                       Letters letters) {
  OpenLane& open = lanes[static_cast<std::size_t>(lane)];
  const std::size_t bytes = stored_bytes_max(record);
  if (const char* why = why_not(lane, bytes, letters)) return refuse(lane, record, why);
  const bool unsynced = record.trust == TimeTrust::unsynced;
  if (unsynced && !clock_offset_us) clock_offset_us = p_.loop.wall().us - p_.loop.now().ns / 1000;
  open.add(record, bytes, p_.options.row_bytes_max, unsynced ? clock_offset_us : std::nullopt);
}

// It never gets a number: no cursor moves, and nobody waits for it. But what tells of a loss is told.
void OpenGroup::refuse(Lane lane, const Record& record, const char* reason) {
  dirty = true;
  if (add_loss(record)) return;
  if (p_.stats.refused_records++ == 0 || p_.loop.now() - refusal_told_ > refusal_silence) {
    LOG_WARN("log: a record of lane ", lane_name(lane), record.device.empty() ? "" : " from ", record.device,
             " was not taken (", reason, "); ", p_.stats.refused_records, " so far");
    refusal_told_ = p_.loop.now();
  }
  LossDetail one{"", reason, 1, 0, 0, {}, 0};
  one.add_device(record.device, 1);
  add_loss(lane, one);
}

void OpenGroup::add_loss(Lane lane, const LossDetail& more) {
  LossDetail& loss = losses[{more.consumer, lane, more.reason}];
  loss.first = loss.count == 0 ? more.first : std::min(loss.first, more.first);
  loss.last = std::max(loss.last, more.last);
  loss.consumer = more.consumer;
  loss.reason = more.reason;
  loss.count += more.count;
  for (const auto& [device, count] : more.devices) loss.add_device(device, count);
  loss.other_devices += more.other_devices;
}

// False: it is something else.
bool OpenGroup::add_loss(const Record& record) {
  const auto* loss = record.detail ? std::get_if<LossDetail>(&record.detail->body) : nullptr;
  if (!loss) return false;
  for (const Lane lane : all_lanes) {
    if (record.metric == lane_name(lane)) return add_loss(lane, *loss), true;
  }
  return false;
}

void OpenGroup::settle(const WriteSet::Settle& settle) {
  std::vector<Range> left_open;
  p_.cursors.settle(settle, p_.starting, left_open);
  for (const Range& part : left_open) {
    LOG_WARN("log: ", settle.consumer, " has eight settled ranges; ", part.first, " to ", part.last,
             " comes again");
  }
}

void OpenGroup::apply(WriteSet& set) {
  std::optional<std::int64_t> clock_offset_us;
  const Letters letters = set.settles.empty() ? Letters::of_payloads : Letters::of_records;
  for (const auto& [lane, record] : set.records) append(lane, record, clock_offset_us, letters);
  if (set.leads) leads = std::move(set.leads);
  if (!set.records.empty() || set.leads) {
    coming = true;
    const Instant now = p_.loop.now();
    const Instant came = std::min(set.received.value_or(now), now);
    received = received ? std::min(*received, came) : came;
  }
  const bool plain = set.records.empty() && !set.leads && set.states.empty() && set.struck.empty();
  for (const WriteSet::Settle& s : set.settles) {
    settle(s);
    if (!plain || s.consumer.front() == '@' || settles.size() >= noted_settles_max) continue;
    add_settle(settles, s);
    ++settles_seen;
  }
  for (WriteSet::State& state : set.states) {
    if (state.bytes.empty()) p_.state.drop(user_key(state.name));
    else p_.state.put(user_key(state.name), std::move(state.bytes));
  }
  if (!set.struck.empty()) strike(set.struck);
  if (set.inbox_position) p_.inbox = set.inbox_position;
  urgent = urgent || set.urgent;
  if (set.within && (!due || *due > p_.loop.now() + *set.within)) {
    due = p_.loop.now() + *set.within;
    p_.groups.close_sooner();
  }
}

std::size_t OpenGroup::waiting() const {
  std::size_t bytes = 0;
  for (const OpenLane& lane : lanes) bytes += lane.bytes_waiting();
  return bytes;
}

std::size_t OpenGroup::room() const {
  const std::size_t taken = waiting();
  return accepting() && taken < p_.options.open_bytes_max ? p_.options.open_bytes_max - taken : 0;
}

bool OpenGroup::accepting() const {
  if (p_.stopping) return false;
  if (waiting() >= p_.options.open_bytes_max || dones.size() >= waiters_max) return false;
  if (!p_.stats.trouble.empty()) return false;  // nothing new before what could not be written
  // While a segment is made anew none goes: a log that is full waits for that.
  return !((p_.options.when_full == WhenFull::block || p_.mending.busy()) && p_.space.over(0));
}

// The records of a row are consecutive.
Row OpenGroup::row_of(Lane lane, BatchBuilder& builder, std::int64_t clock_offset_us) {
  EncodedBatch batch = builder.encode(p_.options.boot_id, clock_offset_us);
  Row row;
  row.lane = lane;
  row.first = p_.next;
  row.count = static_cast<std::uint32_t>(builder.count());
  row.zstd = batch.zstd;
  row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
  p_.next += row.count;
  return row;
}

// Gives the lane's records their numbers and makes the rows.
void OpenGroup::number(Lane lane, std::vector<Row>& rows, bool announce, WriteSet& more) {
  OpenLane& open = lanes[static_cast<std::size_t>(lane)];
  if (open.empty()) return;
  for (std::size_t r = 0; r < open.rows().size(); ++r) {
    BatchBuilder& builder = open.rows()[r];
    Row row = row_of(lane, builder, open.clock_offset_us(r).value_or(0));
    for (std::size_t i = 0; announce && i < builder.order().size(); ++i) {
      std::optional<Record> record;
      for (const auto& [id, listener] : p_.listeners) {
        if (!listener.entering) continue;
        if (!record) {  // as it is read back
          record = builder.at(builder.order()[i]);
          if (record->trust == TimeTrust::unsynced && !record->detail)
            keep_boot_time(*record, p_.options.boot_id, open.clock_offset_us(r).value_or(0));
        }
        listener.entering(row.first + i, lane, *record, more);
      }
    }
    p_.cursors.admit(lane, row.count, row.last());
    p_.stats.records += row.count;
    p_.stats.row_bytes += row.columns->size();
    rows.push_back(std::move(row));
  }
  open.clear();
}

// Losses enter whatever the room: they are few. Only what a full log refused is told when there is room
// again.
void OpenGroup::append_losses() {
  const bool wait = !p_.stopping && !has_room_beside();
  for (auto at = losses.begin(); at != losses.end();) {
    if (wait && at->second.reason == "log_full") {
      ++at;
      continue;
    }
    Record record = loss_record(std::get<1>(at->first), std::move(at->second), p_.loop.wall());
    if (!p_.options.clock_trusted()) stamp_unsynced(record, p_.options.boot_id, p_.loop.now());
    lanes[static_cast<std::size_t>(Lane::alarm)].add(record, stored_bytes_max(record),
                                                     p_.options.row_bytes_max, std::nullopt);
    at = losses.erase(at);
  }
  note_untold();
}

// What waits is in the head's table until it is told: the commit that settled a record whose letter found no
// room is not to be all that is left of it. Empty bytes stay, so that a table that is mended by an older one
// (LogStart::mend_state) tells nothing again.
void OpenGroup::note_untold() {
  Bytes untold;
  wire::Writer writer(untold);
  for (const auto& [key, loss] : losses) {
    const Bytes record = encode_record(loss_record(std::get<1>(key), loss, {}));
    writer.put_varint(record.size());
    writer.append(record.data(), record.size());
  }
  if (!untold.empty() || p_.state.get("untold")) p_.state.put("untold", std::move(untold));
}

void OpenGroup::restore_untold(const Bytes& bytes) {
  wire::Reader reader(bytes);
  while (!reader.at_end()) {
    const auto record = decode_record(reader.get_bytes());
    if (reader.ok() && record.ok()) (void)add_loss(record.value());
  }
}

void OpenGroup::strike(const std::vector<Range>& struck) {
  Sequence oldest = p_.durable + 1;  // what is withheld, or on its way, can be read already
  for (const SegmentInfo& segment : p_.segments()) {
    const LaneSpan& span = segment.lanes[static_cast<std::size_t>(Lane::dead)];
    if (!span.empty()) oldest = std::min(oldest, span.first);
  }
  for (const GroupWrite::Copy* copy : p_.copies()) {
    const LaneSpan& span = copy->lanes[static_cast<std::size_t>(Lane::dead)];
    if (!span.empty()) oldest = std::min(oldest, span.first);
  }
  p_.struck.strike(struck, oldest);
  p_.state.put("struck", p_.struck.encode());
}

}  // namespace millrace
