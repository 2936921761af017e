#include "record/batch_encoder.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "record/column_encoder.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint32_t attribute_sets = 16, value_types = 8;

void put_packed_uint(std::uint32_t field, const std::vector<std::uint64_t>& values, Bytes& out) {
  std::size_t size = 0;
  for (const std::uint64_t v : values) size += wire::varint_size(v);
  wire::Writer writer(out);
  writer.tag(field, wire::length);
  writer.put_varint(size);
  for (const std::uint64_t v : values) writer.put_varint(v);
}

}  // namespace

// Two stable counting sorts: by device, then by (attributes, type, metric) in order of first appearance.
void BatchEncoder::sort(const Readings& readings, std::uint32_t devices, std::uint32_t metrics) {
  const std::size_t n = readings.size();
  counts_.assign(devices + 1, 0);
  for (const std::uint32_t d : readings.device) ++counts_[d + 1];
  std::partial_sum(counts_.begin(), counts_.end(), counts_.begin());
  by_device_.resize(n);
  for (std::uint32_t i = 0; i < n; ++i) by_device_[counts_[readings.device[i]]++] = i;

  key_of_.assign(static_cast<std::size_t>(metrics) * attribute_sets * value_types, -1);
  groups_.clear();
  const auto key = [&](std::uint32_t i) -> std::int32_t& {
    return key_of_[(readings.metric[i] * attribute_sets + readings.attributes[i]) * value_types +
                   static_cast<std::uint32_t>(readings.type[i])];
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    std::int32_t& k = key(i);
    if (k < 0) {
      k = static_cast<std::int32_t>(groups_.size());
      groups_.push_back({0, 0, readings.metric[i], readings.type[i], readings.attributes[i]});
    }
    ++groups_[static_cast<std::size_t>(k)].to;
  }
  std::uint32_t from = 0;
  for (Group& group : groups_) {
    const std::uint32_t size = group.to;
    group.from = group.to = from;
    from += size;
  }
  sorted_.resize(n);
  for (const std::uint32_t i : by_device_) sorted_[groups_[static_cast<std::size_t>(key(i))].to++] = i;
}

bool BatchEncoder::same_rows(const Readings& readings, const Group& a, const Group& b) const {
  if (a.attributes != b.attributes || a.to - a.from != b.to - b.from) return false;
  for (std::uint32_t i = 0; i < a.to - a.from; ++i) {
    const std::uint32_t x = sorted_[a.from + i], y = sorted_[b.from + i];
    if (readings.device[x] != readings.device[y] || readings.time_us[x] != readings.time_us[y]) return false;
  }
  return true;
}

// Runs lie by device. Where a device has about one reading, lying by first time can be cheaper: taken when it
// saves more than an eighth of a byte a reading.
void BatchEncoder::order_runs(const Readings& readings, std::int64_t base, std::uint64_t unit) {
  if (runs_.size() < 3 || runs_.size() * 3 < rows_.size()) return;
  const auto start = [&](const Run& run) { return readings.time_us[sorted_[rows_[run.from]]]; };
  const auto cost = [&](const std::vector<Run>& runs) {
    std::size_t bytes = 0;
    std::int64_t device = 0, time = base;
    for (const Run& run : runs) {
      bytes += wire::varint_size(wire::zigzag(static_cast<std::int64_t>(run.device) - device));
      bytes += wire::varint_size(wire::zigzag((start(run) - time) / static_cast<std::int64_t>(unit)));
      device = run.device;
      time = start(run);
    }
    return bytes;
  };
  std::vector<Run> by_time = runs_;
  std::stable_sort(by_time.begin(), by_time.end(),
                   [&](const Run& a, const Run& b) { return start(a) < start(b); });
  if (cost(by_time) + rows_.size() / 8 >= cost(runs_)) return;
  std::vector<std::uint32_t> rows;
  rows.reserve(rows_.size());
  for (Run& run : by_time) {
    const auto from = rows_.begin() + run.from;
    run.from = static_cast<std::uint32_t>(rows.size());
    rows.insert(rows.end(), from, from + run.rows);
  }
  rows_ = std::move(rows);
  runs_ = std::move(by_time);
}

