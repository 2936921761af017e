#include "record/record_proto.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include <cstring>

#include "base/text.h"
#include "base/utf8.h"
#include "record.pb.h"

namespace millrace {
namespace {

// ---- strings and bytes of any length, through nanopb's callbacks
bool put_delimited(pb_ostream_t* stream, const pb_field_t* field, std::string_view value) {
  return pb_encode_tag_for_field(stream, field) &&
         pb_encode_string(stream, reinterpret_cast<const pb_byte_t*>(value.data()), value.size());
}

// A proto3 string that is not UTF-8 makes the whole message unreadable for most readers. The door
// (base/label.h) keeps such text out; what an older version stored, or a driver wrote into an event, is
// mended here.
bool put_utf8(pb_ostream_t* stream, const pb_field_t* field, std::string_view value) {
  if (find_fault(value, Controls::all).kind == TextFault::ok) return put_delimited(stream, field, value);
  return put_delimited(stream, field, mended_utf8(value));
}

bool write_string(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  const auto& value = *static_cast<const std::string_view*>(*arg);
  return value.empty() || put_utf8(stream, field, value);
}

// As a record's value an empty text is a value: it must be written, where a plain field is left out.
bool write_present_string(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  return put_utf8(stream, field, *static_cast<const std::string_view*>(*arg));
}

bool write_bytes(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  const auto& value = *static_cast<const std::string_view*>(*arg);
  return value.empty() || put_delimited(stream, field, value);
}

bool write_present_bytes(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  return put_delimited(stream, field, *static_cast<const std::string_view*>(*arg));
}

bool read_string(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& value = *static_cast<std::string*>(*arg);
  value.resize(stream->bytes_left);  // bounded by the message itself
  return pb_read(stream, reinterpret_cast<pb_byte_t*>(value.data()), value.size());
}

struct PresentString {
  std::string value;
  bool present = false;
};

bool read_present_string(pb_istream_t* stream, const pb_field_t* field, void** arg) {
  auto& to = *static_cast<PresentString*>(*arg);
  to.present = true;
  void* inner = &to.value;
  return read_string(stream, field, &inner);
}

void set(pb_callback_t& callback, std::string_view& value) {
  callback.funcs.encode = write_string;
  callback.arg = &value;
}
void set_bytes(pb_callback_t& callback, std::string_view& value) {
  callback.funcs.encode = write_bytes;
  callback.arg = &value;
}
void set(pb_callback_t& callback, std::string& value) {
  callback.funcs.decode = read_string;
  callback.arg = &value;
}

bool write_tags(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  for (const auto& [key, value] : *static_cast<const Tags*>(*arg)) {
    std::string_view key_view = key, value_view = value;
    millrace_Tag tag = millrace_Tag_init_zero;
    set(tag.key, key_view);
    set(tag.value, value_view);
    if (!pb_encode_tag_for_field(stream, field) || !pb_encode_submessage(stream, millrace_Tag_fields, &tag))
      return false;
  }
  return true;
}

bool read_tag(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& [key, value] = static_cast<Tags*>(*arg)->emplace_back();
  millrace_Tag tag = millrace_Tag_init_zero;
  set(tag.key, key);
  set(tag.value, value);
  return pb_decode(stream, millrace_Tag_fields, &tag);
}

bool write_runs(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  const auto& runs = *static_cast<const ValueRuns*>(*arg);
  if (runs.empty()) return true;
  const auto write = [&](pb_ostream_t* to) {
    std::uint32_t at = 0;
    for (const ValueRun& run : runs) {
      if (!pb_encode_varint(to, run.from - at) || !pb_encode_varint(to, run.to - run.from)) return false;
      at = run.to;
    }
    return true;
  };
  pb_ostream_t sizing = PB_OSTREAM_SIZING;
  if (!write(&sizing) || !pb_encode_tag(stream, PB_WT_STRING, field->tag)) return false;
  return pb_encode_varint(stream, sizing.bytes_written) && write(stream);
}

// Packed: all of them come in one call.
bool read_runs(pb_istream_t* stream, const pb_field_t*, void** arg) {
  auto& runs = *static_cast<ValueRuns*>(*arg);
  std::uint64_t at = runs.empty() ? 0 : runs.back().to;
  while (stream->bytes_left > 0) {
    std::uint32_t entered = 0, missing = 0;
    if (!pb_decode_varint32(stream, &entered) || !pb_decode_varint32(stream, &missing)) return false;
    const std::uint64_t from = at + entered, to = from + missing;
    if (to > UINT32_MAX) PB_RETURN_ERROR(stream, "places of values beyond any payload");
    runs.push_back({static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to)});
    at = to;
  }
  return true;
}

bool write_stats(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  for (const WindowStat& given : *static_cast<const std::vector<WindowStat>*>(*arg)) {
    std::string_view name = given.name;
    millrace_Stat stat = millrace_Stat_init_zero;
    set(stat.name, name);
    stat.value = given.value;
    if (!pb_encode_tag_for_field(stream, field) || !pb_encode_submessage(stream, millrace_Stat_fields, &stat))
      return false;
  }
  return true;
}

bool read_stat(pb_istream_t* stream, const pb_field_t*, void** arg) {
  WindowStat& to = static_cast<std::vector<WindowStat>*>(*arg)->emplace_back();
  millrace_Stat stat = millrace_Stat_init_zero;
  set(stat.name, to.name);
  if (!pb_decode(stream, millrace_Stat_fields, &stat)) return false;
  to.value = stat.value;
  return true;
}

using DeviceCounts = std::map<std::string, std::uint64_t>;

bool write_device_losses(pb_ostream_t* stream, const pb_field_t* field, void* const* arg) {
  for (const auto& [device, count] : *static_cast<const DeviceCounts*>(*arg)) {
    std::string_view name = device;
    millrace_DeviceLoss loss = millrace_DeviceLoss_init_zero;
    set(loss.device, name);
    loss.count = count;
    if (!pb_encode_tag_for_field(stream, field) ||
        !pb_encode_submessage(stream, millrace_DeviceLoss_fields, &loss))
      return false;
  }
  return true;
}

bool read_device_loss(pb_istream_t* stream, const pb_field_t*, void** arg) {
  std::string name;
  millrace_DeviceLoss loss = millrace_DeviceLoss_init_zero;
  set(loss.device, name);
  if (!pb_decode(stream, millrace_DeviceLoss_fields, &loss)) return false;
  (*static_cast<DeviceCounts*>(*arg))[name] += loss.count;
  return true;
}

bool append(pb_ostream_t* stream, const pb_byte_t* from, std::size_t count) {
  auto& out = *static_cast<Bytes*>(stream->state);
  const auto* bytes = reinterpret_cast<const std::byte*>(from);
  out.insert(out.end(), bytes, bytes + count);
  return true;
}

Bytes encode(const pb_msgdesc_t* fields, const void* message) {
  Bytes out;
  pb_ostream_t stream = {append, &out, SIZE_MAX, 0, nullptr};
  // memory is the only limit, and nothing of ours is malformed
  MILLRACE_CHECK(pb_encode(&stream, fields, message));
  return out;
}

// nanopb stores whatever number came; as an enum it may be no value of its type, which must not even be read.
template <typename Enum>
unsigned number_of(const Enum& value) {
  static_assert(sizeof value <= sizeof(unsigned));
  unsigned number = 0;
  std::memcpy(&number, &value, sizeof value);
  return number;
}

std::string_view view_of(const Bytes& bytes) { return text_of(bytes); }

}  // namespace

