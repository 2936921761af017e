#include "log/salvage.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "log/segment.h"

namespace millrace {
namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t wal_head_bytes = 32, frame_head_bytes = 24;
constexpr std::uint8_t table_leaf = 0x0D;
constexpr std::size_t columns_max = 64 << 20;

std::uint64_t big_endian(BytesView bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + i]);
  return value;
}

// SQLite's varint: big-endian, seven bits a byte, all eight of the ninth. Moves `at`; nothing at the end of
// the bytes.
std::optional<std::uint64_t> sqlite_varint(BytesView bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (int i = 0; i < 9; ++i) {
    if (at >= bytes.size()) return std::nullopt;
    const auto byte = std::to_integer<std::uint64_t>(bytes[at++]);
    if (i == 8) return value << 8 | byte;
    value = value << 7 | (byte & 0x7F);
    if (byte < 0x80) return value;
  }
  return value;
}

// ---- the write-ahead log

struct WalSum {
  std::uint32_t s0 = 0, s1 = 0;
  bool operator==(const WalSum&) const = default;
  void add(BytesView bytes, bool big) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      s0 += word(bytes, at, big) + s1;
      s1 += word(bytes, at + 4, big) + s0;
    }
  }
  static std::uint32_t word(BytesView bytes, std::size_t at, bool big) {
    const auto value = static_cast<std::uint32_t>(big_endian(bytes, at, 4));
    return big ? value : __builtin_bswap32(value);
  }
};

struct Frame {
  std::uint64_t page_offset;  // in the -wal
  std::uint32_t page;
  bool whole;
};

struct WalView {
  std::vector<Frame> frames;  // of committed transactions, in order, the damaged ones too
  std::size_t visible = 0;    // as many of them SQLite would take; those behind are behind a damaged one
};

// Each frame's checksum continues the one noted in the frame before it: frames behind a damaged one can still
// be checked.
Result<WalView> look_at_wal(const Folder& folder, const std::string& name) {
  WalView view;
  const auto head = folder.read(name, 0, wal_head_bytes);
  if (!head.ok() && head.status().code() == Code::unavailable) return head.status();
  if (!head.ok() || head.value().size() < wal_head_bytes) return view;
  const BytesView h = head.value();
  const bool big = big_endian(h, 0, 4) == 0x377f0683;
  WalSum sum;
  sum.add(h.first(24), big);
  std::optional<WalSum> before;
  std::optional<std::uint64_t> salts;
  if (sum == WalSum{static_cast<std::uint32_t>(big_endian(h, 24, 4)),
                    static_cast<std::uint32_t>(big_endian(h, 28, 4))}) {
    before = sum;
    salts = big_endian(h, 16, 8);
  }
  std::size_t committed = 0, committed_before_damage = 0, doubtful = 0, torn_from = SIZE_MAX;
  bool transaction_whole = true;
  for (std::uint64_t offset = wal_head_bytes;; offset += frame_head_bytes + page_bytes) {
    const auto bytes = folder.read(name, offset, frame_head_bytes + page_bytes);
    if (!bytes.ok() && bytes.status().code() == Code::unavailable) return bytes.status();
    if (!bytes.ok() || bytes.value().size() < frame_head_bytes + page_bytes) break;
    const BytesView f = bytes.value();
    if (!salts) salts = big_endian(f, 8, 8);  // the header is damaged: its first frame must do
    const WalSum noted{static_cast<std::uint32_t>(big_endian(f, 16, 4)),
                       static_cast<std::uint32_t>(big_endian(f, 20, 4))};
    bool whole = false;
    if (before && big_endian(f, 8, 8) == *salts) {
      WalSum s = *before;
      s.add(f.first(8), big);
      s.add(f.subspan(frame_head_bytes), big);
      whole = s == noted;
    }
    view.frames.push_back(
        {offset + frame_head_bytes, static_cast<std::uint32_t>(big_endian(f, 0, 4)), whole});
    before = noted;
    if (!whole) {
      if (torn_from == SIZE_MAX) committed_before_damage = committed;
      torn_from = std::min(torn_from, view.frames.size() - 1);
      transaction_whole = false;
      continue;
    }
    // A transaction with damaged frames may be the torn end of the log, which was never acknowledged. It
    // counts once something whole follows: that was begun after this one was synced.
    committed = std::max(committed, doubtful);
    if (big_endian(f, 4, 4) == 0) continue;
    (transaction_whole ? committed : doubtful) = view.frames.size();
    transaction_whole = true;
  }
  view.frames.resize(committed);
  view.visible = committed;
  if (torn_from < committed) view.visible = committed_before_damage;
  return view;
}

