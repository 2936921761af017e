#include "log/settle_note.h"

#include "base/text.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::size_t head_bytes = 16;  // length and CRC-32C of what follows, 8 bytes each, little-endian

Bytes encode(const SettleNote::Content& content) {
  Bytes out;
  wire::Writer writer(out);
  writer.put_fixed64(content.epoch);
  for (const std::uint64_t v : {content.serial, std::uint64_t{content.settles.size()}}) writer.put_varint(v);
  for (const WriteSet::Settle& settle : content.settles) {
    writer.put_varint(settle.consumer.size());
    out.insert(out.end(), bytes_of(settle.consumer).begin(), bytes_of(settle.consumer).end());
    for (const std::uint64_t v :
         {static_cast<std::uint64_t>(settle.lane), settle.range.first, settle.range.last, settle.records,
          static_cast<std::uint64_t>(settle.how)}) {
      writer.put_varint(v);
    }
  }
  writer.put_varint(content.given_back.size());
  for (const std::uint32_t id : content.given_back) writer.put_varint(id);
  return out;
}

std::optional<SettleNote::Content> decode(BytesView bytes) {
  wire::Reader reader(bytes);
  SettleNote::Content content;
  content.epoch = reader.get_fixed64();
  content.serial = reader.get_varint();
  for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
    WriteSet::Settle settle{};
    settle.consumer = text_of(reader.get_bytes());
    const std::uint64_t lane = reader.get_varint();
    settle.range.first = reader.get_varint();
    settle.range.last = reader.get_varint();
    settle.records = reader.get_varint();
    const std::uint64_t how = reader.get_varint();
    if (lane >= lane_count || how >= how_count || settle.range.empty()) return std::nullopt;
    settle.lane = static_cast<Lane>(lane);
    settle.how = static_cast<How>(how);
    content.settles.push_back(std::move(settle));
  }
  for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
    content.given_back.push_back(static_cast<std::uint32_t>(reader.get_varint()));
  }
  if (!reader.ok()) return std::nullopt;
  return content;
}

}  // namespace

// Written, not only reserved: what was never written may need room for itself once more.
Status SettleNote::take_space() {
  const auto size = folder_.look(file_name);
  if (!size.ok()) return size.status();
  if (size.value() >= file_bytes) return {};
  const Bytes zeros(file_bytes - size.value());
  return with_spare(folder_, [&] { return folder_.write(file_name, size.value(), zeros); });
}

Status SettleNote::write(const Content& content) {
  const Bytes body = encode(content);
  if (body.size() > place_bytes - head_bytes) {
    return {Code::full, text("a note of ", body.size(), " bytes does not fit its place")};
  }
  Bytes out;
  wire::Writer writer(out);
  writer.put_fixed64(body.size());
  writer.put_fixed64(crc32c(body));
  out.insert(out.end(), body.begin(), body.end());
  return with_spare(folder_, [&] { return folder_.write(file_name, content.serial % 2 * place_bytes, out); });
}

Result<std::optional<SettleNote::Content>> SettleNote::read() const {
  std::optional<Content> newest;
  for (const std::uint64_t place : {std::uint64_t{0}, std::uint64_t{place_bytes}}) {
    const auto bytes = with_spare(folder_, [&] { return folder_.read(file_name, place, place_bytes); });
    if (!bytes.ok() && bytes.status().code() == Code::unavailable) return bytes.status();
    if (!bytes.ok() || bytes.value().size() < head_bytes) continue;
    wire::Reader reader(bytes.value());
    const std::uint64_t size = reader.get_fixed64(), crc = reader.get_fixed64();
    if (size == 0 || size > bytes.value().size() - head_bytes) continue;
    const BytesView body = BytesView(bytes.value()).subspan(head_bytes, size);
    if (crc32c(body) != crc) continue;
    auto content = decode(body);
    if (content && (!newest || content->serial > newest->serial)) newest = std::move(content);
  }
  return newest;
}

void add_settle(std::vector<WriteSet::Settle>& settles, const WriteSet::Settle& settle) {
  for (auto at = settles.rbegin(); at != settles.rend(); ++at) {
    if (at->consumer != settle.consumer || at->lane != settle.lane || at->how != settle.how) continue;
    if (settle.range.first != at->range.last + 1 && settle.range.last + 1 != at->range.first) continue;
    at->range = {std::min(at->range.first, settle.range.first), std::max(at->range.last, settle.range.last)};
    at->records += settle.records;
    return;
  }
  settles.push_back(settle);
}

}  // namespace millrace