namespace {

// What a message points into while it is encoded.
struct Views {
  std::string_view device, metric, unit, value, gateway, name, consumer, reason, channel, payload, client_id,
      username, subject, content_type;
};

void put_value(const Value& from, millrace_Record& m, Views& views) {
  if (const auto* number = std::get_if<double>(&from)) {
    m.has_number = true;
    m.number = *number;
  } else if (const auto* integer = std::get_if<std::int64_t>(&from)) {
    m.has_integer = true;
    m.integer = *integer;
  } else if (const auto* flag = std::get_if<bool>(&from)) {
    m.has_flag = true;
    m.flag = *flag;
  } else if (const auto* string = std::get_if<std::string>(&from)) {
    views.value = *string;
    m.text.funcs.encode = write_present_string;
    m.text.arg = &views.value;
  } else if (const auto* blob = std::get_if<Bytes>(&from)) {
    views.value = view_of(*blob);
    m.blob.funcs.encode = write_present_bytes;
    m.blob.arg = &views.value;
  }
}

void put_window(const WindowDetail& from, millrace_Window& to, Views& views) {
  views.name = from.name;
  set(to.name, views.name);
  to.end_us = from.end_us;
  to.count = from.count;
  to.mean = from.mean;
  to.min = from.min;
  to.max = from.max;
  to.revision = from.revision;
  to.ordinal = from.ordinal;
  to.stats.funcs.encode = write_stats;
  to.stats.arg = const_cast<std::vector<WindowStat>*>(&from.stats);
}

void put_loss(const LossDetail& from, millrace_Loss& to, Views& views) {
  views.consumer = from.consumer;
  views.reason = from.reason;
  set(to.consumer, views.consumer);
  set(to.reason, views.reason);
  to.count = from.count;
  to.first = from.first;
  to.last = from.last;
  to.devices.funcs.encode = write_device_losses;
  to.devices.arg = const_cast<DeviceCounts*>(&from.devices);
  to.other_devices = from.other_devices;
}

void put_dead(const DeadDetail& from, millrace_Dead& to, Views& views) {
  views.consumer = from.consumer;
  views.reason = from.reason;
  views.channel = from.channel;
  views.payload = view_of(from.payload);
  set(to.consumer, views.consumer);
  set(to.reason, views.reason);
  set(to.channel, views.channel);
  set_bytes(to.payload, views.payload);
  to.number = from.number;
  to.whole_size = from.whole_size;
  to.missing.funcs.encode = write_runs;
  to.missing.arg = const_cast<ValueRuns*>(&from.missing);
  to.source = static_cast<millrace_Dead_Source>(from.source);
  const DeadPublisher& by = from.publisher;
  views.client_id = by.client_id;
  views.username = by.username;
  views.subject = by.subject;
  views.content_type = by.content_type;
  set(to.client_id, views.client_id);
  set(to.username, views.username);
  set(to.subject, views.subject);
  set(to.content_type, views.content_type);
  to.properties.funcs.encode = write_tags;
  to.properties.arg = const_cast<Tags*>(&by.properties);
}

void put_detail(const Detail& from, millrace_Record& m, Views& views) {
  m.boot_id = from.boot_id;
  m.monotonic_us = from.monotonic_us;
  views.gateway = from.gateway;
  set(m.gateway, views.gateway);
  m.epoch = from.epoch;
  m.sequence = from.sequence;
  m.origin = from.origin;
  if (const auto* window = std::get_if<WindowDetail>(&from.body)) {
    m.has_window = true;
    put_window(*window, m.window, views);
  } else if (const auto* loss = std::get_if<LossDetail>(&from.body)) {
    m.has_loss = true;
    put_loss(*loss, m.loss, views);
  } else if (const auto* dead = std::get_if<DeadDetail>(&from.body)) {
    m.has_dead = true;
    put_dead(*dead, m.dead, views);
  }
}

// Encodes into `stream`; the identity replaces the detail's, where one is given.
void encode_record_to(const Record& record, const Identity* identity, pb_ostream_t& stream) {
  millrace_Record m = millrace_Record_init_zero;
  Views views;
  views.device = record.device;
  views.metric = record.metric;
  views.unit = record.unit;
  m.kind = static_cast<millrace_Kind>(record.kind);
  set(m.device, views.device);
  set(m.metric, views.metric);
  set(m.unit, views.unit);
  m.quality = static_cast<millrace_Quality>(record.quality);
  m.time_us = record.time.us;
  m.time_trust = static_cast<millrace_TimeTrust>(record.trust);
  m.tags.funcs.encode = write_tags;
  m.tags.arg = const_cast<Tags*>(&record.tags);
  put_value(record.value, m, views);
  if (record.detail) put_detail(*record.detail, m, views);
  if (identity) {
    views.gateway = identity->gateway;
    set(m.gateway, views.gateway);
    m.epoch = identity->epoch;
    m.sequence = identity->sequence;
  }
  MILLRACE_CHECK(pb_encode(&stream, millrace_Record_fields, &m));
}

bool append_text(pb_ostream_t* stream, const pb_byte_t* from, std::size_t count) {
  static_cast<std::string*>(stream->state)->append(reinterpret_cast<const char*>(from), count);
  return true;
}

}  // namespace

