// Batches of records: collected, encoded as columns, compressed when that is smaller, and read back. What the
// log stores as a row and what uplinks send in batch form. The one home of zstd.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "record/batch_decoder.h"
#include "record/batch_encoder.h"
#include "record/record.h"

namespace millrace {

struct EncodedBatch {
  Bytes bytes;
  bool zstd = false;
};

// Whether a record lies in the batch's columns; others lie beside them, each as a message of its own.
inline bool in_columns(const Record& record) {
  constexpr std::int64_t time_limit = std::int64_t{1} << 62;  // differences of two times then fit 64 bits
  return record.kind == Kind::reading && !record.detail &&
         !std::holds_alternative<std::monostate>(record.value) && record.time.us > -time_limit &&
         record.time.us < time_limit;
}

// Collects records and encodes them. After encode(), record i of the batch is `at(order()[i])`: numbers are
// given in the order of the batch, which keeps the order of arrival of each device (batch_encoder.h says when
// only within a metric).
class BatchBuilder {
 public:
  // Whether it lies in columns.
  bool add(const Record& record);
  std::size_t count() const { return readings_.size() + others_.size(); }
  bool empty() const { return count() == 0; }
  // About what is waiting, in bytes before compression.
  std::size_t bytes_waiting() const { return bytes_waiting_; }
  void clear();

  // `boot_id` and `offset_us` (wall minus monotonic) let unsynced arrival times be corrected later.
  EncodedBatch encode(std::uint64_t boot_id, std::int64_t offset_us);
  const std::vector<std::uint32_t>& order() const { return order_; }
  // The record added at place `index`, rebuilt.
  Record at(std::uint32_t index) const;

 private:
  // Names by their place, and their places by what they hash to.
  struct Names {
    std::vector<BatchName> all;
    std::unordered_multimap<std::size_t, std::uint32_t> ids;
    std::uint32_t last = 0;  // of the reading before
    bool in_turn = false;    // it was the one after the one before it
    void clear();
  };
  std::uint32_t id_of(Names& names, std::string_view name, std::string_view unit, const Tags& tags);

  Readings readings_;
  std::vector<Record> others_;
  std::vector<std::uint32_t> places_;  // arrival index -> reading index, or count of readings + other index
  Names devices_, metrics_;
  std::size_t bytes_waiting_ = 0;
  BatchEncoder encoder_;
  std::vector<std::uint32_t> order_;
};

constexpr std::size_t batch_bytes_max = 16 << 20;  // what a batch may be once decompressed
constexpr std::size_t batch_records_max = 1 << 20;
constexpr std::size_t batch_names_bytes_max = 256 << 20;  // names of all its readings, once they are records

// The message of an encoded batch, decompressed when it must be. `corrupt` for anything but a whole batch.
Result<Bytes> open_batch(BytesView bytes, bool zstd);
// Smaller of raw and zstd level 1.
EncodedBatch close_batch(Bytes message);

// Every record of a batch, in number order; one whose time nobody vouched for has boot id and monotonic time
// in its detail. On error `out` is as it was.
Status decode_batch(BytesView bytes, bool zstd, std::vector<Record>& out);

// Records [from, from + count) of a batch as a batch of their own, with the same order.
Result<EncodedBatch> slice_batch(BytesView bytes, bool zstd, std::size_t from, std::size_t count);

// Names a decoded batch does not have are a fault of the bytes, not of ours; so is one long name that a
// million readings would each copy.
Status check_names(const DecodedBatch& batch);
// The readings of a decoded batch, changed or not, and `others` behind them, under the numbers they have.
EncodedBatch encode_as_numbered(DecodedBatch batch, std::vector<Record> others);

// Adds to `loss` the devices of records [from, from + count) of a batch, and how many records each has there.
Status add_devices(BytesView bytes, bool zstd, std::size_t from, std::size_t count, LossDetail& loss);

}  // namespace millrace