// The block's rows, by runs of devices; returns the unit of their times.
std::uint64_t BatchEncoder::gather_rows(const Readings& readings, const Group& first, std::int64_t base) {
  const std::uint32_t rows = first.to - first.from;
  rows_.resize(rows);
  for (std::uint32_t r = 0; r < rows; ++r) rows_[r] = first.from + r;
  runs_.clear();
  std::uint64_t unit = 0;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const std::uint32_t i = sorted_[rows_[r]];
    if (runs_.empty() || runs_.back().device != readings.device[i])
      runs_.push_back({r, 0, readings.device[i]});
    ++runs_.back().rows;
    if (unit != 1) unit = std::gcd(unit, static_cast<std::uint64_t>(readings.time_us[i] - base));
  }
  if (unit == 0) unit = 1;
  order_runs(readings, base, unit);
  return unit;
}

// Which devices, how many rows of each, and the times of all.
void BatchEncoder::put_runs(const Readings& readings, std::int64_t base, std::uint64_t unit) {
  const auto units = [&](std::int64_t us) { return us / static_cast<std::int64_t>(unit); };
  numbers_.clear();
  spare_.clear();
  std::int64_t start = base;
  std::int64_t device = 0;
  std::vector<std::int64_t> devices;
  std::vector<std::uint64_t> lengths;
  devices.reserve(runs_.size());
  for (const Run& run : runs_) {
    devices.push_back(static_cast<std::int64_t>(run.device) - device);
    device = run.device;
    lengths.push_back(run.rows);
    std::int64_t time = readings.time_us[sorted_[rows_[run.from]]];
    spare_.push_back(units(time - start));
    start = time;
    for (std::uint32_t r = run.from + 1; r < run.from + run.rows; ++r) {
      const std::int64_t next = readings.time_us[sorted_[rows_[r]]];
      numbers_.push_back(units(next - time));
      time = next;
    }
  }
  if (std::all_of(lengths.begin(), lengths.end(), [&](std::uint64_t n) { return n == lengths.front(); }))
    lengths.resize(1);

  wire::Writer writer(block_);
  encode_packed_sint(2, devices, block_);
  put_packed_uint(3, lengths, block_);
  if (unit != 1) writer.uint_field(4, unit);
  if (!numbers_.empty()) {
    std::vector<std::int64_t> median = numbers_;
    std::nth_element(median.begin(), median.begin() + static_cast<std::ptrdiff_t>(median.size() / 2),
                     median.end());
    const std::int64_t step = median[median.size() / 2];
    for (std::int64_t& v : numbers_) v -= step;
    writer.sint_field(5, step);
  }
  encode_packed_sint(6, spare_, block_);
  encode_packed_sint(7, numbers_, block_);
}

// `first`: the column whose rows were gathered.
void BatchEncoder::put_column(const Readings& readings, const Group& group, const Group& first) {
  column_.clear();
  wire::Writer column(column_);
  column.uint_field(1, group.metric);
  const std::size_t rows = rows_.size();
  bits_.resize(rows);
  for (std::size_t r = 0; r < rows; ++r)
    bits_[r] = readings.bits[sorted_[rows_[r] - first.from + group.from]];
  switch (group.type) {
    case ValueType::number: encode_numbers(bits_, column_); break;
    case ValueType::integer: encode_integers(bits_, false, column_); break;
    case ValueType::flag: encode_integers(bits_, true, column_); break;
    case ValueType::text:
    case ValueType::blob:
      column.uint_field(2, group.type == ValueType::text ? 7 : 8);
      for (const std::uint64_t index : bits_) column.bytes_field(13, bytes_of(readings.blobs[index]));
      break;
  }
  wire::Writer(block_).bytes_field(8, column_);
}

