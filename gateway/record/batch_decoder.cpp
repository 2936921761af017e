#include "record/batch_decoder.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "record/varint.h"

namespace millrace {
namespace {

Status corrupt(const char* what) { return {Code::corrupt, text("batch: ", what)}; }

std::int64_t plus(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}
std::int64_t times(std::int64_t a, std::uint64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * b);
}

// Up to `max` varints of a packed (or, as proto3 readers must accept, a single unpacked) field.
template <typename T, typename Convert>
bool get_packed(wire::Reader& from, std::uint32_t type, std::size_t max, std::vector<T>& out,
                Convert convert) {
  if (type == wire::varint) {
    if (out.size() >= max) return false;
    out.push_back(convert(from.get_varint()));
    return from.ok();
  }
  if (type != wire::length) return false;
  wire::Reader packed(from.get_bytes());
  out.reserve(std::min(max, out.size() + packed.left()));
  while (!packed.at_end()) {
    if (out.size() >= max) return false;
    out.push_back(convert(packed.get_varint()));
  }
  return packed.ok() && from.ok();
}

struct ParsedColumn {
  std::uint32_t metric = 0, type = 0, exponent = 0, order = 0;
  std::uint64_t factor = 1;
  std::vector<std::int64_t> ints;
  BytesView doubles, floats, except;
  std::vector<std::uint64_t> fix_gap, except_gap;
  std::vector<std::int64_t> fix_ulp;
  std::vector<BytesView> blobs;
};

struct ParsedBlock {
  std::uint32_t rows = 0;
  std::uint64_t unit = 1;
  std::int64_t step = 0;
  std::vector<std::int64_t> device, start, time;
  std::vector<std::uint64_t> run;
  std::vector<BytesView> columns;
  std::uint64_t quality = 0, trust = 0;
};

bool parse_column(BytesView bytes, std::size_t rows, ParsedColumn& column) {
  wire::Reader reader(bytes);
  std::uint32_t field, type;
  const auto plain = [](std::uint64_t v) { return v; };
  while (reader.next(field, type)) {
    bool ok = true;
    switch (field) {
      case 1: column.metric = static_cast<std::uint32_t>(reader.get_varint()); break;
      case 2: column.type = static_cast<std::uint32_t>(reader.get_varint()); break;
      case 3: column.exponent = static_cast<std::uint32_t>(reader.get_varint()); break;
      case 4: column.order = static_cast<std::uint32_t>(reader.get_varint()); break;
      case 5: column.factor = reader.get_varint(); break;
      case 6: ok = get_packed(reader, type, rows, column.ints, wire::unzigzag); break;
      case 7: column.doubles = reader.get_bytes(); break;
      case 8: column.floats = reader.get_bytes(); break;
      case 9: ok = get_packed(reader, type, rows, column.fix_gap, plain); break;
      case 10: ok = get_packed(reader, type, rows, column.fix_ulp, wire::unzigzag); break;
      case 11: ok = get_packed(reader, type, rows, column.except_gap, plain); break;
      case 12: column.except = reader.get_bytes(); break;
      case 13:
        if (column.blobs.size() >= rows) return false;
        column.blobs.push_back(reader.get_bytes());
        break;
      default: reader.skip(type);
    }
    if (!ok) return false;
  }
  if (column.factor == 0) column.factor = 1;
  return reader.ok() && column.exponent < std::size(wire::powers_of_ten) && column.order <= 2;
}

bool parse_block(BytesView bytes, std::size_t readings_max, ParsedBlock& block) {
  wire::Reader reader(bytes);
  std::uint32_t field, type;
  const auto plain = [](std::uint64_t v) { return v; };
  while (reader.next(field, type)) {
    bool ok = true;
    switch (field) {
      case 1: {
        const std::uint64_t rows = reader.get_varint();
        if (rows > readings_max) return false;
        block.rows = static_cast<std::uint32_t>(rows);
        break;
      }
      case 2: ok = get_packed(reader, type, readings_max, block.device, wire::unzigzag); break;
      case 3: ok = get_packed(reader, type, readings_max, block.run, plain); break;
      case 4: block.unit = reader.get_varint(); break;
      case 5: block.step = reader.get_sint(); break;
      case 6: ok = get_packed(reader, type, readings_max, block.start, wire::unzigzag); break;
      case 7: ok = get_packed(reader, type, readings_max, block.time, wire::unzigzag); break;
      case 8:
        if (block.columns.size() >= readings_max) return false;
        block.columns.push_back(reader.get_bytes());
        break;
      case 9: block.quality = reader.get_varint(); break;
      case 10: block.trust = reader.get_varint(); break;
      default: reader.skip(type);
    }
    if (!ok) return false;
  }
  if (block.unit == 0) block.unit = 1;
  return reader.ok() && block.quality <= 2 && block.trust <= 2;
}

// Device and time of each row.
bool expand_rows(const ParsedBlock& block, std::int64_t base, std::vector<std::uint32_t>& devices,
                 std::vector<std::int64_t>& time_us) {
  devices.clear();
  time_us.clear();
  devices.reserve(block.rows);
  time_us.reserve(block.rows);
  std::int64_t device = 0, start = base;
  std::size_t run = 0, residual = 0;
  if (block.run.empty() && block.rows > 0) return false;
  while (devices.size() < block.rows) {
    // A missing tail of `device` is zeros, as for every packed field.
    device = plus(device, run < block.device.size() ? block.device[run] : 0);
    start = plus(start, times(run < block.start.size() ? block.start[run] : 0, block.unit));
    const std::uint64_t rows = block.run.size() == 1    ? block.run[0]
                               : run < block.run.size() ? block.run[run]
                                                        : 0;
    if (rows == 0 || rows > block.rows - devices.size() || device < 0 || device > UINT32_MAX) return false;
    std::int64_t time = start;
    for (std::uint64_t r = 0; r < rows; ++r) {
      if (r > 0) {
        const std::int64_t more = residual < block.time.size() ? block.time[residual] : 0;
        ++residual;
        time = plus(time, times(plus(more, block.step), block.unit));
      }
      devices.push_back(static_cast<std::uint32_t>(device));
      time_us.push_back(time);
    }
    ++run;
  }
  return true;
}

std::uint64_t fixed64_at(BytesView bytes, std::size_t index) {
  return wire::Reader(bytes.subspan(index * 8, 8)).get_fixed64();
}

// The bits of every row's value.
bool expand_values(const ParsedColumn& column, std::uint32_t rows, std::vector<std::uint64_t>& bits,
                   std::vector<std::string>& blobs, ValueType& type) {
  bits.assign(rows, 0);
  switch (column.type) {
    case 0:
    case 3:
    case 5:
    case 6: {
      std::int64_t sum = 0, step = 0;
      const double power = wire::powers_of_ten[column.exponent];
      for (std::uint32_t r = 0; r < rows; ++r) {
        std::int64_t v = r < column.ints.size() ? column.ints[r] : 0;
        if (column.order == 2) v = step = plus(step, v);
        if (column.order >= 1) v = sum = plus(sum, v);
        const std::int64_t number = times(v, column.factor);
        if (column.type == 5) bits[r] = static_cast<std::uint64_t>(number);
        else if (column.type == 6) bits[r] = number != 0;
        else if (column.type == 0)
          bits[r] = std::bit_cast<std::uint64_t>(static_cast<double>(number) / power);
        else
          bits[r] = std::bit_cast<std::uint64_t>(
              static_cast<double>(static_cast<float>(static_cast<double>(number) / power)));
      }
      type = column.type == 5 ? ValueType::integer : column.type == 6 ? ValueType::flag : ValueType::number;
      break;
    }
    case 1:
      if (column.doubles.size() != 8 * static_cast<std::size_t>(rows)) return false;
      for (std::uint32_t r = 0; r < rows; ++r) bits[r] = fixed64_at(column.doubles, r);
      type = ValueType::number;
      break;
    case 2:
      if (column.floats.size() != 4 * static_cast<std::size_t>(rows)) return false;
      for (std::uint32_t r = 0; r < rows; ++r) {
        const auto f = std::bit_cast<float>(wire::Reader(column.floats.subspan(r * 4, 4)).get_fixed32());
        bits[r] = std::bit_cast<std::uint64_t>(static_cast<double>(f));
      }
      type = ValueType::number;
      break;
    case 7:
    case 8:
      if (column.blobs.size() != rows) return false;
      for (std::uint32_t r = 0; r < rows; ++r) {
        bits[r] = blobs.size();
        blobs.emplace_back(text_of(column.blobs[r]));
      }
      type = column.type == 7 ? ValueType::text : ValueType::blob;
      break;
    default: return false;
  }
  if (column.fix_gap.size() != column.fix_ulp.size() || column.except_gap.size() * 8 != column.except.size())
    return false;
  std::uint64_t row = 0;
  for (std::size_t i = 0; i < column.fix_gap.size(); ++i) {
    if (column.fix_gap[i] >= rows || (row += column.fix_gap[i]) >= rows) return false;
    bits[row] += static_cast<std::uint64_t>(column.fix_ulp[i]);
  }
  row = 0;
  for (std::size_t i = 0; i < column.except_gap.size(); ++i) {
    if (column.except_gap[i] >= rows || (row += column.except_gap[i]) >= rows) return false;
    bits[row] = fixed64_at(column.except, i);
  }
  return true;
}

bool parse_name(BytesView bytes, BatchName& name) {
  wire::Reader reader(bytes);
  std::uint32_t field, type;
  while (reader.next(field, type)) {
    if (field == 1 && type == wire::length) name.name = text_of(reader.get_bytes());
    else if (field == 2 && type == wire::length) name.unit = text_of(reader.get_bytes());
    else if (field == 3 && type == wire::length) {
      wire::Reader tag(reader.get_bytes());
      auto& [key, value] = name.tags.emplace_back();
      while (tag.next(field, type)) {
        if (field == 1 && type == wire::length) key = text_of(tag.get_bytes());
        else if (field == 2 && type == wire::length) value = text_of(tag.get_bytes());
        else tag.skip(type);
      }
      if (!tag.ok()) return false;
    } else {
      reader.skip(type);
    }
  }
  return reader.ok();
}

template <typename T>
void rearrange(std::vector<T>& values, const std::vector<std::uint32_t>& order) {
  std::vector<T> out;
  out.reserve(values.size());
  for (const std::uint32_t i : order) out.push_back(values[i]);
  values = std::move(out);
}

// From the order of the blocks to that of the numbers: by device, each by time; those in `late` as the blocks
// have them.
void number_by_device(const std::vector<std::uint64_t>& late, Readings& readings) {
  std::vector<std::pair<std::uint32_t, std::int64_t>> keys;
  std::vector<std::uint32_t> order(readings.size());
  keys.reserve(readings.size());
  for (std::uint32_t i = 0; i < readings.size(); ++i) {
    const bool as_it_is = std::binary_search(late.begin(), late.end(), readings.device[i]);
    keys.emplace_back(readings.device[i], as_it_is ? 0 : readings.time_us[i]);
    order[i] = i;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return keys[a] < keys[b]; });
  rearrange(readings.device, order);
  rearrange(readings.metric, order);
  rearrange(readings.time_us, order);
  rearrange(readings.bits, order);
  rearrange(readings.type, order);
  rearrange(readings.attributes, order);
}

