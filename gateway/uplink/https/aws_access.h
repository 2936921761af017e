// Who an uplink is to Amazon's services, as it is configured: by a file of keys, or by a role whose keys a
// local endpoint hands out for some hours (an instance's metadata service, or a container's credentials
// endpoint).
#pragma once

#include <string>

#include "config/keys.h"
#include "uplink/https/dialect.h"

namespace millrace {

struct AwsAccess {
  SecretRef credentials;  // a file as AWS' own tools have it
  std::string profile = "default";
  std::string from = "file";  // or "instance", "container"
  std::string url;            // of the endpoint; of an instance it has a default
  SecretRef token;            // that a container's endpoint asks for
  bool anywhere = false;      // the endpoint may be elsewhere than on this machine or beside it

  bool of_role() const { return from != "file"; }
};
// What is wrong with them is told at their keys.
extern const Shape aws_access_shape;

// A dialect that signs with these: `access` is the member of C that has them.
template <typename C, typename D>
constexpr DialectKind aws_dialect_kind(std::string_view name, const char* help, const Shape& shape) {
  DialectKind kind = dialect_kind<C, D>(name, help, shape);
  kind.access = [](const void* values) { return &static_cast<const C*>(values)->access; };
  kind.secret = [](const void* values) -> const SecretRef& {
    return static_cast<const C*>(values)->access.credentials;
  };
  kind.secret_key = "credentials_file";
  return kind;
}

// Whether nobody but this machine and what it stands on is asked: a loopback or link-local address, or
// "localhost".
bool is_beside_us(const std::string& host);

}  // namespace millrace
