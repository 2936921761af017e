#include "record/batch.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/text.h"
#include "base/utf8.h"
#include "record/record_proto.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

// One string that is not UTF-8 makes the whole batch unreadable for most readers of protobuf: what the door
// did not see (a slice of a batch that an older version stored, an event of a driver) is mended before it is
// written.
bool is_utf8(std::string_view given) { return find_fault(given, Controls::all).kind == TextFault::ok; }
std::string utf8(const std::string& given) { return is_utf8(given) ? given : mended_utf8(given); }

bool is_utf8(const Tags& given) {
  return std::all_of(given.begin(), given.end(),
                     [](const Tags::Tag& tag) { return is_utf8(tag.first) && is_utf8(tag.second); });
}
Tags utf8(const Tags& given) {
  Tags::List mended;
  for (const auto& [name, value] : given) mended.emplace_back(utf8(name), utf8(value));
  return mended;
}

void mend(std::vector<BatchName>& names) {
  for (BatchName& name : names) {
    if (!is_utf8(name.name)) name.name = mended_utf8(name.name);
    if (!is_utf8(name.unit)) name.unit = mended_utf8(name.unit);
    if (!is_utf8(name.tags)) name.tags = utf8(name.tags);
  }
}

// Of names that are UTF-8.
void put_name(std::uint32_t field, const BatchName& name, Bytes& out) {
  Bytes message;
  wire::Writer writer(message);
  writer.text_field(1, name.name);
  writer.text_field(2, name.unit);
  for (const auto& [key, value] : name.tags) {
    Bytes tag;
    wire::Writer tag_writer(tag);
    tag_writer.text_field(1, key);
    tag_writer.text_field(2, value);
    writer.bytes_field(3, tag);
  }
  wire::Writer(out).bytes_field(field, message);
}

Record record_of(const Readings& readings, std::size_t i, const std::vector<BatchName>& devices,
                 const std::vector<BatchName>& metrics) {
  Record record;
  const BatchName& device = devices[readings.device[i]];
  const BatchName& metric = metrics[readings.metric[i]];
  record.device = device.name;
  record.tags = device.tags;
  record.metric = metric.name;
  record.unit = metric.unit;
  record.time = {readings.time_us[i]};
  record.quality = static_cast<Quality>(readings.attributes[i] >> 2);
  record.trust = static_cast<TimeTrust>(readings.attributes[i] & 3);
  switch (readings.type[i]) {
    case ValueType::number: record.value = std::bit_cast<double>(readings.bits[i]); break;
    case ValueType::integer: record.value = static_cast<std::int64_t>(readings.bits[i]); break;
    case ValueType::flag: record.value = readings.bits[i] != 0; break;
    case ValueType::text: record.value = readings.blobs[readings.bits[i]]; break;
    case ValueType::blob: record.value = to_bytes(readings.blobs[readings.bits[i]]); break;
  }
  return record;
}

Bytes message_of(BatchEncoder& encoder, const Readings& readings, const std::vector<BatchName>& devices,
                 const std::vector<BatchName>& metrics, const std::vector<Record>& others,
                 std::uint64_t boot_id, std::int64_t offset_us, std::vector<std::uint32_t>& order,
                 bool by_device = false) {
  Bytes message;
  encoder.encode(readings, static_cast<std::uint32_t>(devices.size()),
                 static_cast<std::uint32_t>(metrics.size()), message, order, by_device);
  for (const BatchName& name : devices) put_name(4, name, message);
  for (const BatchName& name : metrics) put_name(5, name, message);
  for (const Record& record : others) wire::Writer(message).bytes_field(6, encode_record(record));
  wire::Writer writer(message);
  writer.fixed64_field(7, boot_id);
  writer.sint_field(8, offset_us);
  return message;
}

std::size_t bytes_of_detail(const Record& record) {
  std::size_t bytes = record.metric.size();
  if (const auto* string = std::get_if<std::string>(&record.value)) bytes += string->size();
  if (const auto* blob = std::get_if<Bytes>(&record.value)) bytes += blob->size();
  for (const auto& [name, value] : record.tags) bytes += name.size() + value.size();
  if (!record.detail) return bytes;
  if (const auto* dead = std::get_if<DeadDetail>(&record.detail->body)) {
    const DeadPublisher& from = dead->publisher;
    bytes += dead->payload.size() + dead->channel.size() + dead->reason.size() + from.client_id.size() +
             from.username.size() + from.subject.size() + from.content_type.size();
    for (const auto& [name, value] : from.properties) bytes += name.size() + value.size();
  }
  return bytes;
}

