#include "record/redate.h"

#include <utility>

#include "record/record_proto.h"
#include "record/unsynced.h"

namespace millrace {
namespace {

bool date_by_boot(Record& record, const BootTimes& times) {
  const auto time = times.time_of(record.detail->boot_id, record.detail->monotonic_us);
  if (!time) return false;
  record.time = *time;
  record.trust = TimeTrust::gateway;
  auto detail = std::make_shared<Detail>(*record.detail);
  detail->boot_id = 0;
  detail->monotonic_us = 0;
  record.detail = std::move(detail);
  return true;
}

class Redating {
 public:
  Redating(const BootTimes& times, std::uint64_t boot) : times_(times), boot_(boot) {}

  Status run(BytesView message) {
    if (Status status = decode_batch_columns(message, batch_records_max, batch_); !status.ok()) return status;
    if (Status status = check_names(batch_); !status.ok()) return status;
    for (const BytesView bytes : batch_.others) {
      auto record = decode_record(bytes);
      if (!record.ok()) return record.status();
      others_.push_back(std::move(record).value());
    }
    readings();
    for (Record& record : others_) other(record);
    return {};
  }
  Redated give() {
    if (done_.corrected == 0) return std::move(done_);
    batch_.others.clear();
    done_.batch = encode_as_numbered(std::move(batch_), std::move(others_));
    return std::move(done_);
  }

 private:
  void count(bool told, std::uint64_t boot) {
    if (told) ++done_.corrected;
    else done_.untold |= boot != 0 && boot == boot_;
  }

  void readings() {
    Readings& of = batch_.readings;
    bool left = false;
    for (std::size_t i = 0; i < of.size(); ++i) {
      if (static_cast<TimeTrust>(of.attributes[i] & 3) != TimeTrust::unsynced) continue;
      const auto time = times_.time_of(batch_.boot_id, monotonic_of(of.time_us[i], batch_.offset_us));
      count(time.has_value(), batch_.boot_id);
      left |= !time;
      if (!time) continue;
      of.time_us[i] = time->us;
      of.attributes[i] = attributes_of(static_cast<Quality>(of.attributes[i] >> 2), TimeTrust::gateway);
    }
    if (!left) batch_.boot_id = 0, batch_.offset_us = 0;
  }

  void other(Record& record) {
    if (record.trust != TimeTrust::unsynced || !record.detail) return;
    const std::uint64_t boot = record.detail->boot_id;
    count(date_by_boot(record, times_), boot);
  }

  const BootTimes& times_;
  const std::uint64_t boot_;
  DecodedBatch batch_;
  std::vector<Record> others_;
  Redated done_;
};

}  // namespace

Result<Redated> redate(BytesView bytes, bool zstd, const BootTimes& times, std::uint64_t boot) {
  auto message = open_batch(bytes, zstd);
  if (!message.ok()) return message.status();
  Redating redating(times, boot);
  if (Status status = redating.run(message.value()); !status.ok()) return status;
  return redating.give();
}

Status decode_redated(BytesView bytes, bool zstd, const BootTimes& times, std::vector<Record>& out) {
  const std::size_t before = out.size();
  if (Status status = decode_batch(bytes, zstd, out); !status.ok()) return status;
  for (std::size_t i = before; i < out.size(); ++i) {
    if (out[i].trust == TimeTrust::unsynced && out[i].detail) (void)date_by_boot(out[i], times);
  }
  return {};
}

}  // namespace millrace
