// Who is behind a connection of the endpoint, and what the access list lets him publish. Pure.
//
// A principal owns his sessions, his wills and his client identifiers: a user who proved his name by a
// password, else the subject of a certificate, else nobody. Everybody who is nobody is the same one. A client
// identifier proves nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "drivers/mqtt_endpoint/endpoint_config.h"

namespace millrace {

struct Principal {
  enum class Kind : char { nobody = 'n', user = 'u', subject = 's' };
  Kind kind = Kind::nobody;
  std::string name;
};
Principal principal_of(const std::string& username, const std::string& subject);

// The topic filters a publisher may publish to; `any` where there is no access list.
struct Grant {
  bool any = false;
  // Entries name him by user or subject, and none of those that fit takes his client identifier: it is
  // somebody else's.
  bool other_client = false;
  std::vector<std::string> filters;
  bool allows(std::string_view topic) const;
};
// A pattern fits names only: "*" is every user, and nobody without one.
Grant grant_of(const std::vector<AclConfig>& acl, std::string_view user, std::string_view client,
               std::string_view subject);

// "line-*", "press-?", "press-[1-4]", "a\*b"; over the whole of `text`, whatever bytes are in it.
bool pattern_fits(std::string_view pattern, std::string_view text);

}  // namespace millrace