// What a stamp of a clock that nobody vouched for can be corrected by, which the batch has once for all of
// them.
class BootStamp {
 public:
  explicit BootStamp(const DecodedBatch& batch) : boot_id_(batch.boot_id), offset_us_(batch.offset_us) {}

  void put(Record& record) {
    if (boot_id_ == 0 || record.trust != TimeTrust::unsynced) return;
    const std::int64_t monotonic_us = monotonic_of(record.time.us, offset_us_);
    if (!last_ || last_->monotonic_us != monotonic_us) {
      auto detail = std::make_shared<Detail>();
      detail->boot_id = boot_id_;
      detail->monotonic_us = monotonic_us;
      last_ = std::move(detail);
    }
    record.detail = last_;
  }
  void put(std::vector<Record>& records) {
    for (Record& record : records) put(record);
  }

 private:
  const std::uint64_t boot_id_;
  const std::int64_t offset_us_;
  std::shared_ptr<const Detail> last_;  // of the values of one message
};

}  // namespace

Status check_names(const DecodedBatch& batch) {
  std::size_t copied = 0;
  for (std::size_t i = 0; i < batch.readings.size(); ++i) {
    if (batch.readings.device[i] >= batch.devices.size() ||
        batch.readings.metric[i] >= batch.metrics.size()) {
      return {Code::corrupt, "batch: a reading names a device or metric the batch does not list"};
    }
    const BatchName& metric = batch.metrics[batch.readings.metric[i]];
    copied += batch.devices[batch.readings.device[i]].name.size() + metric.name.size() + metric.unit.size();
    if (copied > batch_names_bytes_max)
      return {Code::corrupt, "batch: its names take more memory than those of any batch of ours"};
  }
  return {};
}

// Readings come in runs: the values of one message have one device, and a device that speaks often has the
// same metrics. Or they take turns: after one comes the one that came after it before. What was right the
// last time is tried first.
std::uint32_t BatchBuilder::id_of(Names& names, std::string_view name, std::string_view unit,
                                  const Tags& tags) {
  const auto same = [&](std::uint32_t id) {
    const BatchName& one = names.all[id];
    return one.name == name && one.unit == unit && one.tags == tags;
  };
  const auto count = static_cast<std::uint32_t>(names.all.size());
  for (std::uint32_t tries = 0; count > 0 && tries < 2; ++tries, names.in_turn = !names.in_turn) {
    std::uint32_t id = names.last + (names.in_turn ? 1 : 0);
    if (id == count) id = 0;
    if (same(id)) return names.last = id;
  }
  constexpr std::hash<std::string_view> hash_of;
  std::size_t hash = hash_of(name), bytes = name.size() + unit.size() + 4;
  if (!unit.empty()) hash = hash * 31 + hash_of(unit);
  for (const auto& [key, value] : tags) {
    hash = (hash * 31 + hash_of(key)) * 31 + hash_of(value);
    bytes += key.size() + value.size();
  }
  for (auto [at, end] = names.ids.equal_range(hash); at != end; ++at) {
    if (same(at->second)) return names.last = at->second;
  }
  names.ids.emplace(hash, count);
  BatchName& added = names.all.emplace_back();
  added.name = name;
  added.unit = unit;
  added.tags = tags;
  bytes_waiting_ += bytes;
  return names.last = count;
}