void BatchEncoder::encode_block(const Readings& readings, const std::vector<Group>& columns,
                                std::int64_t base, Bytes& out, std::vector<std::uint32_t>& order) {
  const Group& first = columns.front();
  const std::uint64_t unit = gather_rows(readings, first, base);
  block_.clear();
  wire::Writer writer(block_);
  writer.uint_field(1, rows_.size());
  put_runs(readings, base, unit);
  for (const Group& group : columns) put_column(readings, group, first);
  writer.uint_field(9, first.attributes >> 2);
  writer.uint_field(10, first.attributes & 3);
  wire::Writer(out).bytes_field(3, block_);
  for (const std::uint32_t row : rows_) {
    for (const Group& group : columns) order.push_back(sorted_[row - first.from + group.from]);
  }
}

void BatchEncoder::find_late(const Readings& readings, std::uint32_t devices) {
  late_.assign(devices, 0);
  last_time_.assign(devices, std::numeric_limits<std::int64_t>::min());
  for (std::size_t i = 0; i < readings.size(); ++i) {
    std::int64_t& last = last_time_[readings.device[i]];
    if (readings.time_us[i] < last) late_[readings.device[i]] = 1;
    last = readings.time_us[i];
  }
}

// Whether the order of the blocks keeps what each device sent one after the other. Values of one moment have
// no order.
bool BatchEncoder::blocks_keep_order(const Readings& readings, std::uint32_t devices,
                                     const std::vector<std::uint32_t>& order) {
  newest_.assign(devices, 0);
  for (const std::uint32_t i : order) {
    const std::uint32_t device = readings.device[i];
    std::uint32_t& newest = newest_[device];
    if (i < newest && !late_[device] && readings.time_us[i] != readings.time_us[newest]) return false;
    newest = std::max(newest, i);
  }
  return true;
}

// Device after device, each by time; those whose times go back as the blocks have them.
void BatchEncoder::number_by_device(const Readings& readings, std::uint32_t devices, Bytes& out,
                                    std::vector<std::uint32_t>& order) {
  counts_.assign(devices + 1, 0);
  for (const std::uint32_t i : order) ++counts_[readings.device[i] + 1];
  std::partial_sum(counts_.begin(), counts_.end(), counts_.begin());
  by_device_.resize(order.size());
  for (const std::uint32_t i : order) by_device_[counts_[readings.device[i]]++] = i;
  std::vector<std::uint64_t> late;
  std::uint32_t from = 0;
  for (std::uint32_t device = 0; device < devices; ++device) {
    const std::uint32_t to = counts_[device];
    if (late_[device]) {
      late.push_back(device);
    } else {
      std::stable_sort(
          by_device_.begin() + from, by_device_.begin() + to,
          [&](std::uint32_t a, std::uint32_t b) { return readings.time_us[a] < readings.time_us[b]; });
    }
    from = to;
  }
  order.assign(by_device_.begin(), by_device_.end());
  wire::Writer(out).uint_field(9, 1);
  if (!late.empty()) put_packed_uint(10, late, out);
}

void BatchEncoder::encode(const Readings& readings, std::uint32_t devices, std::uint32_t metrics, Bytes& out,
                          std::vector<std::uint32_t>& order, bool by_device) {
  order.clear();
  if (readings.size() == 0) return;
  order.reserve(readings.size());
  sort(readings, devices, metrics);
  const std::int64_t base = *std::min_element(readings.time_us.begin(), readings.time_us.end());
  wire::Writer writer(out);
  writer.sint_field(1, base);
  writer.uint_field(2, readings.size());

  std::vector<bool> taken(groups_.size());
  std::vector<Group> columns;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (taken[i]) continue;
    columns.assign(1, groups_[i]);
    for (std::size_t j = i + 1; j < groups_.size(); ++j) {
      if (taken[j] || !same_rows(readings, groups_[i], groups_[j])) continue;
      taken[j] = true;
      columns.push_back(groups_[j]);
    }
    encode_block(readings, columns, base, out, order);
  }
  MILLRACE_CHECK(order.size() == readings.size());
  find_late(readings, devices);
  if (by_device || !blocks_keep_order(readings, devices, order))
    number_by_device(readings, devices, out, order);
}

}  // namespace millrace