Bytes encode_record(const Record& record) {
  Bytes out;
  pb_ostream_t stream = {append, &out, SIZE_MAX, 0, nullptr};
  encode_record_to(record, nullptr, stream);
  return out;
}

void encode_record(const Record& record, const Identity& identity, std::string& out) {
  pb_ostream_t stream = {append_text, &out, SIZE_MAX, 0, nullptr};
  encode_record_to(record, &identity, stream);
}

namespace {

// What a message is decoded into, beside the message itself.
struct Parts {
  Record record;
  PresentString string, blob;
  Detail detail;
  WindowDetail window;
  LossDetail loss;
  DeadDetail dead;
  std::string payload;

  void point_from(millrace_Record& m) {
    set(m.device, record.device);
    set(m.metric, record.metric);
    set(m.unit, record.unit);
    m.tags.funcs.decode = read_tag;
    m.tags.arg = &record.tags;
    m.text.funcs.decode = read_present_string;
    m.text.arg = &string;
    m.blob.funcs.decode = read_present_string;
    m.blob.arg = &blob;
    set(m.gateway, detail.gateway);
    set(m.window.name, window.name);
    m.window.stats.funcs.decode = read_stat;
    m.window.stats.arg = &window.stats;
    set(m.loss.consumer, loss.consumer);
    set(m.loss.reason, loss.reason);
    m.loss.devices.funcs.decode = read_device_loss;
    m.loss.devices.arg = &loss.devices;
    set(m.dead.consumer, dead.consumer);
    set(m.dead.reason, dead.reason);
    set(m.dead.channel, dead.channel);
    set(m.dead.payload, payload);
    set(m.dead.client_id, dead.publisher.client_id);
    set(m.dead.username, dead.publisher.username);
    set(m.dead.subject, dead.publisher.subject);
    set(m.dead.content_type, dead.publisher.content_type);
    m.dead.properties.funcs.decode = read_tag;
    m.dead.properties.arg = &dead.publisher.properties;
    m.dead.missing.funcs.decode = read_runs;
    m.dead.missing.arg = &dead.missing;
  }

