// The records of an M-Bus answer (EN 13757-3, 6): what each is about, and where its data lie. What a value
// means is the format's (decode/formats/mbus.cpp); that an answer goes on in another telegram matters to who
// asks for it (drivers/serial/mbus_answer.h). Pure.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace millrace {

struct MbusRecord {
  enum class Codes : std::uint8_t { main, behind_fd, behind_fb };
  unsigned field = 0;     // of data: the low four bits of the data information
  unsigned function = 0;  // 0: as it is now, 1: a maximum, 2: a minimum, 3: while something was wrong
  unsigned tariff = 0, subunit = 0;
  std::uint64_t storage = 0;
  unsigned code = 0;          // what it is, without the bit that says more follows
  Codes codes = Codes::main;  // the table that `code` is of
  bool known = true;          // nothing changes the meaning of `code`, but for a factor
  int tens = 0;               // the factor: that power of ten
  bool plain_text = false;    // the unit is in words: `unit`
  std::string unit;
  unsigned length = 0;  // the first byte, of a field of variable length
  BytesView data;       // as they came, the lowest byte first
};

class MbusRecords {
 public:
  enum class Found : std::uint8_t {
    record,
    end,    // nothing is behind, or the maker's own
    more,   // DIF 1F: the next telegram has more
    broken  // what comes behind cannot be found
  };

  explicit MbusRecords(BytesView bytes) : bytes_(bytes) {}
  Found next(MbusRecord& record);
  std::size_t at() const { return at_; }  // bytes that were read

 private:
  unsigned byte() { return at_ < bytes_.size() ? static_cast<unsigned>(bytes_[at_++]) : (short_ = true, 0u); }
  void read_head(unsigned dif, MbusRecord& record);
  void read_meaning(MbusRecord& record);
  bool read_data(MbusRecord& record);

  const BytesView bytes_;
  std::size_t at_ = 0;
  bool short_ = false;
};

// Where the records of a frame begin (control, address, control information, a header by which); SIZE_MAX: it
// is no answer with variable data. May lie behind the frame's end.
std::size_t mbus_records_at(BytesView frame);
// The meter's number, eight digits, with which a long header and fixed data begin; "": it says none.
std::string mbus_number(BytesView frame);

}  // namespace millrace