// What a batch says beside its blocks goes into `out`.
struct Blocks {
  std::int64_t base = 0;
  std::uint64_t claimed = 0;  // readings in all of them
  std::vector<BytesView> each;
  std::vector<std::uint64_t> late;
};

bool parse_batch(BytesView bytes, std::size_t readings_max, DecodedBatch& out, Blocks& blocks) {
  wire::Reader reader(bytes);
  std::uint32_t field, type;
  while (reader.next(field, type)) {
    switch (field) {
      case 1: blocks.base = reader.get_sint(); break;
      case 2: blocks.claimed = reader.get_varint(); break;
      case 3: blocks.each.push_back(reader.get_bytes()); break;
      case 4:
        if (!parse_name(reader.get_bytes(), out.devices.emplace_back())) reader.fail();
        break;
      case 5:
        if (!parse_name(reader.get_bytes(), out.metrics.emplace_back())) reader.fail();
        break;
      case 6: out.others.push_back(reader.get_bytes()); break;
      case 7: out.boot_id = reader.get_fixed64(); break;
      case 8: out.offset_us = reader.get_sint(); break;
      case 9: out.by_device = reader.get_varint() != 0; break;
      case 10:
        if (!get_packed(reader, type, readings_max, blocks.late, [](std::uint64_t v) { return v; }))
          reader.fail();
        break;
      default: reader.skip(type);
    }
  }
  return reader.ok();
}