// ---- pages

class Pages {
 public:
  Pages(const Folder& folder, const std::string& name, WalView wal)
      : folder_(folder), name_(name), wal_name_(name + "-wal"), wal_(std::move(wal)) {
    const auto size = folder.look(name);
    if (!size.ok()) trouble_ = size.status();
    in_database_ = size.ok() ? (size.value() + page_bytes - 1) / page_bytes : 0;
    steps_left_ = 16 * images() + 1024;
    for (std::size_t i = 0; i < wal_.frames.size(); ++i) {
      if (wal_.frames[i].whole) newest_[wal_.frames[i].page] = i;
    }
  }
  std::size_t in_database() const { return in_database_; }
  std::size_t images() const { return in_database_ + wal_.frames.size(); }
  // Image 0.. are the database's pages, those behind them the frames of the -wal. Nothing for a damaged
  // frame.
  Result<Bytes> image(std::size_t index) const {
    if (index < in_database_) return noting(folder_.read(name_, index * page_bytes, page_bytes));
    const Frame& frame = wal_.frames[index - in_database_];
    if (!frame.whole) return Bytes{};
    return noting(folder_.read(wal_name_, frame.page_offset, page_bytes));
  }
  // What kept a page from being looked at: then rows that were not found are not missing.
  const Status& trouble() const { return trouble_; }
  bool may_go_on() const { return steps_left_ > 0 && steps_left_-- > 0; }
  // The page as SQLite would see it.
  Result<Bytes> page(std::uint64_t number) const {
    if (const auto found = newest_.find(number); found != newest_.end())
      return image(in_database_ + found->second);
    if (number == 0 || number > in_database_) return Bytes{};
    return image(number - 1);
  }

 private:
  Result<Bytes> noting(Result<Bytes> read) const {
    if (!read.ok() && read.status().code() == Code::unavailable) trouble_ = read.status();
    return read;
  }

  const Folder& folder_;
  std::string name_, wal_name_;
  WalView wal_;
  mutable Status trouble_;
  // Whole files hold each overflow page once; damaged ones may send us in circles, but not for long.
  mutable std::uint64_t steps_left_ = 0;
  std::size_t in_database_ = 0;
  std::map<std::uint64_t, std::size_t> newest_;
};

// ---- a cell of the table `rows`

