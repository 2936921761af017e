#include "leftover.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "record/batch.h"

namespace millrace {

namespace {
constexpr Duration look_every = std::chrono::milliseconds(200);
constexpr Duration carry_again = std::chrono::seconds(10);
}

std::string folder_beside(std::uint64_t format) { return text("format-", format); }

Leftover::Leftover(Loop& loop, std::string path, std::unique_ptr<Folder> folder, std::unique_ptr<SqliteLog> log)
    : loop_(loop), path_(std::move(path)), folder_(std::move(folder)), log_(std::move(log)) {}

Leftover::~Leftover() = default;

std::vector<std::unique_ptr<Leftover>> Leftover::find(Loop& loop, const std::string& path, const LogOptions& options, std::uint64_t seed) {
  std::vector<std::unique_ptr<Leftover>> found;
  for (std::uint64_t format = oldest_log_format; format <= log_format; ++format) {
    const std::string beside = path + "/" + folder_beside(format);
    auto folder = open_folder(beside);
    if (!folder->list().ok()) continue;
    auto log = SqliteLog::open(loop, *folder, options, seed + format);
    if (!log.ok()) {
      LOG_ERROR("log: ", beside, " is left as it is: ", log.status().detail());
      continue;
    }
    LOG_INFO("log: ", beside, " was left by another version; it is forwarded first");
    found.push_back(std::unique_ptr<Leftover>(new Leftover(loop, beside, std::move(folder), std::move(log).value())));
  }
  return found;
}

void Leftover::drain(const UplinkPlan& plan, Rng& rng, Metrics& metrics, const std::string& gateway, std::function<void()> done) {
  North& north = norths_[plan.name];
  north.done = std::move(done);
  north.uplink = plan.make(loop_, rng, gateway, log_->epoch());
  north.shipper = std::make_unique<Shipper>(loop_, *log_, *north.uplink, metrics, rng, plan.shipper);
  (void)north.shipper->start();  // it fails for configuration only, which was checked
  if (!look_timer_) look();
}

void Leftover::look() {
  look_timer_ = loop_.after(look_every, [this] { look(); });
  for (auto& [name, north] : norths_) {
    if (north.finished || !north.shipper->idle() || !log_->stats().trouble.empty()) continue;
    north.finished = true;
    LOG_INFO("log: ", path_, ": uplink ", name, " has all of it");
    north.shipper->stop([this, &north = north] {
      north.shipper.reset();
      north.uplink.reset();
      north.done();
    });
  }
}

std::uint64_t Leftover::records() const {
  std::uint64_t sum = 0;
  for (const auto& [name, north] : norths_) sum += north.shipper ? north.shipper->backlog() : 0;
  return sum;
}

bool Leftover::drained() const {
  return std::all_of(norths_.begin(), norths_.end(), [](const auto& entry) { return entry.second.finished && !entry.second.shipper; });
}

// What cannot be read or written now is no reason to let go of it: it is tried again.
void Leftover::retire(Log& log, std::function<void()> removed) {
  look_timer_.reset();
  carry_letters(log, 1, std::move(removed));
}

void Leftover::retry(Log& log, Sequence from, std::function<void()> removed, const Status& trouble) {
  LOG_WARN("log: ", path_, " stays: ", trouble.detail());
  look_timer_ = loop_.after(carry_again, [this, &log, from, removed = std::move(removed)] { carry_letters(log, from, removed); });
}

// The dead letters from number `from` on, a few rows at a time; when there are none left the folder goes.
void Leftover::carry_letters(Log& log, Sequence from, std::function<void()> removed) {
  log_->read(Lane::dead, {from, UINT64_MAX}, Log::Direction::up, 1 << 20, [this, &log, from, removed = std::move(removed)](const Result<std::vector<Row>>& rows) {
    if (!rows.ok()) return retry(log, from, removed, rows.status());
    if (rows.value().empty()) return remove(removed);
    WriteSet set;
    for (const Row& row : rows.value()) {
      std::vector<Record> letters;
      if (Status status = decode_batch(*row.columns, row.zstd, letters); !status.ok()) {
        LOG_ERROR("log: ", path_, ": ", row.count, " dead letters from number ", row.first, " on cannot be read: ", status.detail());
        continue;
      }
      for (std::size_t i = 0; i < letters.size(); ++i) {
        if (!log_->is_struck(row.first + i)) set.records.emplace_back(Lane::dead, std::move(letters[i]));
      }
    }
    set.urgent = true;
    log.commit(std::move(set), [this, &log, next = rows.value().back().last() + 1, removed](const Status& status) {
      if (status.ok()) carry_letters(log, next, removed);
    });
  });
}

void Leftover::remove(const std::function<void()>& removed) {
  log_->stop([this, removed] {
    if (Status gone = remove_folder(path_); !gone.ok()) LOG_WARN("log: ", gone.detail());
    else LOG_INFO("log: ", path_, " is drained and gone");
    removed();
  });
}

}  // namespace millrace