bool BatchBuilder::add(const Record& record) {
  if (!in_columns(record)) {
    places_.push_back(static_cast<std::uint32_t>(others_.size()) | 0x80000000u);
    others_.push_back(record);
    bytes_waiting_ += 64 + record.device.size();
    bytes_waiting_ += bytes_of_detail(record);
    return false;
  }
  static const Tags no_tags;
  const std::uint32_t device = id_of(devices_, record.device, {}, record.tags);
  const std::uint32_t metric = id_of(metrics_, record.metric, record.unit, no_tags);
  std::uint64_t bits = 0;
  ValueType type = ValueType::number;
  if (const auto* number = std::get_if<double>(&record.value)) {
    bits = std::bit_cast<std::uint64_t>(*number);
  } else if (const auto* integer = std::get_if<std::int64_t>(&record.value)) {
    type = ValueType::integer;
    bits = static_cast<std::uint64_t>(*integer);
  } else if (const auto* flag = std::get_if<bool>(&record.value)) {
    type = ValueType::flag;
    bits = *flag;
  } else {
    const auto* string = std::get_if<std::string>(&record.value);
    type = string ? ValueType::text : ValueType::blob;
    bits = readings_.blobs.size();
    readings_.blobs.push_back(string ? utf8(*string) : std::string(text_of(std::get<Bytes>(record.value))));
    bytes_waiting_ += readings_.blobs.back().size();
  }
  places_.push_back(static_cast<std::uint32_t>(readings_.size()));
  readings_.add(device, metric, record.time.us, type, bits, attributes_of(record.quality, record.trust));
  bytes_waiting_ += 8;
  return true;
}

void BatchBuilder::Names::clear() {
  all.clear();
  ids.clear();
  last = 0;
}

void BatchBuilder::clear() {
  readings_.clear();
  others_.clear();
  places_.clear();
  devices_.clear();
  metrics_.clear();
  order_.clear();
  bytes_waiting_ = 0;
}

EncodedBatch BatchBuilder::encode(std::uint64_t boot_id, std::int64_t offset_us) {
  // Only unsynced times will ever be corrected: the other batches save the sixteen bytes.
  bool unsynced = false;
  for (const std::uint8_t a : readings_.attributes)
    unsynced = unsynced || (a & 3) == static_cast<unsigned>(TimeTrust::unsynced);
  std::vector<std::uint32_t> reading_order;
  mend(devices_.all);
  mend(metrics_.all);
  Bytes message = message_of(encoder_, readings_, devices_.all, metrics_.all, others_, unsynced ? boot_id : 0,
                             unsynced ? offset_us : 0, reading_order);
  std::vector<std::uint32_t> place_of_reading(readings_.size());
  std::vector<std::uint32_t> place_of_other(others_.size());
  for (std::uint32_t i = 0; i < places_.size(); ++i) {
    if (places_[i] & 0x80000000u) place_of_other[places_[i] & 0x7FFFFFFFu] = i;
    else place_of_reading[places_[i]] = i;
  }
  order_.clear();
  for (const std::uint32_t reading : reading_order) order_.push_back(place_of_reading[reading]);
  order_.insert(order_.end(), place_of_other.begin(), place_of_other.end());
  return close_batch(std::move(message));
}

Record BatchBuilder::at(std::uint32_t index) const {
  const std::uint32_t place = places_[index];
  if (place & 0x80000000u) return others_[place & 0x7FFFFFFFu];
  return record_of(readings_, place, devices_.all, metrics_.all);
}

EncodedBatch close_batch(Bytes message) {
  thread_local std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                            &ZSTD_freeCCtx);
  Bytes packed(ZSTD_compressBound(message.size()));
  const std::size_t size =
      ZSTD_compressCCtx(context.get(), packed.data(), packed.size(), message.data(), message.size(), 1);
  if (ZSTD_isError(size) || size >= message.size()) return {std::move(message), false};
  packed.resize(size);
  packed.shrink_to_fit();
  return {std::move(packed), true};
}

// One frame as zstd writes them since 0.8, and nothing behind it. What is older is never handed to the
// library: the core's has nothing that reads it (without_parts() in CMakeLists.txt).
static bool one_frame(BytesView bytes) {
  constexpr std::array magic{std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F}, std::byte{0xFD}};
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin()) &&
         ZSTD_findFrameCompressedSize(bytes.data(), bytes.size()) == bytes.size();
}

