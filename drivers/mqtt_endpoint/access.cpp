#include "drivers/mqtt_endpoint/access.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/file_stamp.h"
#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t faults_told = 5;
constexpr unsigned let_through = 16;  // one in so many names that are no user's is treated as if it were

}  // namespace

Access::Access(Loop& loop, std::string who, std::string users_file)
    : loop_(loop), who_(std::move(who)), users_file_(std::move(users_file)), key_(random_key()) {
  // As ours are, but with the iterations only said: the hash itself need not be right.
  stand_in_ = text("$7$", password_iterations, hash_password("", 1).substr(4));
  read_file();
  resting_ = false;
}

// What cannot be read, or has no user that counts, leaves the users as they were: a file that is being
// written, or was spoilt, must not lock everybody out.
void Access::read_file() {
  if (users_file_.empty()) return;
  // none: while there is no file, which its input then waits for
  std::string stamp = file_stamp(users_file_);
  if (stamp == stamp_) return;
  stamp_ = std::move(stamp);
  changed_at_ = loop_.now();
  auto read = read_users_file(users_file_);
  if (!read.ok()) {
    LOG_ERROR(who_, ": ", read.status().detail(), "; the users stay as they were");
    return;
  }
  Users& users = read.value();
  for (std::size_t i = 0; i < std::min(users.faults.size(), faults_told); ++i)
    LOG_ERROR(who_, ": ", users.faults[i]);
  if (users.faults.size() > faults_told)
    LOG_ERROR(who_, ": and ", users.faults.size() - faults_told, " more lines of ", users_file_);
  if (const Status judged = judge_users(users, users_file_); !judged.ok() && !users_.hashes.empty()) {
    LOG_ERROR(who_, ": users_file: ", judged.detail(), "; the users stay as they were");
    return;
  }
  users_ = std::move(users);
  stand_ins_.clear();
  for (const auto& [name, hash] : users_.hashes) stand_ins_.push_back(&hash);
  std::erase_if(remembered_, [&](const auto& entry) { return !users_.hashes.contains(entry.first); });
  resting_ = true;
}

bool Access::look_at_file() {
  read_file();
  if (!resting_ || loop_.now() - changed_at_ < rest_for) return false;
  resting_ = false;
  return true;
}

std::uint64_t Access::standing_of(std::string_view user) const {
  const auto known = users_.hashes.find(user);
  return known == users_.hashes.end() ? 0 : digest64(bytes_of(known->second)) | 1;
}

// Always the same one for a name, so that trying it twice tells nothing either.
const std::string& Access::hash_to_check(const std::string& user) const {
  if (const auto known = users_.hashes.find(user); known != users_.hashes.end()) return known->second;
  if (stand_ins_.empty()) return stand_in_;
  const Digest digest = keyed_digest(key_, text("stand-in ", user));
  std::uint64_t number = 0;
  std::memcpy(&number, digest.data(), sizeof number);
  return *stand_ins_[number % stand_ins_.size()];
}

Digest Access::digest_of(const std::string& user, const std::string& password,
                         const std::string& stored) const {
  return keyed_digest(key_, text(user.size(), ":", user, stored.size(), ":", stored, password));
}

bool Access::remembers(const std::string& user, const std::string& password) const {
  const auto known = users_.hashes.find(user);
  const auto found = remembered_.find(user);
  return known != users_.hashes.end() && found != remembered_.end() && loop_.now() < found->second.until &&
         found->second.digest == digest_of(user, password, known->second);
}

bool Access::knows(const std::string& user, const std::string& password) {
  read_file();
  return password.size() <= password_bytes_max && remembers(user, password);
}

void Access::check(const std::string& peer, const std::string& user, const std::string& password,
                   std::shared_ptr<const bool> wanted, std::function<void(Answer)> decided) {
  read_file();
  if (password.size() > password_bytes_max) return decided(Answer::wrong);
  Check check{user, password, std::move(wanted), std::move(decided)};
  if (remembers(user, password)) return check.decided(Answer::right);
  const bool first =
      users_.hashes.contains(user) || keyed_digest(key_, text("lane ", user))[0] % let_through == 0;
  FairQueue<Check>& queue = first ? known_ : unknown_;
  const std::string source = source_of(peer);
  const auto& waiting = queue.of(source);
  const auto same = std::count_if(waiting.begin(), waiting.end(),
                                  [&](const Check& one) { return one.user == user && *one.wanted; });
  const auto decide = check.decided;
  if (static_cast<std::size_t>(same) >= of_user_max || !queue.push(source, std::move(check)))
    return decide(Answer::busy);
  start_next();
}

void Access::start_next() {
  const auto alive = alive_;
  for (int worker = 0; worker < at_once_; ++worker) {
    while (*alive && !running_[static_cast<std::size_t>(worker)] && !(known_.empty() && unknown_.empty())) {
      Check check = (known_.empty() ? unknown_ : known_).pop();
      if (!*check.wanted) continue;
      if (remembers(check.user, check.password))
        check.decided(Answer::right);  // another connection of his was right meanwhile
      else run(worker, std::move(check));
    }
    if (!*alive) return;
  }
}

void Access::run(int worker, Check check) {
  running_[static_cast<std::size_t>(worker)] = true;
  struct Work {
    Check check;
    std::string stored;
    bool right = false;
  };
  auto work = std::make_shared<Work>();
  work->stored = hash_to_check(check.user);
  work->check = std::move(check);
  loop_.run_blocking(
      worker == 0 ? "password-1" : "password-2",
      [work] { work->right = check_password(work->stored, work->check.password); },
      [this, alive = alive_, work, worker] {
        if (!*alive) return;
        running_[static_cast<std::size_t>(worker)] = false;
        const Check& check = work->check;
        // A user removed or changed while this ran is not let in by what was true before, nor is a stand-in
        // anybody.
        const auto known = users_.hashes.find(check.user);
        const bool right = work->right && known != users_.hashes.end() && known->second == work->stored;
        if (right)
          remembered_[check.user] = {digest_of(check.user, check.password, work->stored),
                                     loop_.now() + remember_for};
        if (*check.wanted) check.decided(right ? Answer::right : Answer::wrong);
        if (*alive) start_next();
      });
}

}  // namespace millrace
