#include "log/struck_letters.h"

#include <algorithm>

#include "record/varint.h"

namespace millrace {

bool StruckLetters::has(Sequence number) const { return has_all({number, number}); }

bool StruckLetters::has_all(Range range) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [range](const Range& r) { return r.first <= range.first && range.last <= r.last; });
}

std::uint64_t StruckLetters::count_in(Range range) const {
  std::uint64_t count = 0;
  const auto before = [](const Range& struck, Sequence first) { return struck.last < first; };
  for (auto at = std::lower_bound(ranges_.begin(), ranges_.end(), range.first, before);
       at != ranges_.end() && at->first <= range.last; ++at)
    count += std::min(at->last, range.last) - std::max(at->first, range.first) + 1;
  return count;
}

bool StruckLetters::has_room_for(Range range) const {
  return ranges_.size() < ranges_max || std::any_of(ranges_.begin(), ranges_.end(), [range](const Range& r) {
           return range.first <= r.last + 1 && r.first <= range.last + 1;
         });
}

void StruckLetters::strike(const std::vector<Range>& struck, Sequence oldest) {
  ranges_.insert(ranges_.end(), struck.begin(), struck.end());
  std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (!merged.empty() && range.first <= merged.back().last + 1)
      merged.back().last = std::max(merged.back().last, range.last);
    else merged.push_back(range);
  }
  std::erase_if(merged, [oldest](const Range& r) { return r.last < oldest; });
  ranges_ = std::move(merged);
}

Bytes StruckLetters::encode() const {
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const Range& range : ranges_) {
    writer.put_varint(range.first);
    writer.put_varint(range.last);
  }
  return bytes;
}

void StruckLetters::restore(const Bytes& bytes) {
  wire::Reader reader(bytes);
  while (!reader.at_end() && reader.ok()) {
    const Sequence first = reader.get_varint();
    ranges_.push_back({first, reader.get_varint()});
  }
}

}  // namespace millrace