  void take_value(const millrace_Record& m) {
    if (m.has_number) record.value = m.number;
    else if (m.has_integer) record.value = std::int64_t{m.integer};
    else if (m.has_flag) record.value = static_cast<bool>(m.flag);
    else if (string.present) record.value = std::move(string.value);
    else if (blob.present) record.value = to_bytes(blob.value);
  }

  // The numbers beside what was pointed to. False: a source nobody knows.
  bool take_body(const millrace_Record& m) {
    if (m.has_window) {
      window.end_us = m.window.end_us;
      window.count = m.window.count;
      window.mean = m.window.mean;
      window.min = m.window.min;
      window.max = m.window.max;
      window.revision = m.window.revision;
      window.ordinal = m.window.ordinal;
      detail.body = std::move(window);
    } else if (m.has_loss) {
      loss.count = m.loss.count;
      loss.first = m.loss.first;
      loss.last = m.loss.last;
      loss.other_devices = m.loss.other_devices;
      detail.body = std::move(loss);
    } else if (m.has_dead) {
      dead.payload = to_bytes(payload);
      dead.number = m.dead.number;
      dead.whole_size = m.dead.whole_size;
      const unsigned source = number_of(m.dead.source);
      if (source > 2) return false;
      dead.source = static_cast<DeadDetail::Source>(source);
      detail.body = std::move(dead);
    }
    return true;
  }
};

bool is_plain(const Detail& d) {
  return std::holds_alternative<std::monostate>(d.body) && d.boot_id == 0 && d.monotonic_us == 0 &&
         d.gateway.empty() && d.epoch == 0 && d.sequence == 0 && d.origin == 0;
}

}  // namespace

