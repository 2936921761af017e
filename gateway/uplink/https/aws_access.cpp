#include "uplink/https/aws_access.h"

#include <arpa/inet.h>

#include <array>

#include "base/text.h"
#include "config/toml.h"
#include "net/http_client.h"

namespace millrace {
namespace {

using C = AwsAccess;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::credentials>("credentials_file", "As AWS' own tools have it; read anew for each request")
        .like("\"/etc/millrace/aws-credentials\""),
    K::key<&C::profile>("profile", "Of that file"),
    K::choice<&C::from>("credentials_from", "file|instance|container",
                        "Or those of a role, from the metadata service of an instance (IMDSv2), or from a "
                        "container's endpoint; renewed before they are over"),
    K::key<&C::url>("credentials_url", "Of that service; default: an instance's own")
        .like("\"http://169.254.170.2${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI}\""),
    K::key<&C::token>("credentials_token_file", "What a container's endpoint is to be shown")
        .like("\"/etc/millrace/credentials.token\""),
    K::key<&C::anywhere>("credentials_from_anywhere",
                         "Also from an address that is neither loopback nor link-local"),
};

void settle(Section& section, C& c) {
  if (!c.of_role()) {
    if (!c.credentials.given())
      section.error("dialect",
                    "credentials_file is needed, or credentials_from = \"instance\" or \"container\"");
    for (const char* key : {"credentials_url", "credentials_token_file", "credentials_from_anywhere"}) {
      if (section.has(key)) section.error(key, text("\"", key, "\" is of a role: say credentials_from"));
    }
    return;
  }
  if (c.credentials.given())
    section.error("credentials_file",
                  text("credentials come from a file or from the ", c.from, ", not from both"));
  if (section.has("profile")) section.error("profile", "\"profile\" is of a credentials_file");
  if (c.token.given() && c.from != "container")
    section.error("credentials_token_file", "an instance's service gives its token itself");
  if (c.url.empty() && c.from == "instance") c.url = "http://169.254.169.254";
  const auto url = parse_http_url(c.url);
  if (c.url.empty()) return section.error("credentials_from", "a container's endpoint has credentials_url");
  if (!url.ok()) return section.error("credentials_url", url.status().detail());
  if (url.value().secure)
    return section.error("credentials_url", "it is asked without TLS: http:// only, beside this machine");
  if (!c.anywhere && !is_beside_us(url.value().where.host))
    section.error(
        "credentials_url",
        text("\"", url.value().where.host, "\" is neither loopback nor link-local: who answers there ",
             "decides whose data it becomes; credentials_from_anywhere = true allows it"));
}

}  // namespace

const Shape aws_access_shape = shape_of<C, settle>(keys);

bool is_beside_us(const std::string& host) {
  if (host == "localhost") return true;
  std::array<unsigned char, 4> v4{};
  if (::inet_pton(AF_INET, host.c_str(), v4.data()) == 1)
    return v4[0] == 127 || (v4[0] == 169 && v4[1] == 254);
  std::array<unsigned char, 16> v6{}, one{};
  one[15] = 1;
  if (::inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), v6.data()) != 1) return false;
  // fd00:ec2::/32 is where Amazon's own services are by IPv6, as 169.254.0.0/16 is by IPv4.
  const bool amazons = v6[0] == 0xFD && v6[1] == 0 && v6[2] == 0x0E && v6[3] == 0xC2;
  return v6 == one || (v6[0] == 0xFE && (v6[1] & 0xC0) == 0x80) || amazons;
}

}  // namespace millrace