// The values of a block, column by column, and what they are of; kept from block to block for their room.
struct Columns {
  std::vector<std::uint32_t> devices;
  std::vector<std::int64_t> time_us;
  std::vector<std::vector<std::uint64_t>> values;
  std::vector<std::pair<std::uint32_t, ValueType>> kinds;
};

void append_block(const ParsedBlock& block, const Columns& columns, Readings& readings) {
  const std::vector<std::pair<std::uint32_t, ValueType>>& kinds = columns.kinds;
  const auto attributes = static_cast<std::uint8_t>(block.quality << 2 | block.trust);
  const std::size_t more = static_cast<std::size_t>(block.rows) * kinds.size();
  const std::size_t at = readings.size();
  readings.device.resize(at + more);
  readings.metric.resize(at + more);
  readings.time_us.resize(at + more);
  readings.bits.resize(at + more);
  readings.type.resize(at + more);
  readings.attributes.resize(at + more, attributes);
  for (std::size_t c = 0; c < kinds.size(); ++c) {
    std::size_t to = at + c;
    for (std::uint32_t r = 0; r < block.rows; ++r, to += kinds.size()) {
      readings.device[to] = columns.devices[r];
      readings.metric[to] = kinds[c].first;
      readings.time_us[to] = columns.time_us[r];
      readings.bits[to] = columns.values[c][r];
      readings.type[to] = kinds[c].second;
    }
  }
}

}  // namespace