std::size_t serial_size(std::uint64_t type) {
  constexpr std::array<std::size_t, 10> sizes{0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
  if (type < sizes.size()) return sizes[type];
  return type >= 12 ? static_cast<std::size_t>((type - 12) / 2) : 0;
}

std::optional<std::uint64_t> integer_of(BytesView payload, std::size_t at, std::uint64_t type) {
  if (type == 8 || type == 9) return type - 8;
  if (type < 1 || type > 6 || at + serial_size(type) > payload.size()) return std::nullopt;
  return big_endian(payload, at, serial_size(type));
}

// The payload of a cell, with its overflow pages.
std::optional<Bytes> whole_payload(const Pages& pages, BytesView page, std::size_t at, std::uint64_t size) {
  constexpr std::size_t usable = page_bytes, local_max = usable - 35,
                        local_min = (usable - 12) * 32 / 255 - 23;
  std::size_t local = static_cast<std::size_t>(size);
  if (size > local_max) {
    const std::size_t wanted = local_min + static_cast<std::size_t>((size - local_min) % (usable - 4));
    local = wanted <= local_max ? wanted : local_min;
  }
  if (at + local + (local < size ? 4 : 0) > page.size()) return std::nullopt;
  const BytesView here = page.subspan(at, local);
  Bytes payload(here.begin(), here.end());
  std::uint64_t next = local < size ? big_endian(page, at + local, 4) : 0;
  while (payload.size() < size) {
    if (!pages.may_go_on()) return std::nullopt;
    const auto more = pages.page(next);
    if (!more.ok() || more.value().size() < page_bytes) return std::nullopt;
    const std::size_t take =
        std::min<std::size_t>(usable - 4, static_cast<std::size_t>(size) - payload.size());
    payload.insert(payload.end(), more.value().begin() + 4,
                   more.value().begin() + 4 + static_cast<std::ptrdiff_t>(take));
    next = big_endian(more.value(), 0, 4);
  }
  return payload;
}

std::optional<Row> row_of_cell(const Pages& pages, BytesView page, std::size_t at) {
  const auto size = sqlite_varint(page, at);
  const auto number = sqlite_varint(page, at);
  if (!size || !number || *size < 7 || *size > columns_max) return std::nullopt;
  const auto payload = whole_payload(pages, page, at, *size);
  if (!payload) return std::nullopt;
  const BytesView p = *payload;
  std::size_t head = 0;
  const auto head_size = sqlite_varint(p, head);
  // first (NULL: it is the row's number), lane, count, zstd, crc, columns
  std::array<std::uint64_t, 6> types{};
  for (std::uint64_t& type : types) {
    const auto read = sqlite_varint(p, head);
    if (!read) return std::nullopt;
    type = *read;
  }
  if (!head_size || *head_size != head || types[0] != 0) return std::nullopt;
  std::array<std::uint64_t, 5> values{};
  for (std::size_t i = 1; i < 5; ++i) {
    const auto value = integer_of(p, head, types[i]);
    if (!value) return std::nullopt;
    values[i] = *value;
    head += serial_size(types[i]);
  }
  const std::size_t bytes = serial_size(types[5]);
  if (types[5] < 12 || types[5] % 2 != 0 || head + bytes != p.size()) return std::nullopt;
  Row row;
  row.first = *number;
  row.lane = static_cast<Lane>(values[1]);
  row.count = static_cast<std::uint32_t>(values[2]);
  row.zstd = values[3] != 0;
  if (values[1] >= lane_count || values[2] == 0 || values[2] > row_records_max || row.first == 0 ||
      row.first > INT64_MAX)
    return std::nullopt;
  const BytesView columns = p.subspan(head);
  if (row_crc(row, columns) != values[4]) return std::nullopt;
  row.columns = std::make_shared<const Bytes>(columns.begin(), columns.end());
  return row;
}

Status find_rows(const Pages& pages, std::size_t from, const std::function<void(Row)>& found) {
  for (std::size_t i = from; i < pages.images(); ++i) {
    const auto image = pages.image(i);
    if (!image.ok()) return image.status();
    const BytesView page = image.value();
    if (page.size() < page_bytes || std::to_integer<std::uint8_t>(page[0]) != table_leaf) continue;
    const std::size_t cells = std::min<std::size_t>(big_endian(page, 3, 2), (page_bytes - 8) / 2);
    for (std::size_t c = 0; c < cells; ++c) {
      if (auto row = row_of_cell(pages, page, big_endian(page, 8 + 2 * c, 2))) found(std::move(*row));
    }
  }
  return pages.trouble();
}

// What lies behind a damaged frame is either what came later, or the remains of a transaction that a power
// cut tore and that was written over since. After an unclean end numbers go on behind the reservation: only
// what came later has numbers above all that can be seen.
Result<WalView> trusted_wal(const Folder& folder, const std::string& name) {
  auto looked = look_at_wal(folder, name + "-wal");
  if (!looked.ok()) return looked;
  WalView all = std::move(looked).value();
  if (all.visible == all.frames.size()) return all;
  WalView seen = all;
  seen.frames.resize(seen.visible);
  Sequence newest = 0, behind = 0;
  if (Status read = find_rows(Pages(folder, name, seen), 0,
                              [&](const Row& row) { newest = std::max(newest, row.first); });
      !read.ok())
    return read;
  const Pages pages(folder, name, all);
  const Status tail = find_rows(pages, pages.in_database() + all.visible,
                                [&](const Row& row) { behind = std::max(behind, row.first); });
  if (!tail.ok()) return tail;
  return behind > newest ? all : seen;
}

}  // namespace

Status salvage_rows(const Folder& folder, const std::string& name, const std::function<void(Row)>& found) {
  auto wal = trusted_wal(folder, name);
  if (!wal.ok()) return wal.status();
  return find_rows(Pages(folder, name, std::move(wal).value()), 0, found);
}

Result<bool> wal_hides_commits(const Folder& folder, const std::string& name) {
  const auto wal = trusted_wal(folder, name);
  if (!wal.ok()) return wal.status();
  return wal.value().visible < wal.value().frames.size();
}

}  // namespace millrace
