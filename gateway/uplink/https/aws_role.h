// The keys of a role, from an endpoint beside us: EC2's metadata service in its second version (a token
// first, then the role's name, then its keys), or a container's credentials endpoint (ECS, EKS, Greengrass),
// as Amazon's documentation describes them
// ("Use the Instance Metadata Service", "Container credential provider"). They are good for some hours: how
// long is counted on the monotonic clock from the endpoint's own time, and before that is over they are asked
// for anew while the present ones go on. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_connection.h"
#include "uplink/https/aws_access.h"

namespace millrace {

// What an endpoint says: the keys in the form of a credentials file, and for how long. `invalid` in words.
struct RoleKeys {
  std::string file;
  Duration good_for{};
};
// `now`: the endpoint's own clock where it says it, else ours.
Result<RoleKeys> read_role_keys(std::string_view json, std::string_view profile, WallTime now);

class AwsRole {
 public:
  // Before they are over: this long, or a quarter of their life where that is less.
  static constexpr Duration margin = std::chrono::minutes(5);
  static constexpr Duration rest =
      std::chrono::seconds(30);  // after a renewal that failed, while there are some

  AwsRole(Loop& loop, AwsAccess access) : loop_(loop), access_(std::move(access)) {}
  ~AwsRole() { *alive_ = false; }

  // Whether there are some that are good; renewing them is seen to.
  bool good();
  // In the form of a credentials file; empty: there are none.
  const std::string& keys() const { return keys_.file; }
  // `done` runs once, later: ok where there are good ones. `invalid`: somebody must act.
  void fetch(std::function<void(const Status&)> done);
  // The far side did not take them.
  void drop();

 private:
  void ask_token();
  void ask_container();
  void ask_role(const std::string& token);
  void ask_keys(std::string target, const std::string& token);
  void ask(HttpAsk ask, std::function<void(HttpReply)> answered);
  void ask_there(HttpAsk ask, std::function<void(HttpReply)> answered);
  void finish(const Status& status);

  Loop& loop_;
  const AwsAccess access_;
  RoleKeys keys_;
  Instant until_, renew_at_;
  std::unique_ptr<HttpConnection> connection_;
  std::vector<std::function<void(const Status&)>> waiting_;
  bool asking_ = false, told_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
