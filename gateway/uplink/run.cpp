#include "uplink/run.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

// `row` becomes its records [from, from + count).
Status cut(Row& row, std::uint32_t from, std::uint32_t count) {
  auto part = slice_batch(*row.columns, row.zstd, from, count);
  if (!part.ok()) return part.status();
  row.first += from;
  row.count = count;
  row.zstd = part.value().zstd;
  row.columns = std::make_shared<const Bytes>(std::move(part.value().bytes));
  return {};
}

Record dead_letter(Lane lane, const std::string& uplink, const Piece& piece, WallTime wall) {
  std::vector<Record> records;
  auto detail = std::make_shared<Detail>();
  DeadDetail dead;
  dead.consumer = uplink;
  dead.reason = shown(piece.reason, 1000);
  dead.channel = lane_name(lane);
  dead.number = piece.row.first;
  dead.source = DeadDetail::Source::uplink;
  Record letter;
  letter.kind = Kind::dead;
  letter.time = wall;
  letter.trust = TimeTrust::gateway;
  if (decode_batch(*piece.row.columns, piece.row.zstd, records).ok() && records.size() == 1) {
    letter.device = records[0].device;
    letter.metric = records[0].metric;
    dead.payload = encode_record(records[0]);
  } else {
    dead.payload = *piece.row.columns;
    dead.channel += "/batch";
  }
  detail->body = std::move(dead);
  letter.detail = std::move(detail);
  return letter;
}

// Of its trusted times; where they cannot be told it has not grown old.
std::int64_t newest_of(const Row& row) {
  std::vector<Record> records;
  std::int64_t newest = INT64_MIN;
  if (!decode_batch(*row.columns, row.zstd, records).ok() || records.empty()) return INT64_MAX;
  for (const Record& record : records) {
    newest = std::max(newest, record.trust == TimeTrust::unsynced ? INT64_MAX : record.time.us);
  }
  return newest;
}

void count_loss(LossDetail& loss, const Row& row) {
  loss.count += row.count;
  loss.first = loss.first ? std::min(loss.first, row.first) : row.first;
  loss.last = std::max(loss.last, row.last());
  if (!add_devices(*row.columns, row.zstd, 0, row.count, loss).ok()) loss.other_devices += row.count;
}

}  // namespace

Run::Pieces::iterator Run::find(Sequence first) {
  const auto at = std::partition_point(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    return up ? piece.row.first < first : piece.row.first > first;
  });
  MILLRACE_CHECK(at != pieces.end() && at->row.first == first);  // what flies is always among the pieces
  return at;
}

Status Run::add(Row row, bool look_at_times, bool undated) {
  const Sequence low = std::max(row.first, up ? next : end);
  const Sequence high = std::min(row.last(), up ? end : next);
  if (low > high) return {};
  Status status;
  Piece piece;
  if (low != row.first || high != row.last()) {
    status =
        cut(row, static_cast<std::uint32_t>(low - row.first), static_cast<std::uint32_t>(high - low + 1));
  }
  if (look_at_times) piece.newest_us = newest_of(row);
  piece.undated = undated;
  next = up ? high + 1 : low - 1;
  bytes_waiting += row.columns->size();
  bytes_held += row.columns->size();
  piece.row = std::move(row);
  pieces.push_back(std::move(piece));
  return status;
}

bool Run::split(Pieces::iterator at, std::uint32_t low) {
  Piece lower = *at, upper = *at;
  if (low == 0 || low >= at->row.count) return false;
  if (!cut(lower.row, 0, low).ok() || !cut(upper.row, low, at->row.count - low).ok()) return false;
  const std::size_t whole = at->bytes(), parts = lower.bytes() + upper.bytes();
  bytes_waiting += parts - whole;
  bytes_held += parts - whole;
  *at = std::move(up ? lower : upper);
  pieces.insert(at + 1, std::move(up ? upper : lower));
  return true;
}

Run::Pieces::iterator Run::cut_to(Pieces::iterator at, std::size_t bytes) {
  const auto index = at - pieces.begin();
  const auto share = static_cast<std::uint32_t>(std::uint64_t{at->row.count} * bytes / at->bytes());
  const auto most = std::max<std::uint32_t>(at->row.count, 2) - 1;
  const auto count = std::clamp<std::uint32_t>(share, 1, most);
  (void)split(at, up ? count : at->row.count - count);
  return pieces.begin() + index;
}

Sequence Run::split_off_largest(Pieces::iterator at) {
  std::vector<Record> records;
  std::vector<std::size_t> sizes;
  if (at->row.count < 2 || !decode_batch(*at->row.columns, at->row.zstd, records).ok()) return 0;
  std::size_t all = 0;
  for (const Record& record : records) all += sizes.emplace_back(encode_record(record).size());
  const auto largest = std::max_element(sizes.begin(), sizes.end());
  const auto index = static_cast<std::uint32_t>(largest - sizes.begin());
  const std::uint32_t low = *largest * 2 > all ? std::max<std::uint32_t>(index, 1) : at->row.count / 2;
  const Sequence second = at->row.first + low;
  return split(at, low) ? second : 0;
}

