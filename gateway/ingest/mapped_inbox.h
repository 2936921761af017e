// The inbox in mapped memory: several producers, one consumer, a ring of checksummed entries in a file on
// tmpfs, so that a killed process finds what it had accepted. Layout at the top of mapped_inbox.cpp; a region
// that is torn or foreign is never trusted: attach() says so and the owner sets it aside.
//
// A message that comes again is known by its identifier and content, where it is proven that the identifier
// cannot be another message's: known_redelivery(). Where it is not, it is stored twice rather than lost.
//
// Exactly-once hand-over: the consumer's release point travels in the log's transaction (InboxPosition);
// attach() starts behind it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "ingest/inbox.h"

namespace millrace {

// Memory that outlives the process, or in tests just the object.
class InboxRegion {
 public:
  virtual ~InboxRegion() = default;
  virtual std::span<std::byte> bytes() = 0;
};

// Maps `path`, created whole (posix_fallocate) when it is missing; `fresh` says so. One that exists is mapped
// as large as it is: what was accepted into it is not thrown away because the configuration wants another
// size.
Result<std::unique_ptr<InboxRegion>> map_inbox_file(const std::string& path, std::size_t bytes, bool& fresh);

class MappedInbox final : public Inbox {
 public:
  static std::size_t region_bytes(std::size_t capacity);

  // Formats an empty region.
  static void format(std::span<std::byte> region, std::uint64_t id);
  // Checks a region that was used before, whole: header, every entry between tail and head. `corrupt` when it
  // cannot be trusted.
  static Status verify(std::span<std::byte> region);
  static std::uint64_t id_of(std::span<std::byte> region);
  // Of a region that was formatted or verified, before anything is put: what lies there already may be of
  // another boot, with a monotonic clock of its own. `boot` 0: not known.
  static void begin_boot(std::span<std::byte> region, std::uint64_t boot);
  // Whether a verified region holds entries behind `released`.
  static bool holds_entries(std::span<std::byte> region, std::uint64_t released);

  // `region` was formatted or verified. Everything up to `released` has been committed to the log.
  MappedInbox(std::span<std::byte> region, std::uint64_t released);

  // ---- producers, any thread
  Result<Ticket> put(const Arrival& arrival) override;
  void forget_session(std::string_view input) override;
  void released(std::string_view input, std::uint16_t packet_id) override;
  std::size_t message_max(std::string_view input) const override;
  bool wait_room(Duration longest) override;
  Status wait_durable(Ticket ticket) override;
  double fill() const override;
  std::size_t capacity() const override { return capacity_; }
  // Runs on a producer's thread when something arrived and the consumer was asleep.
  void on_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  // ---- the consumer, on the loop
  std::uint64_t id() const;
  // The oldest entry not yet taken; views are valid until release() of `ticket`. `crashed`: it was in work
  // when the process died, twice. False when there is none.
  bool take(Arrival& arrival, Ticket& ticket, bool& crashed);
  // The consumer will not look again by itself: the next put wakes it. False when something came meanwhile.
  bool sleep() { return rest(Rest::sleep); }
  // As sleep(), of one that looks again by itself, and not soon: what is patient does not wake it.
  bool doze() { return rest(Rest::doze); }
  // Says that the entry just taken is being decoded, and that it was: what stands between the two is blamed
  // for a crash.
  void begin_work();
  void end_work();
  bool has_waiters() const { return waiters_.load() > 0; }
  bool empty() const;
  // What is put from now on has a higher ticket; what was put has none higher.
  Ticket end() const;

  // ---- after a commit, any thread: everything up to `ticket` is durable, room is given back.
  void release(Ticket ticket);
  // Wakes all who wait, with `closed`.
  void close();

  std::uint64_t duplicates() const { return duplicates_.load(); }
  // Payloads that could never fit, of which only the head was stored.
  std::uint64_t beheaded() const { return beheaded_.load(); }

 private:
  struct Header;
  struct Session;
  enum class Rest : std::uint8_t { none, doze, sleep };
  bool rest(Rest how);
  Header& header() const;
  Session& session_of(std::uint64_t name);
  std::byte* at(std::uint64_t position) const;
  static void note(Session& session, std::uint64_t name, const Arrival& arrival, std::uint64_t digest,
                   std::uint64_t end, bool again);
  // The largest entry that an empty inbox takes at any position.
  std::size_t entry_max() const { return capacity_ / 2; }
  Arrival head_of(const Arrival& arrival) const;
  std::optional<std::uint64_t> take_place(std::size_t size);
  std::uint64_t known_redelivery(Session& session, std::uint64_t name, const Arrival& arrival,
                                 std::uint64_t digest) const;

  std::span<std::byte> region_;
  std::size_t capacity_;
  std::mutex put_mutex_;
  std::uint64_t taken_;
  std::uint64_t working_on_ = 0;
  std::uint64_t poisoned_ = UINT64_MAX;  // position of the entry that killed the process twice
  std::function<void()> wake_;
  std::atomic<Rest> rest_{Rest::sleep};  // of the consumer
  std::atomic<std::uint64_t> duplicates_{0}, beheaded_{0};
  std::string limit_;  // in words, for what was too large

  std::mutex durable_mutex_;
  std::condition_variable durable_changed_;
  std::uint64_t durable_;
  bool closed_ = false;
  std::atomic<int> waiters_{0};
};

}  // namespace millrace
