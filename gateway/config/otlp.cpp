#include "config/otlp.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

#include "base/http_url.h"
#include "base/text.h"
#include "config/network_keys.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using O = OtlpConfig;
using K = KeysOf<O>;
constexpr std::size_t attributes_max = 32;

constexpr Key otlp_keys[] = {
    K::key<&O::endpoint>("endpoint",
                         "A collector, or a server that takes OTLP; /v1/metrics is put behind its path")
        .required()
        .like("\"https://collector.example:4318\""),
    K::key<&O::interval>("interval",
                         "Between pushes; while the collector is away, 5s to a minute or this apart")
        .within(1s, 24h),
    K::key<&O::timeout>("timeout", "Of the name, the connection and the answer each").within(100ms, 10min),
    K::choice<&O::compression>("compression", "gzip|none", "Of the body; packed it is less than a third"),
    K::key<&O::service_name>(
        "service_name",
        "The resource's service.name (of Prometheus the label job); service.instance.id is gateway.name"),
    K::key<&O::resource_attributes>("resource_attributes",
                                    "What else the resource is called, each NAME=VALUE")
        .like("[\"deployment.environment.name=plant-3\"]"),
    K::base<HttpAccess>(http_access_shape),
    K::include<&O::tls>(tls_shape),
};

void check_attributes(Section& section, const O& c) {
  static constexpr std::string_view ours[] = {"service.name", "service.instance.id", "service.version"};
  if (c.resource_attributes.size() > attributes_max)
    section.error("resource_attributes", text("more than ", attributes_max, " resource_attributes"));
  std::set<std::string_view> names;
  for (const std::string& one : c.resource_attributes) {
    const std::size_t equals = one.find('=');
    const std::string_view name = std::string_view(one).substr(0, std::min(equals, one.size()));
    if (equals == std::string::npos || name.empty() || !good_utf8(one))
      section.error("resource_attributes", text("\"", one, "\" is not NAME=VALUE"));
    else if (std::ranges::find(ours, name) != std::end(ours))
      section.error("resource_attributes",
                    text("\"", name, "\" is said already: by service_name, gateway.name and the version"));
    else if (!names.insert(name).second)
      section.error("resource_attributes", text("\"", name, "\" is there twice"));
  }
}

void settle(Section& section, O& c) {
  check_attributes(section, c);
  if (c.service_name.empty() || !good_utf8(c.service_name))
    section.error("service_name", "a service_name has a character at least");
  if (c.endpoint.empty() && !section.has("endpoint")) return;  // said: it is required
  const auto url = parse_http_url(c.endpoint);
  if (!url.ok()) section.error("endpoint", url.status().detail());
  settle_tls(section, c.tls, url.ok() && url.value().secure);
  if (url.ok() && !url.value().secure && c.logins() > 0 && !is_this_machine(url.value().where.host))
    section.error("endpoint", "a login in clear words can be read on the way: write https://");
}

}  // namespace

const Shape otlp_shape = shape_of<O, settle>(otlp_keys);

}  // namespace millrace