Status decode_batch_columns(BytesView bytes, std::size_t readings_max, DecodedBatch& out) {
  Blocks blocks;
  if (!parse_batch(bytes, readings_max, out, blocks)) return corrupt("not a whole message");
  if (blocks.claimed + out.others.size() > readings_max) return corrupt("more records than it may hold");
  Columns columns;
  Readings& readings = out.readings;
  for (const BytesView bytes_of_block : blocks.each) {
    ParsedBlock block;
    const std::size_t room = blocks.claimed - readings.size();
    if (!parse_block(bytes_of_block, room, block)) return corrupt("a block is not whole or too large");
    if (block.columns.size() * static_cast<std::uint64_t>(block.rows) > room)
      return corrupt("more readings than it says");
    if (!expand_rows(block, blocks.base, columns.devices, columns.time_us))
      return corrupt("runs do not fit the rows");
    columns.values.resize(block.columns.size());
    columns.kinds.clear();
    for (std::size_t c = 0; c < block.columns.size(); ++c) {
      ParsedColumn column;
      ValueType value_type{};
      if (!parse_column(block.columns[c], block.rows, column) ||
          !expand_values(column, block.rows, columns.values[c], readings.blobs, value_type)) {
        return corrupt("a column does not fit its block");
      }
      columns.kinds.emplace_back(column.metric, value_type);
    }
    append_block(block, columns, readings);
  }
  if (readings.size() != blocks.claimed) return corrupt("fewer readings than it says");
  std::sort(blocks.late.begin(), blocks.late.end());
  if (out.by_device) number_by_device(blocks.late, readings);
  return {};
}

}  // namespace millrace
