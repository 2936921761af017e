#include "drivers/serial/mbus_answer.h"

#include <algorithm>
#include <utility>

#include "decode/mbus_records.h"

namespace millrace {
namespace {

// A short frame: 10, control, address, their sum, 16.
constexpr std::size_t short_size = 5, control_at = 1, address_at = 2, sum_at = 3;
constexpr int count_bit = 0x20;

bool is_short(std::string_view request) {
  return request.size() == short_size && request.front() == '\x10' && request.back() == '\x16';
}
bool asks_for_data(std::string_view request) {
  return is_short(request) && (request[control_at] & ~count_bit) == 0x5b;
}

std::uint8_t sum_of(std::string_view request) {
  return static_cast<std::uint8_t>(request[control_at] + request[address_at]);
}

std::string turned(std::string request) {
  request[control_at] = static_cast<char>(request[control_at] ^ count_bit);
  request[sum_at] = static_cast<char>(sum_of(request));
  return request;
}

// RSP_UD, whatever a meter says of access demand and data flow (EN 13757-2, 5.4).
bool is_answer(BytesView frame) { return frame.size() >= 2 && (frame[0] & std::byte{0xcf}) == std::byte{8}; }

}  // namespace

std::optional<std::uint8_t> mbus_sum_missed(std::string_view request) {
  if (!is_short(request)) return std::nullopt;
  const std::uint8_t sum = sum_of(request);
  return static_cast<std::uint8_t>(request[sum_at]) == sum ? std::nullopt : std::optional(sum);
}

std::optional<std::uint8_t> mbus_meter_asked(std::string_view request) {
  if (!asks_for_data(request)) return std::nullopt;
  return static_cast<std::uint8_t>(request[address_at]);
}

void MbusAnswer::begin(std::string_view request, std::size_t telegrams_max) {
  reset();
  if (!asks_for_data(request)) return;
  request_ = request;
  telegrams_max_ = telegrams_max;
}

bool MbusAnswer::take(const Framer::Frame& frame) {
  const BytesView bytes = frame.bytes;
  const std::size_t from = mbus_records_at(bytes);
  if (request_.empty() || whole_ || !is_answer(bytes) || from == SIZE_MAX || from > bytes.size())
    return false;
  if (telegrams_ > 0 && frame.channel != from_) return false;
  MbusRecords walk(bytes.subspan(from));
  MbusRecord record;
  auto found = MbusRecords::Found::record;
  while (found == MbusRecords::Found::record) found = walk.next(record);
  const bool more = found == MbusRecords::Found::more;
  const BytesView records = bytes.subspan(from, more ? walk.at() - 1 : bytes.size() - from);
  // Some meters do not look at the bit, and would say the same for ever.
  const bool again = telegrams_ > 0 && std::ranges::equal(records, last_);
  if (telegrams_++ == 0) {
    from_ = gathered_.channel = frame.channel;
    const std::string number = mbus_number(bytes);
    if (mbus_meter_asked(request_) == mbus_selected && !number.empty()) gathered_.channel = number;
    gathered_.bytes.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(from));
  }
  if (!again) gathered_.bytes.insert(gathered_.bytes.end(), records.begin(), records.end());
  last_.assign(records.begin(), records.end());
  gathered_.cut = again || (more && telegrams_ >= telegrams_max_);
  whole_ = gathered_.cut || !more;
  next_.clear();
  if (!whole_) next_ = request_ = turned(std::move(request_));
  return true;
}

std::optional<MbusAnswer::Gathered> MbusAnswer::done(bool over) {
  if (telegrams_ == 0 || (!whole_ && !over)) return std::nullopt;
  gathered_.cut = gathered_.cut || !whole_;
  Gathered out = std::move(gathered_);
  reset();
  return out;
}

}  // namespace millrace
