#include "ingest/mapped_inbox.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/files.h"
#include "base/text.h"
#include "base/utf8.h"
#include "record/batch.h"

namespace millrace {

// The region, all numbers in the machine's own byte order (the file never leaves the machine):
//   0      Header: magic, capacity, id, head, tail, and the page of what is in work
//   4096   sessions_max Sessions: per input the last entries, to recognise redeliveries; others share them
//   then   capacity bytes of ring
// Positions count bytes for ever; position p lies at ring offset p % capacity. An entry is an EntryHead and
// the bytes of input, channel and payload, padded to 8. One that would cross the end of the ring is preceded
// by a gap: an EntryHead with input_size = 0xFFFF. Entries count only below `head`, which is stored last.
namespace {

constexpr std::uint64_t magic = 0x31584F424E49524DULL;  // "MRINBOX1"
constexpr std::size_t header_bytes = 4096;
constexpr std::size_t sessions_max = 8;
constexpr std::size_t session_entries = 2048;  // twice the largest receive maximum we ask for
constexpr std::uint16_t gap_mark = 0xFFFF;
constexpr std::uint64_t nothing = UINT64_MAX;
// A payload that cannot be decoded becomes one record, and must be able to lie in a batch beside others.
constexpr std::size_t payload_max = batch_bytes_max / 2;

struct EntryHead {
  std::uint32_t size;  // whole entry, a multiple of 8
  std::uint32_t crc;   // of everything behind this field, padding excluded
  std::uint64_t position;
  std::int64_t received_us;
  std::int64_t monotonic_ns;
  std::uint32_t payload_size;
  std::uint16_t input_size;
  std::uint16_t channel_size;
  std::uint16_t packet_id;
  std::uint8_t qos;
  std::uint8_t flags;        // 1 duplicate, 2 retained, 4 clock trusted, 8 patient
  std::uint32_t whole_size;  // of a payload that can never fit, and whose head this is; 0: it is all here
};
static_assert(sizeof(EntryHead) == 48);

constexpr std::size_t crc_from = offsetof(EntryHead, position);

std::size_t padded(std::size_t n) { return (n + 7) & ~std::size_t{7}; }

std::uint32_t crc_of(const std::byte* entry, std::size_t used) {
  return crc32c({entry + crc_from, used - crc_from});
}

std::size_t used_of(const EntryHead& head) {
  return sizeof(EntryHead) + head.input_size + head.channel_size + head.payload_size;
}

std::size_t used_of(const Arrival& arrival) {
  return sizeof(EntryHead) + arrival.input.size() + arrival.channel.size() + arrival.bytes.size();
}

void write_gap(std::byte* to, std::uint64_t position, std::uint64_t size) {
  EntryHead mark{};
  mark.size = static_cast<std::uint32_t>(size);
  mark.position = position;
  mark.input_size = gap_mark;
  std::memcpy(to, &mark, sizeof mark);
}

void write_entry(std::byte* to, std::uint64_t position, const Arrival& arrival, std::size_t used) {
  EntryHead entry{};
  entry.size = static_cast<std::uint32_t>(padded(used));
  entry.position = position;
  entry.received_us = arrival.received.us;
  entry.monotonic_ns = arrival.received_monotonic.ns;
  entry.payload_size = static_cast<std::uint32_t>(arrival.bytes.size());
  entry.input_size = static_cast<std::uint16_t>(arrival.input.size());
  entry.channel_size = static_cast<std::uint16_t>(arrival.channel.size());
  entry.packet_id = arrival.packet_id;
  entry.qos = arrival.qos;
  entry.whole_size = static_cast<std::uint32_t>(std::min<std::uint64_t>(arrival.whole_bytes, UINT32_MAX));
  entry.flags = static_cast<std::uint8_t>((arrival.duplicate ? 1 : 0) | (arrival.retained ? 2 : 0) |
                                          (arrival.clock_trusted ? 4 : 0) | (arrival.patient ? 8 : 0));
  std::byte* body = to + sizeof entry;
  std::memcpy(to, &entry, sizeof entry);
  if (!arrival.input.empty()) std::memcpy(body, arrival.input.data(), arrival.input.size());
  if (!arrival.channel.empty())
    std::memcpy(body + arrival.input.size(), arrival.channel.data(), arrival.channel.size());
  if (!arrival.bytes.empty()) {
    std::memcpy(body + arrival.input.size() + arrival.channel.size(), arrival.bytes.data(),
                arrival.bytes.size());
  }
  entry.crc = crc_of(to, used);
  std::memcpy(to + offsetof(EntryHead, crc), &entry.crc, sizeof entry.crc);
}

}  // namespace

struct MappedInbox::Header {
  std::uint64_t magic_number;
  std::uint64_t capacity;
  std::uint64_t id;
  std::atomic<std::uint64_t> head;  // end of the newest whole entry
  std::atomic<std::uint64_t> tail;  // everything before it is in the log
  std::atomic<std::uint64_t> in_work;
  std::uint64_t crashed_at;  // the entry that was in work when the process last died, and how often in a row
  std::uint64_t crashes;
  std::uint64_t boot, before_boot;  // that uses it; everything up to here is of others
};

struct MappedInbox::Session {
  struct Entry {
    std::uint64_t end;  // position behind the inbox entry; counts only when <= head
    std::uint64_t digest;
    std::uint64_t serial;  // messages of this session before it
    std::uint16_t packet_id;
    std::uint16_t marks;
    std::uint32_t of;  // the input, for slots that are shared; 0: noted by an earlier version
  };
  static constexpr std::uint16_t came_again = 1, exactly_once = 2, released = 4;  // marks
  std::uint64_t input;  // digest of the input's name; 0: free
  std::uint64_t serial;
  Entry entries[session_entries];
};

namespace {

class MappedFile final : public InboxRegion {
 public:
  MappedFile(void* memory, std::size_t size) : memory_(memory), size_(size) {}
  ~MappedFile() override { ::munmap(memory_, size_); }
  std::span<std::byte> bytes() override { return {static_cast<std::byte*>(memory_), size_}; }

