#include "log/withheld_journal.h"

#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::size_t head_bytes = 16;  // length and CRC-32C of what follows, 8 bytes each, little-endian
constexpr std::size_t journal_bytes_max = 64 << 20;

void put_bytes(wire::Writer& writer, Bytes& out, BytesView bytes) {
  writer.put_varint(bytes.size());
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Bytes encode(const WithheldJournal::Entry& entry) {
  Bytes out;
  wire::Writer writer(out);
  writer.put_fixed64(entry.epoch);
  for (const std::uint64_t v : {entry.serial, std::uint64_t{entry.rows.size()}}) writer.put_varint(v);
  for (const Row& row : entry.rows) {
    for (const std::uint64_t v :
         {static_cast<std::uint64_t>(row.lane), row.first, std::uint64_t{row.count}, std::uint64_t{row.zstd}})
      writer.put_varint(v);
    put_bytes(writer, out, *row.columns);
  }
  writer.put_varint(entry.changed.size());
  for (const auto& [key, value] : entry.changed) {
    put_bytes(writer, out, bytes_of(key));
    writer.put_varint(value != nullptr);
    if (value) put_bytes(writer, out, *value);
  }
  return out;
}

std::optional<WithheldJournal::Entry> decode(BytesView bytes) {
  wire::Reader reader(bytes);
  WithheldJournal::Entry entry;
  entry.epoch = reader.get_fixed64();
  entry.serial = reader.get_varint();
  for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
    Row row;
    const std::uint64_t lane = reader.get_varint();
    if (lane >= lane_count) return std::nullopt;
    row.lane = static_cast<Lane>(lane);
    row.first = reader.get_varint();
    row.count = static_cast<std::uint32_t>(reader.get_varint());
    row.zstd = reader.get_varint() != 0;
    const BytesView columns = reader.get_bytes();
    row.columns = std::make_shared<const Bytes>(columns.begin(), columns.end());
    if (row.count == 0 || row.first == 0) return std::nullopt;
    entry.rows.push_back(std::move(row));
  }
  for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
    const std::string key(text_of(reader.get_bytes()));
    std::shared_ptr<const Bytes> value;
    if (reader.get_varint() != 0) {
      const BytesView content = reader.get_bytes();
      value = std::make_shared<const Bytes>(content.begin(), content.end());
    }
    entry.changed.emplace_back(key, std::move(value));
  }
  if (!reader.ok()) return std::nullopt;
  return entry;
}

}  // namespace

Result<std::vector<WithheldJournal::Entry>> WithheldJournal::read(std::uint64_t epoch,
                                                                  std::uint64_t after) const {
  std::vector<Entry> entries;
  const auto size = folder_.look(name);
  if (!size.ok()) return size.status();
  const auto file = with_spare(folder_, [&] {
    return folder_.read(name, 0, std::min<std::uint64_t>(size.value(), journal_bytes_max));
  });
  if (!file.ok()) return file.status();
  BytesView rest = file.value();
  while (rest.size() >= head_bytes) {
    wire::Reader reader(rest);
    const std::uint64_t size = reader.get_fixed64(), crc = reader.get_fixed64();
    if (size > rest.size() - head_bytes || crc32c(rest.subspan(head_bytes, size)) != crc) break;
    auto entry = decode(rest.subspan(head_bytes, size));
    const std::uint64_t wanted = entries.empty() ? 0 : entries.back().serial + 1;
    // remains of earlier entries
    if (!entry || entry->epoch != epoch || (wanted != 0 && entry->serial != wanted)) break;
    entries.push_back(std::move(*entry));
    rest = rest.subspan(head_bytes + size);
  }
  std::erase_if(entries, [after](const Entry& entry) { return entry.serial <= after; });
  return entries;
}

Status WithheldJournal::append(const Entry& entry) {
  const Bytes body = encode(entry);
  Bytes out;
  wire::Writer writer(out);
  writer.put_fixed64(body.size());
  writer.put_fixed64(crc32c(body));
  out.insert(out.end(), body.begin(), body.end());
  if (Status status = folder_.write(name, offset_, out); !status.ok()) return status;
  offset_ += out.size();
  return {};
}

}  // namespace millrace
