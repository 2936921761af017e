// Columns in, the blocks of proto/record.proto's Batch out. Readings are grouped by metric and device, values
// become decimals where that is exact to the bit, times become run starts plus residuals. Numbers keep the
// order in which a device's readings came, however its metrics took turns, unless the device's own times go
// back (then within each metric only). A device is a name with its tags: between readings of one name and
// different tags their times tell the order, not their numbers. Pure: equal readings give equal bytes. The
// decisions a column takes are in column_encoder.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "record/readings.h"

namespace millrace {

class BatchEncoder {
 public:
  // Appends fields 1 to 3, 9 and 10 of Batch to `out`. `order[i]` becomes the index into `readings` of the
  // reading numbered i in the batch. Ids of devices and metrics must be below `devices` and `metrics`.
  // Buffers are reused between calls. `by_device`: numbered by device also where the blocks would keep the
  // order (a part of a batch that was).
  void encode(const Readings& readings, std::uint32_t devices, std::uint32_t metrics, Bytes& out,
              std::vector<std::uint32_t>& order, bool by_device = false);

 private:
  struct Group {             // readings of one attribute set, type and metric, sorted by device
    std::uint32_t from, to;  // in sorted_
    std::uint32_t metric;
    ValueType type;
    std::uint8_t attributes;
  };
  struct Run {
    std::uint32_t from, rows;
    std::uint32_t device;
  };

  void sort(const Readings& readings, std::uint32_t devices, std::uint32_t metrics);
  bool same_rows(const Readings& readings, const Group& a, const Group& b) const;
  void encode_block(const Readings& readings, const std::vector<Group>& columns, std::int64_t base,
                    Bytes& out, std::vector<std::uint32_t>& order);
  std::uint64_t gather_rows(const Readings& readings, const Group& first, std::int64_t base);
  void put_runs(const Readings& readings, std::int64_t base, std::uint64_t unit);
  void put_column(const Readings& readings, const Group& group, const Group& first);
  void order_runs(const Readings& readings, std::int64_t base, std::uint64_t unit);
  void find_late(const Readings& readings, std::uint32_t devices);
  bool blocks_keep_order(const Readings& readings, std::uint32_t devices,
                         const std::vector<std::uint32_t>& order);
  void number_by_device(const Readings& readings, std::uint32_t devices, Bytes& out,
                        std::vector<std::uint32_t>& order);

  std::vector<std::uint32_t> by_device_, sorted_, counts_, newest_;
  std::vector<std::int64_t> last_time_;
  std::vector<std::uint8_t> late_;  // devices whose times go back somewhere
  std::vector<std::int32_t> key_of_;
  std::vector<Group> groups_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> rows_;  // offsets into a group, in the order of the block's rows
  std::vector<std::int64_t> numbers_, spare_;
  std::vector<std::uint64_t> bits_;
  Bytes block_, column_;
};

}  // namespace millrace
