#include "decode/mbus_records.h"

#include <algorithm>
#include <optional>

#include "base/utf8.h"

namespace millrace {
namespace {

constexpr unsigned filler = 0x2f, more_follows = 0x1f;
constexpr unsigned variable_field = 0x0d;
constexpr unsigned extensions_max = 10;
constexpr std::size_t field_sizes[] = {0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, 0, 6};

// How many bytes follow (EN 13757-3, LVAR): text, BCD of either sign, numbers of up to 15 bytes, and of 16,
// 20, 24, 28, 32, 48 and 64. Nothing: reserved.
std::optional<std::size_t> size_of_variable(unsigned length) {
  if (length < 0xc0) return length;
  if (length < 0xf0) return length & 15;
  if (length <= 0xf4) return 4 * (length - 0xec);
  if (length == 0xf5) return 48;
  if (length == 0xf6) return 64;
  return std::nullopt;
}

}  // namespace

MbusRecords::Found MbusRecords::next(MbusRecord& record) {
  record = {};
  unsigned dif = filler;
  while (dif == filler) {
    if (at_ == bytes_.size()) return Found::end;
    dif = byte();
  }
  if (dif == more_follows) return Found::more;
  if ((dif & 0x0f) == 0x0f) return Found::end;
  read_head(dif, record);
  read_meaning(record);
  return read_data(record) && !short_ ? Found::record : Found::broken;
}

void MbusRecords::read_head(unsigned dif, MbusRecord& record) {
  record.field = dif & 0x0f;
  record.function = dif >> 4 & 3;
  record.storage = dif >> 6 & 1;
  for (unsigned i = 0; (dif & 0x80) != 0 && i < extensions_max; ++i) {
    dif = byte();
    record.storage |= static_cast<std::uint64_t>(dif & 0x0f) << (1 + 4 * i);
    record.tariff |= (dif >> 4 & 3) << std::min(2 * i, 30u);
    record.subunit |= (dif >> 6 & 1) << std::min(i, 31u);
  }
}

void MbusRecords::read_meaning(MbusRecord& record) {
  unsigned vif = byte();
  record.code = vif & 0x7f;
  if (vif == 0xfd || vif == 0xfb) {
    record.codes = vif == 0xfd ? MbusRecord::Codes::behind_fd : MbusRecord::Codes::behind_fb;
    record.code = (vif = byte()) & 0x7f;
  } else if (vif == 0xff || vif == 0x7f) {
    record.known = false;
    if (vif != 0x7f) record.code = (vif = byte()) & 0x7f;
  }
  if (record.known && record.codes == MbusRecord::Codes::main &&
      record.code == 0x7c) {  // the last letter first
    record.plain_text = true;
    for (unsigned left = byte(); left > 0 && !short_; --left)
      record.unit.insert(record.unit.begin(), static_cast<char>(byte()));
    record.unit = utf8_of_latin1(record.unit);  // ISO 8859-1, as all its text: "m\xb3"
  }
  // A factor is read (EN 13757-3, orthogonal VIFE: 10^(n-6), and a thousand): humidity sensors say their
  // percents in hundredths so. What changes the meaning further (per hour, at a phase, an error) is not: then
  // the value is of no known name.
  for (unsigned i = 0; (vif & 0x80) != 0 && !short_; ++i) {
    vif = byte();
    const unsigned code = vif & 0x7f;
    if (code >= 0x70 && code <= 0x77) record.tens += static_cast<int>(code & 7) - 6;
    else if (code == 0x7d) record.tens += 3;
    else record.known = false;
    if (i >= extensions_max) record.known = false;
  }
}

bool MbusRecords::read_data(MbusRecord& record) {
  std::size_t size = field_sizes[record.field];
  if (record.field == variable_field) {
    record.length = byte();
    const auto given = size_of_variable(record.length);
    if (!given) return false;
    size = *given;
  }
  if (bytes_.size() - at_ < size) return false;
  record.data = bytes_.subspan(at_, size);
  at_ += size;
  return true;
}

std::string mbus_number(BytesView frame) {
  constexpr std::size_t at = 3, size = 4;
  std::string out;
  if (frame.size() < at + size || (frame[2] != std::byte{0x72} && frame[2] != std::byte{0x73})) return out;
  for (std::size_t i = size; i-- > 0;) out += to_hex(frame.subspan(at + i, 1));
  return out;
}

std::size_t mbus_records_at(BytesView frame) {
  constexpr std::size_t before = 3;  // control, address, control information
  if (frame.size() < before) return SIZE_MAX;
  switch (static_cast<unsigned>(frame[2])) {
    case 0x72: return before + 12;  // a long header
    case 0x7a: return before + 4;   // a short one
    case 0x78: return before;
    default: return SIZE_MAX;
  }
}

}  // namespace millrace
