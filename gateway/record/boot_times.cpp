#include "record/boot_times.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::int64_t told_anew_us = 2'000'000;  // less is slewing, or a leap second

// No sum of two of these overflows.
bool likely_us(std::int64_t us) { return us > -(std::int64_t{1} << 61) && us < std::int64_t{1} << 61; }

}  // namespace

bool BootTimes::began(std::uint64_t boot, Sequence committed) {
  if (boot == 0) return false;  // it has no name: nothing can be told of it later
  if (Boot* known = find(boot)) {
    known->untold = true;
    return std::exchange(known->last, open_end) != open_end;
  }
  if (boots_.size() == boots_max) boots_.erase(boots_.begin());
  Boot fresh;
  fresh.id = boot;
  fresh.first = committed + 1;
  boots_.push_back(fresh);
  return true;
}

bool BootTimes::trusted(std::uint64_t boot, std::int64_t offset_us, Instant now) {
  Boot* known = find(boot);
  if (!known) return false;
  const bool news = std::exchange(known->untold, false) || !known->offset_us ||
                    std::abs(offset_us - *known->offset_us) >= told_anew_us;
  known->offset_us = offset_us;
  known->through_us = std::max(known->through_us, now.ns / 1000);
  version_ += news ? 1 : 0;
  return news;
}

bool BootTimes::ended(std::uint64_t boot, Sequence committed) {
  Boot* known = find(boot);
  if (!known || known->last != open_end) return false;
  known->last = committed;
  return true;
}

void BootTimes::others_ended(std::uint64_t boot, Sequence committed) {
  for (Boot& other : boots_) {
    if (other.id != boot && other.last == open_end) other.last = committed;
  }
}

bool BootTimes::may_hold(Sequence first, Sequence last) const {
  return std::any_of(boots_.begin(), boots_.end(),
                     [&](const Boot& boot) { return first <= boot.last && last >= boot.first; });
}

// Of each: boot id, first, last (0: it goes on), whether it can be told, offset, until when.
Bytes BootTimes::save() const {
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const Boot& boot : boots_) {
    writer.put_fixed64(boot.id);
    writer.put_varint(boot.first);
    writer.put_varint(boot.last == open_end ? 0 : boot.last + 1);
    writer.put_varint(boot.offset_us ? 1 : 0);
    writer.put_varint(wire::zigzag(boot.offset_us.value_or(0)));
    writer.put_varint(static_cast<std::uint64_t>(boot.through_us));
  }
  return bytes;
}

void BootTimes::restore(BytesView saved) {
  boots_.clear();
  ++version_;
  wire::Reader reader(saved);
  while (!reader.at_end() && boots_.size() < boots_max) {
    Boot boot;
    boot.id = reader.get_fixed64();
    boot.first = reader.get_varint();
    const std::uint64_t behind = reader.get_varint();
    boot.last = behind == 0 ? open_end : behind - 1;
    const bool told = reader.get_varint() != 0;
    const std::int64_t offset = reader.get_sint();
    if (told) boot.offset_us = offset;
    boot.through_us = static_cast<std::int64_t>(reader.get_varint());
    if (!reader.ok() || !likely_us(offset) || !likely_us(boot.through_us)) return;
    boot.untold = boot.last == open_end;  // else it was told, and that was committed
    boots_.push_back(boot);
  }
}

}  // namespace millrace
