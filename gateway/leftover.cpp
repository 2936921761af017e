#include "leftover.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/logger.h"
#include "base/text.h"
#include "log/open_lane.h"
#include "record/batch.h"
#include "record/fit_letter.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {

namespace {
constexpr Duration look_every = std::chrono::milliseconds(200);
constexpr Duration carry_again = std::chrono::seconds(10);
constexpr std::size_t rows_bytes = 64 << 10;  // of rows with dead letters
constexpr const char* going = ".going";       // behind the name of one whose files are being removed

// It loses its name before its files: of one that a process left half gone the next would take what is there
// for a copy or a log that lost its head, and carry letters again.
Status remove_log(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const auto above = open_folder(path.substr(0, slash));
  const std::string name = path.substr(slash + 1);
  if (Status status = above->rename(name, name + going); !status.ok()) return status;
  if (Status status = above->sync(); !status.ok()) return status;
  return remove_folder(path + going);
}

void finish_removal(const std::string& path) {
  if (!open_folder(path + going)->list().ok()) return;
  if (Status gone = remove_folder(path + going); !gone.ok()) LOG_WARN("log: ", gone.detail());
}

}  // namespace

std::string folder_beside(std::uint64_t format) { return text("format-", format); }

bool is_folder_beside(std::string_view name) {
  constexpr std::string_view head = "format-";
  return name.starts_with(head) && name.size() > head.size() &&
         std::ranges::all_of(name.substr(head.size()), is_digit);
}

Leftover::Leftover(Loop& loop, std::string path, std::unique_ptr<Folder> folder,
                   std::unique_ptr<SqliteLog> log, const LogOptions& options)
    : loop_(loop),
      path_(std::move(path)),
      boot_id_(options.boot_id),
      clock_trusted_(options.clock_trusted),
      folder_(std::move(folder)),
      log_(std::move(log)) {}

Leftover::~Leftover() = default;

std::vector<std::unique_ptr<Leftover>> Leftover::find(Loop& loop, const std::string& path,
                                                      const LogOptions& options, std::uint64_t seed) {
  std::vector<std::unique_ptr<Leftover>> found;
  for (std::uint64_t format = oldest_log_format; format <= log_format; ++format) {
    const std::string beside = path + "/" + folder_beside(format);
    finish_removal(beside);
    auto folder = open_folder(beside);
    if (!folder->list().ok()) continue;
    auto log = SqliteLog::open(loop, *folder, options, seed + format);
    if (!log.ok()) {
      LOG_ERROR("log: ", beside, " is left as it is: ", log.status().detail());
      continue;
    }
    LOG_INFO("log: ", beside, " was left by another version; it is forwarded first");
    found.push_back(std::unique_ptr<Leftover>(
        new Leftover(loop, beside, std::move(folder), std::move(log).value(), options)));
  }
  return found;
}

// Of one that could not be opened the epoch is not known: then all of it stays.
void Leftover::forget_gone(Log& log, const std::string& path,
                           const std::vector<std::unique_ptr<Leftover>>& there) {
  const auto names = open_folder(path)->list();
  if (!names.ok() || std::ranges::count_if(names.value(), is_folder_beside) != std::ssize(there)) return;
  WriteSet set;
  for (std::string& name : log.states(carried_prefix)) {
    const auto is_of = [&name](const auto& one) { return one->carried_name() == name; };
    if (std::ranges::none_of(there, is_of)) set.states.push_back({std::move(name), {}});
  }
  if (!set.states.empty()) log.commit(std::move(set), {});
}

void Leftover::begin(Make make, std::function<bool(const UplinkPlan&)> may_start,
                     std::function<void()> changed) {
  changed_ = std::move(changed);
  Uplinks::Rules rules;
  rules.kind = text("log: ", path_, ": uplink");
  rules.make = [this, make = std::move(make)](const UplinkPlan& plan) { return make(plan, *log_); };
  rules.may_start = [this, may_start = std::move(may_start)](const UplinkPlan& plan) {
    UplinkPart* part = uplinks_->find(plan.name);
    return part && part->shipper().backlog() > 0 && may_start(plan);
  };
  rules.removed = [this](const std::string&) { changed_(); };
  rules.stopped = [this] { changed_(); };
  rules.missing = [](const UplinkPlan& plan) { return missing_of(plan.needs); };
  uplinks_ = std::make_unique<Uplinks>(loop_, std::move(rules));
  look();
}

