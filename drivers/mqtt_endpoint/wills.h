// Wills that wait for their delay (MQTT 5, section 3.1.3.2.2). Where the session outlives the connection its
// will lies in the log from CONNECT on: whoever serves this address next, after a kill, a stop or a reload,
// publishes it when it is due, unless its client is back by then. What is kept is bounded, in memory and in
// the log; a will that finds no room there ends with the process, or is published at once where it would
// wait. On the loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <string>

#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "ingest/intake.h"

namespace millrace {

class EndpointWills {
 public:
  static constexpr std::size_t bytes_max = 4 << 20;  // of those in memory

  struct Publisher {
    std::string device, username, subject;
  };
  struct Pending {
    std::string session;
    Publisher publisher;
    Instant due;
    EndpointConnection::Will will;
  };

  // `kept_max`: of those in the log, bytes, if that is less.
  EndpointWills(Intake& intake, std::string input, std::string address, std::size_t kept_max)
      : intake_(intake),
        input_(std::move(input)),
        address_(std::move(address)),
        kept_max_(std::min(kept_max, bytes_max)) {}

  // `due`: when the will of a session is, of this delay in seconds.
  void load(const std::function<Instant(const std::string& session, std::uint32_t delay_seconds)>& due);
  // A client came with a will to a session that is kept; in place of what its session had. Whether it is in
  // the log.
  bool keep(const Pending& will);
  bool kept(const std::string& session) const { return kept_.contains(session); }
  void forget(const std::string& session);
  // Its connection has ended. False: there is no room for it to wait.
  [[nodiscard]] bool wait(const Pending& will);
  // They wait no more, and the log has them no longer.
  std::list<Pending> take_of(const std::string& session);
  std::list<Pending> take_due(Instant now);
  // The process, or the endpoint, ends: those that the log does not have.
  std::list<Pending> take_unkept();

  std::size_t bytes() const { return waiting_bytes_; }  // in memory, about
  bool empty() const { return waiting_.empty(); }
  // Something was put that wants a commit, since the last call.
  bool take_put() { return std::exchange(put_, false); }

 private:
  template <typename Wanted>
  std::list<Pending> take(Wanted wanted);
  std::string state_name(const std::string& session) const;

  Intake& intake_;
  std::string input_, address_;
  const std::size_t kept_max_;
  std::list<Pending> waiting_;
  std::size_t waiting_bytes_ = 0, kept_bytes_ = 0;
  std::map<std::string, std::size_t> kept_;  // what each takes in the log
  bool put_ = false;
};

}  // namespace millrace