Result<Record> decode_record(BytesView bytes) {
  millrace_Record m = millrace_Record_init_zero;
  Parts parts;
  parts.point_from(m);
  pb_istream_t stream =
      pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(bytes.data()), bytes.size());
  // PB_DECODE_NOINIT keeps the callbacks inside the submessages, which a plain decode would reset.
  if (!pb_decode_ex(&stream, millrace_Record_fields, &m, PB_DECODE_NOINIT)) {
    return Status{Code::corrupt, text("record: ", PB_GET_ERROR(&stream))};
  }
  const unsigned kind = number_of(m.kind), quality = number_of(m.quality), trust = number_of(m.time_trust);
  if (kind > 4 || quality > 2 || trust > 2)
    return Status{Code::corrupt, "record: a kind, quality or trust nobody knows"};
  Record& record = parts.record;
  record.kind = static_cast<Kind>(kind);
  record.quality = static_cast<Quality>(quality);
  record.trust = static_cast<TimeTrust>(trust);
  record.time = {m.time_us};
  parts.take_value(m);
  Detail& detail = parts.detail;
  detail.boot_id = m.boot_id;
  detail.monotonic_us = m.monotonic_us;
  detail.epoch = m.epoch;
  detail.sequence = m.sequence;
  detail.origin = m.origin;
  if (!parts.take_body(m)) return Status{Code::corrupt, "record: a dead letter of a source nobody knows"};
  if (!is_plain(detail)) record.detail = std::make_shared<const Detail>(std::move(detail));
  return std::move(record);
}

Bytes encode_envelope(const Envelope& envelope, BytesView batch) {
  millrace_Envelope m = millrace_Envelope_init_zero;
  std::string_view gateway = envelope.gateway, batch_view = text_of(batch);
  set(m.gateway, gateway);
  m.epoch = envelope.epoch;
  m.first = envelope.first;
  m.count = envelope.count;
  m.lane = static_cast<std::uint32_t>(envelope.lane);
  m.replay = envelope.replay;
  m.zstd = envelope.zstd;
  set_bytes(m.batch, batch_view);
  return encode(millrace_Envelope_fields, &m);
}

Result<OpenedEnvelope> decode_envelope(BytesView bytes) {
  millrace_Envelope m = millrace_Envelope_init_zero;
  OpenedEnvelope out;
  std::string batch;
  set(m.gateway, out.envelope.gateway);
  set(m.batch, batch);
  pb_istream_t stream =
      pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(bytes.data()), bytes.size());
  if (!pb_decode_ex(&stream, millrace_Envelope_fields, &m, PB_DECODE_NOINIT)) {
    return Status{Code::corrupt, text("envelope: ", PB_GET_ERROR(&stream))};
  }
  if (m.lane >= lane_count) return Status{Code::corrupt, "envelope: a lane nobody knows"};
  out.envelope.epoch = m.epoch;
  out.envelope.first = m.first;
  out.envelope.count = m.count;
  out.envelope.lane = static_cast<Lane>(m.lane);
  out.envelope.replay = m.replay;
  out.envelope.zstd = m.zstd;
  out.batch = to_bytes(batch);
  return out;
}

}  // namespace millrace
