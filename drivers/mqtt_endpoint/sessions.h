// What the endpoint keeps for clients, connected or away: their sessions, and the wills that wait for their delay. A session
// is saved with Intake::put_state() in the commit that stores the messages it speaks of; the caller commits whenever a
// method says that something was put. On the loop.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/mqtt_endpoint/client_session.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "ingest/intake.h"

namespace millrace {

// Clients of two users never share a session, whatever they call themselves.
std::string session_key(std::string_view username, std::string_view client);

class EndpointSessions {
 public:
  struct Session {
    ClientSession state;
    EndpointConnection* link = nullptr;
    Instant expires;       // while there is no link
    bool stored = false;   // the log has it
  };
  struct PendingWill {
    std::string session;
    std::string device;
    Instant due;
    EndpointConnection::Will will;
  };

  EndpointSessions(Intake& intake, std::string input) : intake_(intake), input_(std::move(input)) {}

  // How long they were alone before we started is not known for certain: each has its whole time again.
  void load(Instant now);
  Session* find(const std::string& key);
  // A new one, or the one that is there.
  Session& open(const std::string& key) { return sessions_[key]; }
  // Both say whether something was put that wants a commit.
  [[nodiscard]] bool save(const std::string& key);
  [[nodiscard]] bool forget(const std::string& key);
  [[nodiscard]] bool forget_expired(Instant now);
  std::size_t size() const { return sessions_.size(); }

  void keep_will(PendingWill will) { wills_.push_back(std::move(will)); }
  void drop_wills_of(const std::string& key);
  // Those that are due; those of clients that came back are gone.
  std::vector<PendingWill> take_due_wills(Instant now);
  bool empty() const { return sessions_.empty() && wills_.empty(); }

 private:
  std::string state_name(std::string_view key) const;

  Intake& intake_;
  std::string input_;
  std::map<std::string, Session, std::less<>> sessions_;
  std::list<PendingWill> wills_;
};

}  // namespace millrace
