// What the endpoint keeps for clients, connected or away: their sessions, and the wills that wait for their delay. A session
// is saved with Intake::put_state() in the commit that stores the messages it speaks of; the caller commits whenever a
// method says that something was put. On the loop.
//
// A session belongs to a principal and a client identifier of his: another principal's client of the same name has another
// session, and neither ends the other's connection.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>

#include "drivers/mqtt_endpoint/acl.h"
#include "drivers/mqtt_endpoint/client_session.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "ingest/intake.h"

namespace millrace {

// Names are told apart by their length: no two pairs have one key, whatever characters are in them.
std::string session_key(const Principal& owner, std::string_view client);

class EndpointSessions {
 public:
  struct Session {
    ClientSession state;
    EndpointConnection* link = nullptr;
    Instant expires;        // while there is no link
    std::string stored_as;  // its name in the log; empty: the log has none
  };
  struct Publisher {
    std::string device, username, subject;
  };
  struct PendingWill {
    std::string session;
    Publisher publisher;
    Instant due;
    EndpointConnection::Will will;
  };

  // Sessions are kept by the address that devices connect to: for them that is the server. Kept by the input's name they would
  // come back outdated when endpoints change names or places, and a new message would be taken for one they have seen.
  EndpointSessions(Intake& intake, std::string input, std::string address) : intake_(intake), input_(std::move(input)), address_(std::move(address)) {}

  // How long they were alone before we started is not known for certain: each has its whole time again.
  void load(Instant now);
  Session* find(const std::string& key);
  // The session of a principal's client. One that was saved before sessions had owners goes to the first client without a
  // user that comes under its name; a wrong one takes nothing from the right one but the memory, and what that sends again is
  // stored again.
  Session* find(const std::string& key, const Principal& owner, const std::string& client);
  // A new one, or the one that is there.
  Session& open(const std::string& key) { return sessions_[key]; }
  // Both say whether something was put that wants a commit.
  [[nodiscard]] bool save(const std::string& key);
  [[nodiscard]] bool forget(const std::string& key);
  [[nodiscard]] bool forget_expired(Instant now);
  std::size_t size() const { return sessions_.size() + unowned_.size(); }

  void keep_will(PendingWill will) {
    will_bytes_ += size_of(will);
    wills_.push_back(std::move(will));
  }
  std::size_t will_bytes() const { return will_bytes_; }  // that waiting wills take, about
  std::list<PendingWill> take_wills_of(const std::string& key);
  std::list<PendingWill> take_due_wills(Instant now);
  bool empty() const { return size() == 0 && wills_.empty(); }

 private:
  static std::size_t size_of(const PendingWill& will) {
    const auto& [device, username, subject] = will.publisher;
    return sizeof will + will.session.size() + device.size() + username.size() + subject.size() + will.will.topic.size() + will.will.payload.size();
  }
  template <typename Wanted>
  std::list<PendingWill> take_wills(Wanted wanted);

  using Sessions = std::map<std::string, Session, std::less<>>;
  std::string state_name(std::string_view key) const;
  bool read(const std::string& name, Instant now, Session& out) const;
  bool erase(Sessions& from, Sessions::iterator session);

  Intake& intake_;
  std::string input_, address_;
  Sessions sessions_;
  Sessions unowned_;  // by client identifier: from before sessions had owners, and not of a user
  std::list<PendingWill> wills_;
  std::size_t will_bytes_ = 0;
};

}  // namespace millrace
