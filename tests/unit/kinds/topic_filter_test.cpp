// Topic filters: what is one, what it matches, and where a configuration is told of one that is none.
#include <doctest/doctest.h>

#include "base/text.h"
#include "base/filter_overlap.h"
#include "base/topic_filter.h"
#include "config/load.h"
#include "kinds.h"
#include "decode/topic_pattern.h"

namespace topic_filter_test {
using namespace millrace;
using namespace std::string_literals;

namespace {

const std::string bad_filters[] = {
    "",           "a+b",          "+a",          "a+",          "a/b+",
    "a/+b/c",     "++",           "+/++",        "##",          "a/##",
    "#a",         "a#",           "a/#b",        "a#/b",        "#/",
    "#/#",        "#/x",          "a/#/b",       "a/#/",        "plant/#/telemetry",
    "+#",         "#+",           "a/+#",        "$share",      "$share/",
    "$share/g",   "$share/g/",    "a\0b"s,       "a/\xff",      "\xed\xa0\x80/x",
    "/#/",        "+/#/+",        "a/b#/c",      "$share//a/b", "$SYS/#/x",
    "$share/+/a", "$share/g/a+b", "$share/g/#/x"};
const std::string good_filters[] = {"#",  "+",   "a",         "/",         "//",     "a//b",
                                    "a/", "/a",  "+/+",       "a/+/#",     "$SYS/#", "a/$x",
                                    "/#", "+/#", "$shared/x", "a b/\u00e9"};

}  // namespace

TEST_CASE("topic filter: what section 4.7.1 forbids is none, and matches nothing") {
  for (const std::string& filter : bad_filters) {
    CAPTURE(filter);
    CHECK_FALSE(check_topic_filter(filter).ok());
    CHECK_FALSE(check_subscription(filter).ok());
    for (const char* topic : {"a", "a/b", "plant/1/command", "plant/1/telemetry", "x", "a/x/b", "a/b/c"})
      CHECK_FALSE(filter_matches(filter, topic));
  }
  for (const std::string& filter : good_filters) {
    CAPTURE(filter);
    CHECK(check_topic_filter(filter).ok());
    CHECK(check_subscription(filter).ok());
    CHECK(TopicPattern::parse(filter).ok());
  }
  CHECK_FALSE(check_topic_filter(std::string(65536, 'a')).ok());
  CHECK(check_topic_filter(std::string(65535, 'a')).ok());
  CHECK_FALSE(check_topic_filter("$share/g/a/#").ok());  // a subscription, no filter of topics
  CHECK(check_subscription("$share/g/a/#").ok());
  CHECK(topics_of_subscription("$share/g/a/#") == "a/#");
}

TEST_CASE("topic filter: subscriptions, routes and access lists match alike") {
  const char* filters[] = {"#",  "+",  "+/+",  "a/#",   "a/+",    "a/+/c",
                           "/#", "/+", "a//b", "+/b/#", "$SYS/#", "a/b"};
  const char* topics[] = {"a",    "a/b",  "a/b/c",  "/",   "/a",    "a/",
                          "a//b", "$SYS", "$SYS/a", "b/b", "b/b/c", "b"};
  for (const char* filter : filters) {
    const auto pattern = TopicPattern::parse(filter);
    REQUIRE(pattern.ok());
    for (const char* topic : topics) {
      TopicMatch match;
      CAPTURE(filter);
      CAPTURE(topic);
      CHECK(pattern.value().matches(topic, match) == filter_matches(filter, topic));
    }
  }
}

TEST_CASE(
    "config: a topic filter that is none is an error at its line, in subscriptions, routes and access lists alike") {
  const auto errors_of = [](const std::string& topics, const std::string& acl) {
    const LoadedConfig loaded = load_config(text(R"([[inputs.mqtt]]
name = "plant"
servers = ["mqtt://localhost:1883"]
topics = [)",
                                                 topics, R"(]
[[inputs.mqtt.routes]]
topic = "plant/{device}"
[[inputs.mqtt_endpoint]]
name = "devices"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "plant/{device}"
[[inputs.mqtt_endpoint.acl]]
publish = [)",
                                                 acl, R"(]
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://central:1883"]
)"),
                                            "m.toml", built_kinds());
    return format_errors("m.toml", loaded.errors);
  };
  CHECK(errors_of("\"plant/#\", \"$share/g/x/+\"", "\"plant/{client_id}/#\", \"a/b\"") == "");
  for (const std::string& filter : bad_filters) {
    if (!good_utf8(filter)) continue;  // TOML has no such texts
    CAPTURE(filter);
    CHECK(errors_of("\"ok/#\", \"" + filter + "\"", "\"a\"").find("m.toml:4:") != std::string::npos);
    CHECK(errors_of("\"a\"", "\"ok/#\", \"" + filter + "\"").find("m.toml:13:") != std::string::npos);
  }
  CHECK(errors_of("\"a\"", "\"{username}+/x\"").find("m.toml:13:") != std::string::npos);
  CHECK(errors_of("\"a\"", "\"plant/{user}/x\"").find("known are {username}") != std::string::npos);
  CHECK(errors_of("\"a\"", "\"$share/g/a\"").find("m.toml:13:") != std::string::npos);
}

TEST_CASE("topic filters: whether two meet, either way round") {
  const auto meet = [](std::string_view a, std::string_view b) {
    CHECK(filters_meet(a, b) == filters_meet(b, a));
    return filters_meet(a, b);
  };
  for (const auto& [a, b] : {std::pair{"a/b", "a/b"},
                             {"a/+", "+/b"},
                             {"#", "a/+/c"},
                             {"a/#", "a"},
                             {"a/#", "+"},
                             {"a/#", "a/b/c"},
                             {"+/b/#", "a/+"},
                             {"$SYS/#", "$SYS/+"},
                             {"a//b", "a/+/b"}}) {
    CHECK(meet(a, b));
  }
  for (const auto& [a, b] : {std::pair{"a/b", "a/c"},
                             {"b/#", "a/+"},
                             {"a/+", "a"},
                             {"a/+", "a/b/c"},
                             {"#", "$SYS/x"},
                             {"+/x", "$SYS/+"},
                             {"a", ""},
                             {"a/b/#", "a"}}) {
    CHECK_FALSE(meet(a, b));
  }
}

}  // namespace topic_filter_test
