#include "log/mark.h"

#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint64_t magic = 0x314B52414D524D4CULL;
constexpr std::size_t slot_distance = 4096;  // no two slots in one sector or page
// magic, epoch, durable, reserved, records, serial, CRC-32C; little-endian
constexpr std::size_t slot_bytes = 56;

std::optional<Mark> read_slot(BytesView bytes) {
  if (bytes.size() < slot_bytes) return std::nullopt;
  wire::Reader reader(bytes);
  if (reader.get_fixed64() != magic) return std::nullopt;
  Mark mark;
  mark.epoch = reader.get_fixed64();
  mark.durable = reader.get_fixed64();
  mark.reserved = reader.get_fixed64();
  mark.records = reader.get_fixed64();
  mark.serial = reader.get_fixed64();
  if (reader.get_fixed64() != crc32c(bytes.first(slot_bytes - 8))) return std::nullopt;
  return mark;
}

}  // namespace

Result<std::optional<Mark>> MarkFile::read() const {
  std::optional<Mark> newest;
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{slot_distance}}) {
    const auto bytes = folder_.read(name, offset, slot_bytes);
    if (!bytes.ok() && bytes.status().code() == Code::unavailable) return bytes.status();
    if (!bytes.ok()) continue;
    const auto mark = read_slot(bytes.value());
    if (mark && (!newest || mark->serial > newest->serial)) newest = mark;
  }
  return newest;
}

Status MarkFile::write(const Mark& mark) {
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const std::uint64_t v : {magic, mark.epoch, mark.durable, mark.reserved, mark.records, mark.serial})
    writer.put_fixed64(v);
  writer.put_fixed64(crc32c(bytes));
  return folder_.write(name, mark.serial % 2 * slot_distance, bytes);
}

}  // namespace millrace