// Who is configured otherwise than when it had all of it may take other lanes now: it looks once more.
void Leftover::want(const std::vector<UplinkPlan>& plans) {
  if (retiring_) return;
  for (const UplinkPlan& plan : plans) {
    const auto before =
        std::find_if(plans_.begin(), plans_.end(), [&](const UplinkPlan& p) { return p.name == plan.name; });
    if (before == plans_.end() || !(before->config == plan.config)) finished_.erase(plan.name);
  }
  plans_ = plans;
  std::erase_if(plans_, [](const UplinkPlan& plan) { return !plan.shipper.standby_of.empty(); });
  update();
}

void Leftover::update() {
  std::vector<UplinkPlan> wanted;
  for (const UplinkPlan& plan : plans_) {
    if (!finished_.contains(plan.name)) wanted.push_back(plan);
  }
  uplinks_->want(wanted);
  uplinks_->go_on();
}

void Leftover::look() {
  look_timer_ = loop_.after(look_every, [this] { look(); });
  if (!log_->stats().trouble.empty()) return;
  const std::size_t finished = finished_.size();
  uplinks_->for_each([this](const std::string& name, UplinkPart& part, Uplinks::State state) {
    if (state == Uplinks::State::stopping || !part.shipper().idle()) return;
    if (finished_.insert(name).second) LOG_INFO("log: ", path_, ": uplink ", name, " has all of it");
  });
  if (finished_.size() != finished) update();
}

bool Leftover::done_with(const UplinkPlan& plan) const {
  if (!plan.shipper.standby_of.empty())
    return !uplinks_->contains(plan.name) && !uplinks_->held_by_leaving(plan.claims);
  return retiring_ || (finished_.contains(plan.name) && !uplinks_->contains(plan.name) &&
                       !uplinks_->held_by_leaving(plan.claims));
}

void Leftover::forget(const std::string& uplink) { log_->forget(uplink); }

std::uint64_t Leftover::records_of(const std::string& uplink) const {
  std::uint64_t sum = 0;
  for (const Lane lane : all_lanes) sum += log_->ledger(uplink, lane).unsettled();
  return sum;
}

std::vector<std::string> Leftover::absent_uplinks() const {
  std::vector<std::string> names = log_->absent_consumers();
  std::erase_if(names,
                [this](const std::string& name) { return name.front() == '@' || records_of(name) == 0; });
  return names;
}

std::uint64_t Leftover::records() const {
  std::set<std::string> names;
  for (const UplinkPlan& plan : plans_) names.insert(plan.name);
  for (const std::string& name : absent_uplinks()) names.insert(name);
  std::uint64_t sum = 0;
  for (const std::string& name : names) sum += records_of(name);
  return sum;
}

bool Leftover::drained() const {
  return std::all_of(plans_.begin(), plans_.end(),
                     [this](const UplinkPlan& plan) { return done_with(plan); }) &&
         absent_uplinks().empty();
}

// What cannot be read or written now is no reason to let go of it: it is tried again.
void Leftover::retire(Log& log, std::function<void()> removed) {
  retiring_ = true;
  look_timer_.reset();
  carry_letters(log, carried_through(log) + 1, std::move(removed));
}

// Moves with the letters: a process that ends between them and the folder's removal carries none twice. A
// backup that was made in between does when it is used: a copy has another epoch, and nobody can know what of
// it the gateway has. Twice is better than never.
Sequence Leftover::carried_through(const Log& log) const {
  const auto saved = log.state(carried_name());
  return saved ? wire::Reader(*saved).get_varint() : 0;
}