Result<Bytes> open_batch(BytesView bytes, bool zstd) {
  if (!zstd) return Bytes(bytes.begin(), bytes.end());
  if (!one_frame(bytes)) return Status{Code::corrupt, "batch: not one frame of zstd"};
  const auto size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > batch_bytes_max) {
    return Status{Code::corrupt, "batch: not a zstd frame of known, bounded size"};
  }
  thread_local std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                            &ZSTD_freeDCtx);
  Bytes message(static_cast<std::size_t>(size));
  const std::size_t got =
      ZSTD_decompressDCtx(context.get(), message.data(), message.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got) || got != message.size())
    return Status{Code::corrupt, "batch: zstd frame is damaged"};
  return message;
}

Status decode_batch(BytesView bytes, bool zstd, std::vector<Record>& out) {
  auto message = open_batch(bytes, zstd);
  if (!message.ok()) return message.status();
  DecodedBatch batch;
  if (Status status = decode_batch_columns(message.value(), batch_records_max, batch); !status.ok())
    return status;
  if (Status status = check_names(batch); !status.ok()) return status;
  std::vector<Record> others;
  for (const BytesView bytes_of_record : batch.others) {
    auto record = decode_record(bytes_of_record);
    if (!record.ok()) return record.status();
    others.push_back(std::move(record).value());
  }
  out.reserve(out.size() + batch.readings.size() + others.size());
  BootStamp stamp(batch);
  for (std::size_t i = 0; i < batch.readings.size(); ++i) {
    out.push_back(record_of(batch.readings, i, batch.devices, batch.metrics));
    stamp.put(out.back());
  }
  for (Record& record : others) out.push_back(std::move(record));
  return {};
}

Result<EncodedBatch> slice_batch(BytesView bytes, bool zstd, std::size_t from, std::size_t count) {
  auto message = open_batch(bytes, zstd);
  if (!message.ok()) return message.status();
  DecodedBatch batch;
  if (Status status = decode_batch_columns(message.value(), batch_records_max, batch); !status.ok())
    return status;
  if (Status status = check_names(batch); !status.ok()) return status;
  const std::size_t readings = batch.readings.size();
  if (from + count > readings + batch.others.size()) return Status{Code::invalid, "slice beyond the batch"};
  Readings part;
  std::vector<Record> others;
  for (std::size_t i = from; i < from + count; ++i) {
    if (i < readings) {
      part.add(batch.readings.device[i], batch.readings.metric[i], batch.readings.time_us[i],
               batch.readings.type[i], batch.readings.bits[i], batch.readings.attributes[i]);
    } else {
      auto record = decode_record(batch.others[i - readings]);
      if (!record.ok()) return record.status();
      others.push_back(std::move(record).value());
    }
  }
  part.blobs = batch.readings.blobs;
  batch.readings = std::move(part);
  return encode_as_numbered(std::move(batch), std::move(others));
}

EncodedBatch encode_as_numbered(DecodedBatch batch, std::vector<Record> others) {
  mend(batch.devices);
  mend(batch.metrics);
  const Readings& readings = batch.readings;
  BatchEncoder encoder;
  std::vector<std::uint32_t> order;
  Bytes message = message_of(encoder, readings, batch.devices, batch.metrics, others, batch.boot_id,
                             batch.offset_us, order, batch.by_device);
  std::vector<std::uint32_t> same(readings.size());
  std::iota(same.begin(), same.end(), 0u);
  if (order != same) {
    // The encoder would number these readings otherwise (runs laid by time): send them one by one, as they
    // were numbered.
    std::vector<Record> singles;
    for (std::size_t i = 0; i < readings.size(); ++i)
      singles.push_back(record_of(readings, i, batch.devices, batch.metrics));
    BootStamp(batch).put(singles);
    for (Record& record : others) singles.push_back(std::move(record));
    message = message_of(encoder, Readings{}, {}, {}, singles, batch.boot_id, batch.offset_us, order);
  }
  return close_batch(std::move(message));
}

Status add_devices(BytesView bytes, bool zstd, std::size_t from, std::size_t count, LossDetail& loss) {
  std::vector<Record> records;
  if (Status status = decode_batch(bytes, zstd, records); !status.ok()) return status;
  for (std::size_t i = from; i < std::min(from + count, records.size()); ++i)
    loss.add_device(records[i].device, 1);
  return {};
}

}  // namespace millrace