void Run::cut_at(Sequence first) {
  for (auto at = pieces.begin(); at != pieces.end(); ++at) {
    if (at->row.first >= first || at->row.last() < first) continue;
    if (at->state == Piece::waiting) (void)split(at, static_cast<std::uint32_t>(first - at->row.first));
    return;
  }
}

Run::Pieces::iterator Run::first_waiting() {
  return std::find_if(pieces.begin(), pieces.end(),
                      [](const Piece& piece) { return piece.state == Piece::waiting; });
}

Run::Pieces::iterator Run::find_waiting(Range range) {
  return std::find_if(pieces.begin(), pieces.end(), [&](const Piece& piece) {
    return piece.state == Piece::waiting && piece.row.first == range.first && piece.row.last() == range.last;
  });
}

Run::Pieces::iterator Run::next_beside(Sequence other, std::size_t bytes) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].row.first == other || pieces[i].state != Piece::waiting) continue;
    while (pieces[i].bytes() >= bytes &&
           split(pieces.begin() + static_cast<std::ptrdiff_t>(i), pieces[i].row.count / 2)) {}
    if (pieces[i].bytes() < bytes) return pieces.begin() + static_cast<std::ptrdiff_t>(i);
  }
  return pieces.end();
}

Range Run::settled_with(const Batch& batch) const {
  return up ? Range{edge + 1, batch.rows.back().last()} : Range{batch.rows.back().first, edge - 1};
}

namespace {

// What the log is to be told of finished pieces, one after the other.
class Telling {
 public:
  Telling(bool up, Lane lane, const Sender& sender, WallTime wall)
      : up_(up), lane_(lane), sender_(sender), wall_(wall) {}

  // `range`: with the numbers of other lanes around it that are settled by it.
  void take(const Piece& piece, Range range) {
    const How undelivered = piece.state == Piece::dead ? How::dead : How::expired;
    const How how = piece.state == Piece::safe ? How::delivered : undelivered;
    if (how == How::dead) {
      set_.records.emplace_back(Lane::dead, dead_letter(lane_, sender_.uplink, piece, wall_));
      // A report that is refused is not reported again: that one would be refused too, and so on for ever.
      if (lane_ != Lane::alarm) count_loss(refused_, piece.row);
    }
    if (how == How::expired) count_loss(expired_, piece.row);
    const std::uint32_t skipped = how == How::delivered ? std::min(piece.skipped, piece.row.count) : 0;
    if (skipped == 0) return settle(range, piece.row.count, how);
    if (skipped == piece.row.count) return settle(range, skipped, How::skipped);
    // Which of them they were matters to nobody: the books say how many.
    Range rest = range;
    if (up_) range.last = piece.row.last() - skipped, rest.first = range.last + 1;
    else range.first = piece.row.first + skipped, rest.last = range.first - 1;
    settle(range, piece.row.count - skipped, how);
    settle(rest, skipped, How::skipped);
  }
  // What comes next does not touch what came before.
  void begin_anew() { joins_ = false; }

  WriteSet told() {
    for (LossDetail* loss : {&refused_, &expired_}) {
      if (loss->count > 0)
        set_.records.emplace_back(Lane::alarm, loss_record(lane_, std::move(*loss), wall_));
    }
    return std::move(set_);
  }

 private:
  void settle(Range range, std::uint64_t records, How how) {
    WriteSet::Settle* last = set_.settles.empty() ? nullptr : &set_.settles.back();
    if (!std::exchange(joins_, true) || last->how != how) {
      set_.settles.push_back({sender_.consumer, lane_, range, records, how});
      return;
    }
    (up_ ? last->range.last : last->range.first) = up_ ? range.last : range.first;
    last->records += records;
  }

  const bool up_;
  const Lane lane_;
  const Sender& sender_;
  const WallTime wall_;
  WriteSet set_;
  bool joins_ = false;
  LossDetail refused_{sender_.consumer, "refused", 0, 0, 0, {}, 0},
      expired_{sender_.consumer, "expired", 0, 0, 0, {}, 0};
};

}  // namespace

WriteSet settle_finished(Run& run, Lane lane, const Sender& sender, WallTime wall, bool scattered) {
  Telling telling(run.up, lane, sender, wall);
  while (!run.pieces.empty() && (run.pieces.front().finished() || scattered)) {
    const Piece& piece = run.pieces.front();
    if (piece.finished())
      telling.take(piece,
                   run.up ? Range{run.edge + 1, piece.row.last()} : Range{piece.row.first, run.edge - 1});
    else telling.begin_anew();
    run.edge = run.up ? piece.row.last() : piece.row.first;
    run.bytes_held -= piece.bytes();
    run.pieces.pop_front();
  }
  return telling.told();
}

}  // namespace millrace