void Leftover::retry(Log& log, Sequence from, std::function<void()> removed, const Status& trouble) {
  LOG_WARN("log: ", path_, " stays: ", trouble.detail());
  look_timer_ = loop_.after(
      carry_again, [this, &log, from, removed = std::move(removed)] { carry_letters(log, from, removed); });
}

// The dead letters from number `from` on, a few at a time; when there are none left the folder goes. What
// ours would refuse waits here: it would be lost.
void Leftover::carry_letters(Log& log, Sequence from, std::function<void()> removed) {
  log_->read(Lane::dead, {from, UINT64_MAX}, Log::Direction::up, rows_bytes,
             [this, &log, from, removed = std::move(removed)](const Result<std::vector<Row>>& rows) {
               if (!rows.ok()) return retry(log, from, removed, rows.status());
               if (rows.value().empty()) return remove(log, removed);
               WriteSet set;
               const Sequence next = add_letters(rows.value(), from, log, set);
               if (next == from) {
                 look_timer_ = loop_.after(
                     look_every, [this, &log, from, removed] { carry_letters(log, from, removed); });
                 return;
               }
               Bytes carried;
               wire::Writer(carried).put_varint(next - 1);
               set.states.push_back({carried_name(), std::move(carried), WriteSet::State::NoRoom::left_out});
               set.urgent = true;
               log.commit(std::move(set), [this, &log, next, removed](const Status& status) {
                 if (status.ok()) carry_letters(log, next, removed);
               });
             });
}

// The number to go on with: of the first letter that `log` has no room for now, or behind the rows.
Sequence Leftover::add_letters(const std::vector<Row>& rows, Sequence from, const Log& log,
                               WriteSet& set) const {
  const std::size_t row_bytes_max = log.stats().row_bytes_max;
  std::size_t bytes = 0, told_bytes = 0;
  for (const Row& row : rows) {
    std::vector<Record> letters;
    if (Status status = decode_batch(*row.columns, row.zstd, letters); !status.ok()) {
      Record loss = loss_of(row, from);
      told_bytes += stored_bytes_max(loss);
      if (!log.accepting() || log.why_not(Lane::alarm, told_bytes)) return std::max(row.first, from);
      LOG_ERROR("log: ", path_, ": ", row.count, " dead letters from number ", row.first,
                " on cannot be read: ", status.detail());
      set.records.emplace_back(Lane::alarm, std::move(loss));
      continue;
    }
    for (std::size_t i = 0; i < letters.size(); ++i) {
      const Sequence number = row.first + i;
      if (number < from || log_->is_struck(number)) continue;
      make_fit(letters[i], row_bytes_max);
      const std::size_t own = stored_bytes_max(letters[i]);
      bytes += own;
      const bool never = own > row_bytes_max;  // that is told
      if (!never && (!log.accepting() || log.why_not(Lane::dead, bytes))) return number;
      set.records.emplace_back(Lane::dead, std::move(letters[i]));
    }
  }
  return rows.back().last() + 1;
}

// Of a row that cannot be read: of whose log the numbers are nobody would know, so that none are told.
Record Leftover::loss_of(const Row& row, Sequence from) const {
  LossDetail loss;
  loss.reason = "unreadable";
  for (Sequence number = std::max(row.first, from); number <= row.last(); ++number)
    loss.count += !log_->is_struck(number);
  Record record = loss_record(Lane::dead, std::move(loss), loop_.wall());
  if (!clock_trusted_()) stamp_unsynced(record, boot_id_, loop_.now());
  return record;
}

// A device that is being taken out of it is out before it goes: whoever asked hears how that went.
void Leftover::remove(Log& log, const std::function<void()>& removed) {
  if (log_->mending()) {
    look_timer_ = loop_.after(look_every, [this, &log, removed] { remove(log, removed); });
    return;
  }
  log_->stop([this, &log, removed] {
    if (Status gone = remove_log(path_); !gone.ok()) {
      LOG_WARN("log: ", gone.detail());
    } else {
      LOG_INFO("log: ", path_, " is drained and gone");
      if (log.state(carried_name())) log.commit({.states = {{carried_name(), {}}}}, {});
    }
    removed();
  });
}

}  // namespace millrace