 private:
  void* memory_;
  std::size_t size_;
};

}  // namespace

Result<std::unique_ptr<InboxRegion>> map_inbox_file(const std::string& path, std::size_t bytes, bool& fresh) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return status_from_errno(errno, "open " + path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return status_from_errno(errno, "stat " + path);
  fresh = info.st_size == 0;
  if (!fresh) bytes = static_cast<std::size_t>(info.st_size);
  if (fresh) {
    // Whole, never sparse: a write to the mapping must not find the memory gone (SIGBUS).
    if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
      return status_from_errno(error, text("allocate ", bytes, " bytes for ", path));
    }
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return status_from_errno(errno, "map " + path);
  return std::unique_ptr<InboxRegion>(std::make_unique<MappedFile>(memory, bytes));
}

std::size_t MappedInbox::region_bytes(std::size_t capacity) {
  return header_bytes + sessions_max * sizeof(Session) + padded(capacity);
}

void MappedInbox::format(std::span<std::byte> region, std::uint64_t id) {
  // Not the ring: nothing is read behind the head, and memory that was never written costs none.
  std::memset(region.data(), 0, header_bytes + sessions_max * sizeof(Session));
  auto* header = reinterpret_cast<Header*>(region.data());
  header->capacity = region.size() - header_bytes - sessions_max * sizeof(Session);
  header->id = id;
  header->in_work = nothing;
  header->crashed_at = nothing;
  header->magic_number = magic;
}

std::uint64_t MappedInbox::id_of(std::span<std::byte> region) {
  return reinterpret_cast<Header*>(region.data())->id;
}

bool MappedInbox::holds_entries(std::span<std::byte> region, std::uint64_t released) {
  const auto& header = *reinterpret_cast<const Header*>(region.data());
  return header.head > std::max(released, header.tail.load());
}

Status MappedInbox::verify(std::span<std::byte> region) {
  if (region.size() < region_bytes(4096)) return {Code::corrupt, "inbox: too small"};
  const auto& header = *reinterpret_cast<const Header*>(region.data());
  if (header.magic_number != magic) return {Code::corrupt, "inbox: not an inbox of this version"};
  if (header.capacity != region.size() - header_bytes - sessions_max * sizeof(Session))
    return {Code::corrupt, "inbox: wrong size"};
  const std::uint64_t head = header.head, tail = header.tail;
  if (tail > head || head - tail > header.capacity || head % 8 != 0 || tail % 8 != 0)
    return {Code::corrupt, "inbox: positions make no sense"};
  const std::byte* ring = region.data() + header_bytes + sessions_max * sizeof(Session);
  for (std::uint64_t position = tail; position < head;) {
    const std::uint64_t offset = position % header.capacity;
    EntryHead entry;
    // too little for a gap mark even: the writer skipped it
    if (header.capacity - offset < sizeof(EntryHead)) {
      position += header.capacity - offset;
      continue;
    }
    std::memcpy(&entry, ring + offset, sizeof entry);
    if (entry.position != position || entry.size % 8 != 0 || entry.size < sizeof(EntryHead) ||
        entry.size > header.capacity - offset || position + entry.size > head) {
      return {Code::corrupt, text("inbox: entry at ", position, " is torn")};
    }
    if (entry.input_size != gap_mark) {
      if (used_of(entry) > entry.size || crc_of(ring + offset, used_of(entry)) != entry.crc) {
        return {Code::corrupt, text("inbox: entry at ", position, " fails its checksum")};
      }
    }
    position += entry.size;
  }
  return {};
}

MappedInbox::MappedInbox(std::span<std::byte> region, std::uint64_t released) : region_(region) {
  Header& h = header();
  capacity_ = h.capacity;
  limit_ = text("what the inbox takes of a message (", std::min(entry_max(), payload_max),
                " bytes; gateway.inbox_size)");
  const std::uint64_t tail = std::clamp(released, h.tail.load(), h.head.load());
  h.tail = tail;
  taken_ = durable_ = tail;
  // Was something in work when the last process died? Twice the same entry: it is the entry's fault.
  const std::uint64_t in_work = h.in_work.exchange(nothing);
  if (in_work != nothing && in_work >= tail) {
    h.crashes = in_work == h.crashed_at ? h.crashes + 1 : 1;
    h.crashed_at = in_work;
    if (h.crashes >= 2) poisoned_ = in_work;
  } else if (h.crashed_at < tail) {
    h.crashed_at = nothing;
    h.crashes = 0;
  }
}

MappedInbox::Header& MappedInbox::header() const { return *reinterpret_cast<Header*>(region_.data()); }

std::byte* MappedInbox::at(std::uint64_t position) const {
  return region_.data() + header_bytes + sessions_max * sizeof(Session) + position % capacity_;
}

std::uint64_t MappedInbox::id() const { return header().id; }

namespace {

std::uint64_t slot_name(std::string_view input) { return digest64(bytes_of(input)) | 1; }

std::uint32_t entry_name(std::uint64_t slot_name) { return static_cast<std::uint32_t>(slot_name >> 32) | 1; }

bool follows(std::uint16_t next, std::uint16_t id) { return next == (id == 65535 ? 1 : id + 1); }

}  // namespace

// Where inputs are more than slots, some share one. Two with 1,000 messages on their way each fit; of more
// than that the oldest that come again would be stored again.
MappedInbox::Session& MappedInbox::session_of(std::uint64_t name) {
  auto* sessions = reinterpret_cast<Session*>(region_.data() + header_bytes);
  for (std::size_t i = 0; i < sessions_max; ++i) {
    if (sessions[i].input == 0) sessions[i].input = name;
    if (sessions[i].input == name) return sessions[i];
  }
  return sessions[(name >> 1) % sessions_max];
}

// The end position of the entry this one repeats; 0 when it is new, or may be. A broker may give an
// identifier again as soon as it is free, and then DUP says only that this message, not an earlier one, was
// sent before ([MQTT-4.3.2-5]). So a QoS 1 message is known only while the broker shows that it counts
// identifiers up: what came last is a run of them, and this one lies in it, behind its first. A QoS 2 message
// is known until it is released.
std::uint64_t MappedInbox::known_redelivery(Session& session, std::uint64_t name, const Arrival& arrival,
                                            std::uint64_t digest) const {
  const std::uint64_t head = header().head.load(std::memory_order_relaxed);
  bool counting = true;
  std::uint16_t later = 0;    // the identifier behind this one in the run; 0: this is the newest
  std::uint64_t perhaps = 0;  // it is, if one more of the run lies before it
  for (std::uint64_t back = 1; back <= std::min<std::uint64_t>(session.serial, session_entries); ++back) {
    const Session::Entry& entry = session.entries[(session.serial - back) % session_entries];
    if (entry.end == 0 || entry.end > head || (entry.of != 0 && entry.of != entry_name(name))) continue;
    const bool same = entry.packet_id == arrival.packet_id && entry.digest == digest;
    if ((entry.marks & Session::exactly_once) != 0 && same && (entry.marks & Session::released) == 0)
      return entry.end;
    if (!counting) continue;
    if ((entry.marks & Session::came_again) != 0) {
      if (same && arrival.qos == 1) return entry.end;  // it was known then, and the run goes on since
      continue;
    }
    counting = later == 0 || follows(later, entry.packet_id);
    if (!counting) continue;
    if (perhaps != 0) return perhaps;
    later = entry.packet_id;
    if (same && arrival.qos == 1) perhaps = entry.end;
  }
  return 0;
}

void MappedInbox::forget_session(std::string_view input) {
  const std::lock_guard lock(put_mutex_);
  const std::uint64_t name = slot_name(input);
  Session& session = session_of(name);
  for (Session::Entry& entry : session.entries) {
    const bool own = entry.of != 0 ? entry.of == entry_name(name) : session.input == name;
    if (own) entry.end = 0;
  }
}

// The newest that came under this identifier, and where it came again, too.
void MappedInbox::released(std::string_view input, std::uint16_t packet_id) {
  const std::lock_guard lock(put_mutex_);
  const std::uint64_t name = slot_name(input);
  Session& session = session_of(name);
  for (std::uint64_t back = 1; back <= std::min<std::uint64_t>(session.serial, session_entries); ++back) {
    Session::Entry& entry = session.entries[(session.serial - back) % session_entries];
    if (entry.end == 0 || entry.packet_id != packet_id || (entry.of != 0 && entry.of != entry_name(name)) ||
        (entry.marks & Session::exactly_once) == 0)
      continue;
    entry.marks |= Session::released;
    if ((entry.marks & Session::came_again) == 0) return;
  }
}

void MappedInbox::note(Session& session, std::uint64_t name, const Arrival& arrival, std::uint64_t digest,
                       std::uint64_t end, bool again) {
  Session::Entry& entry = session.entries[session.serial % session_entries];
  entry.end = 0;
  entry.digest = digest;
  entry.packet_id = arrival.packet_id;
  entry.marks = static_cast<std::uint16_t>((again ? Session::came_again : 0) |
                                           (arrival.qos == 2 ? Session::exactly_once : 0));
  entry.of = entry_name(name);
  entry.serial = ++session.serial;
  entry.end = end;
}

// An entry never wraps, so one that starts behind the middle may need as much again as a gap: half the ring
// always fits.
std::size_t MappedInbox::message_max(std::string_view input) const {
  const std::size_t beside = sizeof(EntryHead) + input.size() + 8;
  return entry_max() > beside ? std::min(entry_max() - beside, payload_max) : 0;
}

Arrival MappedInbox::head_of(const Arrival& arrival) const {
  Arrival head = arrival;
  const std::size_t room = message_max(arrival.input);
  head.channel = cut_utf8(arrival.channel, std::min<std::size_t>(room / 2, 0xFFFF));
  head.whole_bytes = std::max<std::uint64_t>(arrival.whole_bytes, arrival.bytes.size()) +
                     (head.channel.size() < arrival.channel.size() ? arrival.channel.size() : 0);
  head.bytes = arrival.bytes.first(std::min({arrival.bytes.size(), head_bytes, room - head.channel.size()}));
  return head;
}

// Where the next entry goes, behind the gap that it may need; nothing: there is no room now.
inline std::optional<std::uint64_t> MappedInbox::take_place(std::size_t size) {
  const Header& h = header();
  const std::uint64_t head = h.head.load(std::memory_order_relaxed);
  const std::uint64_t tail = h.tail.load(std::memory_order_acquire);
  const std::uint64_t to_end = capacity_ - head % capacity_;
  const std::uint64_t gap = to_end < size ? to_end : 0;
  if (head + gap + size - tail > capacity_) return std::nullopt;
  if (gap >= sizeof(EntryHead)) write_gap(at(head), head, gap);
  return head + gap;
}

Result<Ticket> MappedInbox::put(const Arrival& whole) {
  if (whole.input.size() >= gap_mark) return Status{Code::invalid, "inbox: the input's name is too long"};
  const bool fits =
      whole.channel.size() <= 0xFFFF && whole.channel.size() + whole.bytes.size() <= message_max(whole.input);
  const std::optional<Arrival> beheaded = fits ? std::nullopt : std::optional(head_of(whole));
  const Arrival& arrival = fits ? whole : *beheaded;
  const std::size_t used = used_of(arrival), size = padded(used);
  Ticket end = 0;
  {
    const std::lock_guard lock(put_mutex_);
    std::uint64_t digest = 0, name = 0;
    Session* session = nullptr;
    if (arrival.qos > 0 && arrival.packet_id != 0) {
      name = slot_name(arrival.input);
      session = &session_of(name);
      // In a slot of another's an entry is known by the input's name, too.
      digest = digest64(whole.bytes, digest64(bytes_of(whole.channel), session->input == name ? 0 : name));
      if (arrival.duplicate) {
        if (const std::uint64_t known = known_redelivery(*session, name, arrival, digest)) {
          duplicates_.fetch_add(1, std::memory_order_relaxed);
          // Noted anew: if this acknowledgement gets lost too, it comes a third time, when the old note may
          // be gone.
          note(*session, name, arrival, digest, known, true);
          return known;
        }
      }
    }
    const auto place = take_place(size);
    if (!place) return Status{Code::full, "inbox: full"};
    write_entry(at(*place), *place, arrival, used);
    end = *place + size;
    if (session) {
      // Noted before the entry counts: a kill in between leaves a note that points beyond the head, and no
      // entry.
      note(*session, name, arrival, digest, end, false);
    }
    header().head.store(end, std::memory_order_release);
  }
  if (arrival.whole_bytes > 0) beheaded_.fetch_add(1, std::memory_order_relaxed);
  Rest was = rest_.load(std::memory_order_seq_cst);
  // Where it is another by now the consumer has looked since, or is woken.
  if (was >= (arrival.patient ? Rest::sleep : Rest::doze) && rest_.compare_exchange_strong(was, Rest::none) &&
      wake_)
    wake_();
  return end;
}

Ticket MappedInbox::end() const { return header().head.load(std::memory_order_acquire); }

bool MappedInbox::empty() const { return taken_ == header().head.load(std::memory_order_acquire); }

bool MappedInbox::rest(Rest how) {
  rest_.store(how, std::memory_order_seq_cst);
  if (empty()) return true;
  rest_.store(Rest::none, std::memory_order_seq_cst);  // something slipped in: no need to be woken for it
  return false;
}

void MappedInbox::begin_boot(std::span<std::byte> region, std::uint64_t boot) {
  auto& header = *reinterpret_cast<Header*>(region.data());
  if (header.boot == boot) return;
  if (header.boot != 0) header.before_boot = header.head;
  header.boot = boot;
}

bool MappedInbox::take(Arrival& arrival, Ticket& ticket, bool& crashed) {
  for (;;) {
    if (empty()) return false;
    const std::uint64_t to_end = capacity_ - taken_ % capacity_;
    if (to_end < sizeof(EntryHead)) {
      taken_ += to_end;
      continue;
    }
    EntryHead entry;
    const std::byte* from = at(taken_);
    std::memcpy(&entry, from, sizeof entry);
    MILLRACE_CHECK(entry.position == taken_);  // verified at attach, and only put() writes since
    if (entry.input_size == gap_mark) {
      taken_ += entry.size;
      continue;
    }
    const auto* body = reinterpret_cast<const char*>(from + sizeof entry);
    arrival.input = {body, entry.input_size};
    arrival.channel = {body + entry.input_size, entry.channel_size};
    arrival.bytes = bytes_of({body + entry.input_size + entry.channel_size, entry.payload_size});
    arrival.whole_bytes = entry.whole_size;
    arrival.limit = entry.whole_size > 0 ? std::string_view(limit_) : std::string_view{};
    arrival.packet_id = entry.packet_id;
    arrival.qos = entry.qos;
    arrival.duplicate = entry.flags & 1;
    arrival.retained = entry.flags & 2;
    arrival.clock_trusted = entry.flags & 4;
    arrival.patient = entry.flags & 8;
    arrival.received = {entry.received_us};
    arrival.received_monotonic = {entry.monotonic_ns};
    crashed = taken_ == poisoned_;
    working_on_ = taken_;
    arrival.other_boot = taken_ < header().before_boot;
    taken_ += entry.size;
    ticket = taken_;
    return true;
  }
}

void MappedInbox::begin_work() { header().in_work.store(working_on_, std::memory_order_relaxed); }

void MappedInbox::end_work() { header().in_work.store(nothing, std::memory_order_relaxed); }

void MappedInbox::release(Ticket ticket) {
  Header& h = header();
  std::uint64_t tail = h.tail.load(std::memory_order_relaxed);
  while (tail < ticket && !h.tail.compare_exchange_weak(tail, ticket, std::memory_order_release)) {}
  {
    const std::lock_guard lock(durable_mutex_);
    durable_ = std::max(durable_, ticket);
  }
  durable_changed_.notify_all();
}

Status MappedInbox::wait_durable(Ticket ticket) {
  waiters_.fetch_add(1);
  if (wake_) wake_();  // the loop may have looked between put() and here: it must see that somebody waits
  std::unique_lock lock(durable_mutex_);
  durable_changed_.wait(lock, [&] { return closed_ || durable_ >= ticket; });
  waiters_.fetch_sub(1);
  if (durable_ >= ticket) return {};
  return {Code::closed, "inbox: closed before the payload was durable"};
}

bool MappedInbox::wait_room(Duration longest) {
  std::unique_lock lock(durable_mutex_);
  const std::uint64_t before = durable_;
  durable_changed_.wait_for(lock, longest, [&] { return closed_ || durable_ > before; });
  return !closed_;
}

void MappedInbox::close() {
  {
    const std::lock_guard lock(durable_mutex_);
    closed_ = true;
  }
  durable_changed_.notify_all();
}

double MappedInbox::fill() const {
  const Header& h = header();
  return static_cast<double>(h.head.load(std::memory_order_relaxed) -
                             h.tail.load(std::memory_order_relaxed)) /
         static_cast<double>(capacity_);
}

}  // namespace millrace
