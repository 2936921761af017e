#include "log/state_file.h"

#include <charconv>
#include <cstdio>

#include "log/state_table.h"
#include "record/varint.h"

namespace millrace {
namespace {

// "MRSTATE1"; index and its CRC-32C; the values, back to back; index and CRC once more. The index: for each
// entry the length of its name and the name, 1 and the size of the value and CRC-32C of name and value, or 0
// for a name that was removed.
constexpr std::string_view begins_with = "MRSTATE1";
constexpr std::size_t crc_bytes = 8;
constexpr std::uint64_t file_bytes_max = 1ULL << 30;

struct Entry {
  std::string key;
  bool removed = false;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
};

bool read_index(BytesView bytes, std::uint64_t index_bytes, std::uint64_t count, std::vector<Entry>& out) {
  if (bytes.size() < index_bytes + crc_bytes) return false;
  wire::Reader sum(bytes.subspan(index_bytes, crc_bytes));
  if (sum.get_fixed64() != crc32c(bytes.first(index_bytes))) return false;
  wire::Reader reader(bytes.first(index_bytes));
  while (!reader.at_end() && reader.ok()) {
    Entry entry;
    entry.key = text_of(reader.get_bytes());
    entry.removed = reader.get_varint() == 0;
    if (!entry.removed) {
      entry.size = reader.get_varint();
      entry.crc = static_cast<std::uint32_t>(reader.get_varint());
    }
    out.push_back(std::move(entry));
  }
  return reader.ok() && out.size() == count;
}

}  // namespace

std::string state_file_name(std::uint32_t id) {
  char name[32];
  std::snprintf(name, sizeof name, "state-%08x", id);
  return name;
}

std::optional<std::uint32_t> state_file_id(const std::string& name) {
  if (name.size() != 14 || !name.starts_with("state-")) return std::nullopt;
  std::uint32_t id = 0;
  const auto parsed = std::from_chars(name.data() + 6, name.data() + 14, id, 16);
  if (parsed.ec != std::errc{} || parsed.ptr != name.data() + 14) return std::nullopt;
  return id;
}

Bytes encode_state_file(std::uint32_t id, const StateEntries& entries, StateFile& named) {
  Bytes index, out = to_bytes(begins_with);
  wire::Writer writer(index);
  std::size_t values = 0;
  for (const auto& [key, value] : entries) {
    writer.put_varint(key.size());
    index.insert(index.end(), bytes_of(key).begin(), bytes_of(key).end());
    writer.put_varint(value != nullptr);
    if (!value) continue;
    writer.put_varint(value->size());
    writer.put_varint(state_crc(key, *value));
    values += value->size();
  }
  named = {id, begins_with.size() + 2 * (index.size() + crc_bytes) + values, index.size(), entries.size()};
  out.reserve(named.bytes);
  const auto put_index = [&] {
    out.insert(out.end(), index.begin(), index.end());
    wire::Writer(out).put_fixed64(crc32c(index));
  };
  put_index();
  for (const auto& [key, value] : entries) {
    if (value) out.insert(out.end(), value->begin(), value->end());
  }
  put_index();
  return out;
}

StateFileContents read_state_file(const Folder& folder, const StateFile& named) {
  StateFileContents out;
  const std::string name = state_file_name(named.id);
  const std::size_t around = begins_with.size() + 2 * (named.index_bytes + crc_bytes);
  if (named.bytes > file_bytes_max || named.index_bytes > named.bytes || around > named.bytes) {
    return out.status = {Code::corrupt, name + " is named wrongly"}, out;
  }
  const auto file = with_spare(folder, [&] { return folder.read(name, 0, named.bytes); });
  if (!file.ok()) return out.status = file.status(), out;
  const BytesView bytes = file.value();
  std::vector<Entry> entries;
  if (bytes.size() < begins_with.size() ||
      !read_index(bytes.subspan(begins_with.size()), named.index_bytes, named.entries, entries)) {
    entries.clear();
    const std::size_t again = named.bytes - named.index_bytes - crc_bytes;
    if (bytes.size() < named.bytes ||
        !read_index(bytes.subspan(again), named.index_bytes, named.entries, entries)) {
      return out.status = {Code::corrupt, bytes.empty() ? name + " is missing" : name + " is damaged"}, out;
    }
  }
  std::size_t at = begins_with.size() + named.index_bytes + crc_bytes;
  for (Entry& entry : entries) {
    if (entry.removed) {
      out.entries.emplace_back(std::move(entry.key), nullptr);
      continue;
    }
    const bool there = at <= bytes.size() && entry.size <= bytes.size() - at;
    const BytesView value = there ? bytes.subspan(at, entry.size) : BytesView{};
    at += entry.size;
    if (!there || state_crc(entry.key, value) != entry.crc) out.damaged.push_back(std::move(entry.key));
    else
      out.entries.emplace_back(std::move(entry.key),
                               std::make_shared<const Bytes>(value.begin(), value.end()));
  }
  return out;
}

Bytes encode_state_files(const std::vector<StateFile>& files) {
  Bytes out;
  wire::Writer writer(out);
  for (const StateFile& file : files) {
    for (const std::uint64_t v : {std::uint64_t{file.id}, file.bytes, file.index_bytes, file.entries})
      writer.put_varint(v);
  }
  return out;
}

std::vector<StateFile> decode_state_files(const Bytes& bytes) {
  std::vector<StateFile> files;
  wire::Reader reader(bytes);
  while (!reader.at_end() && reader.ok()) {
    StateFile file;
    file.id = static_cast<std::uint32_t>(reader.get_varint());
    file.bytes = reader.get_varint();
    file.index_bytes = reader.get_varint();
    file.entries = reader.get_varint();
    files.push_back(file);
  }
  return files;
}

}  // namespace millrace
