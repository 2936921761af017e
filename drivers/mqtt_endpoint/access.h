// Who may connect to the endpoint, or ask the HTTP face, by a password. The file of users is read again
// whenever it has changed. Checking a password takes a tenth of a second and more, so it runs on one or two
// workers, and a pair that was right is remembered for an hour as a keyed digest: a fleet that reconnects
// after a power cut of its own costs a look-up each. The digests are not kept on disk: beside the slow hashes
// of the file they would make a stolen disk quick to search. On the loop.
//
// Those who make names up cannot keep those who have one out: checks wait by source (an IPv4 address, a /64
// of IPv6), sources take turns, and what exceeds a source's share is answered "busy" at once. Names of the
// file are checked before others, and so is one in sixteen of all other names, chosen by a keyed digest, so
// that being served in a crowd says little about a name. Time says nothing: an unknown name costs what one of
// the file's users costs.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "drivers/mqtt_endpoint/endpoint_config.h"
#include "drivers/mqtt_endpoint/fair_queue.h"
#include "drivers/mqtt_endpoint/source.h"
#include "drivers/mqtt_endpoint/users_file.h"
#include "loop/loop.h"
#include "net/password_hash.h"

namespace millrace {

class Access {
 public:
  static constexpr Duration remember_for = std::chrono::hours(1);
  static constexpr Duration rest_for = std::chrono::seconds(2);  // a changed file, before it ends connections
  // At most, and never all processors but one: with two busy on two, fdatasync took up to two seconds, and
  // every acknowledgement with it.
  static constexpr int checks_at_once = 2;
  static constexpr std::size_t known_of_source_max = 256, of_user_max = 16, unknown_of_source_max = 16;
  static constexpr std::size_t known_max = 4096, unknown_max = 1024;
  static constexpr std::size_t password_bytes_max = 1024;

  enum class Answer : std::uint8_t { right, wrong, busy };

  // `who` is told in the journal: "input devices". `users_file`: empty for none.
  Access(Loop& loop, std::string who, std::string users_file);
  Access(Loop& loop, const EndpointConfig& config)
      : Access(loop, "input " + config.name, config.users_file) {}
  ~Access() { *alive_ = false; }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  // `peer` is where the connection comes from, "192.0.2.7:41234". `decided` runs later on the loop, or at
  // once where the pair is remembered or there is no room to wait; not at all when the owner dies first or
  // `wanted` has become false meanwhile.
  void check(const std::string& peer, const std::string& user, const std::string& password,
             std::shared_ptr<const bool> wanted, std::function<void(Answer)> decided);

  // Whether the pair was right within the last hour, and still is what the file says.
  bool knows(const std::string& user, const std::string& password);
  // What stands in the file for a user, as a digest: it changes with his password, and is 0 for who is no
  // user.
  std::uint64_t standing_of(std::string_view user) const;
  // The hash that a name's password is checked against: for a name that is no user's, one of the file's,
  // always the same.
  const std::string& hash_to_check(const std::string& user) const;
  // Reads the file if it changed. True once for each change, when the file has rested for `rest_for`: time to
  // end connections of users who are gone, which must not happen while an editor is half way through.
  bool look_at_file();

 private:
  struct Check {
    std::string user, password;
    std::shared_ptr<const bool> wanted;
    std::function<void(Answer)> decided;
  };
  struct Remembered {
    Digest digest;
    Instant until;
  };
  void read_file();
  void start_next();
  void run(int worker, Check check);
  bool remembers(const std::string& user, const std::string& password) const;
  Digest digest_of(const std::string& user, const std::string& password, const std::string& stored) const;

  Loop& loop_;
  const std::string who_, users_file_;
  Users users_;
  std::vector<const std::string*> stand_ins_;  // the hashes of users_
  std::string stand_in_;                       // where there are none
  std::string stamp_;
  Instant changed_at_;
  bool resting_ = false;  // a change waits for `rest_for`
  Digest key_;
  std::unordered_map<std::string, Remembered> remembered_;
  FairQueue<Check> known_{known_of_source_max, known_max}, unknown_{unknown_of_source_max, unknown_max};
  const int at_once_ =
      std::clamp(static_cast<int>(std::thread::hardware_concurrency()) - 1, 1, checks_at_once);
  std::array<bool, checks_at_once> running_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
