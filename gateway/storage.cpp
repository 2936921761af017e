#include "storage.h"

#include <cerrno>
#include <cstdio>
#include <tuple>

#include "base/logger.h"
#include "base/rng.h"
#include "base/text.h"
#include "cli/command.h"
#include "windows/window_pages.h"

namespace millrace {

namespace {

LogOptions options_of(const Config& config, const GatewayClock& clock, Folder& runtime_folder) {
  LogOptions options;
  options.bytes_max = config.log.max_size;
  options.state_bytes_max = config.log.max_size / log_state_share;
  options.state_kept_for = WindowPages::prefix;
  for (const WindowConfig& window : config.windows) options.state_kept += window.state_max;
  options.inbox_bytes = config.gateway.inbox_size;
  options.commit_interval = config.log.commit_interval;
  options.when_full = config.log.block_when_full ? WhenFull::block : WhenFull::evict;
  options.boot_id = boot_id();
  options.clock_trusted = [&clock] { return clock.trust().trusted(); };
  options.clock_settled = [&clock] { return clock.settled(); };
  options.withheld_folder = &runtime_folder;
  options.hold_back = config.log.commit_when_unsent;
  options.unsent_max = config.log.unsent_max;
  return options;
}

}  // namespace

std::uint64_t boot_id() {
  auto id = read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!id.ok())
    LOG_WARN("the boot id cannot be read: ", id.status().detail(),
             "; times from before a synchronisation cannot be corrected later");
  return id.ok() ? digest64(bytes_of(trim(id.value()))) : 0;
}

int Storage::open(const Config& config, UvLoop& loop, const GatewayClock& clock) {
  if (const int code = take_folders(config); code != exit_ok) return code;
  const LogOptions options = options_of(config, clock, *runtime_folder_);
  if (Status status = open_log(config, loop, options); !status.ok()) {
    LOG_ERROR("log: ", status.detail());
    return exit_io;
  }
  if (Status status = open_inbox(config, loop); !status.ok()) {
    LOG_ERROR("inbox: ", status.detail());
    return exit_io;
  }
  return exit_ok;
}

// The folders, and that they are nobody else's.
int Storage::take_folders(const Config& config) {
  if (Status status = make_folders(config.gateway.runtime_dir); !status.ok()) {
    LOG_ERROR("runtime folder: ", status.detail(), " (gateway.runtime_dir)");
    return exit_io;
  }
  if (Status status = make_folders(config.log.path); !status.ok()) {
    LOG_ERROR("log folder: ", status.detail(), " (log.path)");
    return exit_io;
  }
  for (const auto& [folder, key, lock] :
       {std::tuple{config.log.path, "log.path", &log_lock_},
        std::tuple{config.gateway.runtime_dir, "gateway.runtime_dir", &runtime_lock_}}) {
    auto held = lock_file(folder + "/lock");
    if (!held.ok()) {
      const bool taken = held.status().code() == Code::unavailable;
      LOG_ERROR(held.status().detail(), " (", key, ")",
                taken ? "; each gateway has a log.path and a gateway.runtime_dir of its own" : "");
      return taken ? exit_unavailable : exit_io;
    }
    *lock = std::move(held).value();
  }
  folder_ = open_folder(config.log.path);
  runtime_folder_ = open_folder(config.gateway.runtime_dir);
  return exit_ok;
}

// One that a later version wrote is left untouched, ours lies beside it; those of earlier ones are drained
// first.
Status Storage::open_log(const Config& config, UvLoop& loop, const LogOptions& options) {
  auto log = SqliteLog::open(loop, *folder_, options, random_from_kernel());
  if (!log.ok() && log.status().code() == Code::newer) {
    const std::string beside = config.log.path + "/" + folder_beside(log_format);
    LOG_WARN("log: ", log.status().detail(), "; it is left untouched, a log of ours is opened in ", beside);
    newer_beside_ = true;
    if (Status status = make_folders(beside); !status.ok()) return status;
    folder_ = open_folder(beside);
    log = SqliteLog::open(loop, *folder_, options, random_from_kernel());
  } else if (log.ok()) {
    LogOptions plain = options;
    plain.withheld_folder = nullptr;
    leftovers_ = Leftover::find(loop, config.log.path, plain, random_from_kernel());
  }
  if (!log.ok()) return log.status();
  log_ = std::move(log).value();
  return {};
}

// A whole inbox of the last run is taken over; a torn or foreign one is set aside for people to look at.
Status Storage::open_inbox(const Config& config, UvLoop& loop) {
  const std::string path = config.gateway.runtime_dir + "/inbox";
  const std::size_t bytes = MappedInbox::region_bytes(config.gateway.inbox_size);
  for (int attempt = 0; attempt < 2; ++attempt) {
    bool fresh = false;
    auto region = map_inbox_file(path, bytes, fresh);
    if (!region.ok()) return region.status();
    region_ = std::move(region).value();
    std::uint64_t released = 0;
    if (fresh) {
      MappedInbox::format(region_->bytes(), random_from_kernel());
    } else if (Status status = MappedInbox::verify(region_->bytes()); !status.ok()) {
      const std::string aside = text(path, ".aside-", loop.wall().us);
      LOG_ERROR(status.detail(), "; set aside as ", aside);
      region_.reset();
      if (std::rename(path.c_str(), aside.c_str()) != 0) return status_from_errno(errno, "set aside " + path);
      continue;
    } else if (const auto position = log_->inbox_position();
               position && position->inbox == MappedInbox::id_of(region_->bytes())) {
      released = position->position;
    }
    if (region_->bytes().size() != bytes) {
      // empty: made anew in the size that is wanted
      if (!MappedInbox::holds_entries(region_->bytes(), released)) {
        region_.reset();
        if (std::remove(path.c_str()) != 0) return status_from_errno(errno, "remove " + path);
        continue;
      }
      LOG_WARN(
          "inbox: the last process left entries in an inbox of another size; gateway.inbox_size counts from the next start on");
    }
    MappedInbox::begin_boot(region_->bytes(), boot_id());
    inbox_ = std::make_unique<MappedInbox>(region_->bytes(), released);
    log_->on_durable_inbox([inbox = inbox_.get()](InboxPosition position) {
      if (position.inbox == inbox->id()) inbox->release(position.position);
    });
    return {};
  }
  return {Code::io, "cannot make " + path};
}

}  // namespace millrace
