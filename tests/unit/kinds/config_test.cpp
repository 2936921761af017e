#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <tuple>

#include "base/files.h"
#include "base/text.h"
#include "cli/disk_warnings.h"
#include "config/load.h"
#include "config/network_keys.h"
#include "config/secret.h"
#include "drivers/mqtt/mqtt_config.h"
#include "drivers/mqtt_endpoint/endpoint_config.h"
#include "ingest/input_kind.h"
#include "kinds.h"
#include "uplink/kafka/kafka_config.h"
#include "uplink/mqtt/mqtt_uplink_config.h"

namespace config_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

const char* minimal = R"([[inputs.mqtt]]
name = "plant"
servers = ["mqtt://localhost:1883"]
[[inputs.mqtt.routes]]
topic = "plant/{line}/{device}/telemetry"
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://central:1883"]
)";

LoadedConfig load_config(const std::string& content, const std::string& name) {
  return load_config(content, name, built_kinds());
}

std::string errors_of(const std::string& content) {
  return format_errors("m.toml", load_config(content, "m.toml").errors);
}

std::string temporary(const std::string& name, const std::string& content, mode_t mode) {
  const std::string path = text("/tmp/millrace-test-", ::getpid(), "-", name);
  std::ofstream(path) << content;
  ::chmod(path.c_str(), mode);
  return path;
}

}  // namespace

TEST_CASE("config: an uplink of MQTT 3.1.1 cannot tell a denied topic, and that is said") {
  const auto denied = [](const std::string& content) {
    const auto warnings = load_config(content, "m.toml").warnings;
    return std::count_if(warnings.begin(), warnings.end(), [](const std::string& w) {
      return w.find("cannot tell a denied topic") != std::string::npos;
    });
  };
  CHECK(denied(minimal) == 0);
  CHECK(denied(minimal + std::string("version = \"3.1.1\"\n")) == 1);
}

TEST_CASE("config: a broker is the same one however it is spelled") {
  for (const char* server : {"mqtt://h", "mqtt://H:1883", "mqtt://h:1883"})
    CHECK(mqtt_place(server) == "mqtt://h:1883");
  CHECK(mqtt_place("mqtts://h") == "mqtts://h:8883");
  CHECK(mqtt_place("mqtt://LOCALHOST:7") == mqtt_place("mqtt://127.0.0.1:7"));
  CHECK(mqtt_place("mqtt://[2001:DB8::7]") == "mqtt://[2001:db8::7]:1883");
  CHECK(mqtt_place("mqtt://h:7") != mqtt_place("mqtt://h"));
}

// What MQTT has no bytes for, or brokers hang up on, is found before it runs.
TEST_CASE("config: texts that go into packets of MQTT have no control characters, and a length that fits") {
  const auto input = [](const std::string& key, const std::string& value) {
    return errors_of(text("[[inputs.mqtt]]\nname = \"i\"\nservers = [\"mqtt://h\"]\n", key, " = \"", value,
                          "\"\n[[inputs.mqtt.routes]]\ntopic = \"a\"\n"));
  };
  const auto uplink = [](const std::string& key, const std::string& value) {
    return errors_of(
        text("[[uplinks.mqtt]]\nname = \"u\"\nservers = [\"mqtt://h\"]\n", key, " = \"", value, "\"\n"));
  };
  const std::string longest(65535, 'x');
  for (const char* key : {"client_id", "username"}) {
    CAPTURE(key);
    CHECK(input(key, longest) == "");
    CHECK(input(key, longest + "x").find("more than the 65535 bytes") != std::string::npos);
    CHECK(input(key, "a\\u0000b").find("m.toml:4:") != std::string::npos);
  }
  CHECK(input("primary_host", "a\\u0085b").find("has a control character") != std::string::npos);
  for (const char* key : {"client_id", "username", "topic"}) {
    CAPTURE(key);
    CHECK(uplink(key, "millrace/ä") == "");
    CHECK(uplink(key, longest) == "");
    CHECK(uplink(key, longest + "x").find("more than the 65535 bytes") != std::string::npos);
    CHECK(uplink(key, "a\\u0000b").find("has a control character") != std::string::npos);
    CHECK(uplink(key, "a\\u007Fb").find("has a control character") != std::string::npos);
  }
  CHECK(uplink("topic", "").find("at least one character") != std::string::npos);
  for (const char* key : {"primary_host", "group", "node", "device"})
    CHECK(uplink(text("format = \"sparkplug\"\n", key), "a\\u0001").find("has a control character") !=
          std::string::npos);
}

TEST_CASE("config: where a name takes a table or one value, the value is of its own type") {
  const auto with = [](const std::string& more) {
    return errors_of(text(
        "[[inputs.mqtt]]\nname = \"i\"\nservers = [\"mqtt://h\"]\n[[inputs.mqtt.routes]]\ntopic = \"a\"\n",
        more));
  };
  CHECK(with("report = { metrics = { t = 0.2, p = { deadband_percent = 1 } } }\n") == "");
  CHECK(with("report = { metrics = { t = \"0.2\" } }\n").find("\"t\" must be a number") != std::string::npos);
  CHECK(with("metrics = { t = 5 }\n").find("\"t\" must be a text") != std::string::npos);
  CHECK(with("expected = { t = \"number\" }\n") == "");
  CHECK(with("expected = { t = \"nmber\" }\n").find("\"t\" is \"nmber\"; it can be \"number\"") !=
        std::string::npos);
}

TEST_CASE("config: what a request's own heads are is no login, and a region is letters, digits and -") {
  const auto with = [](const std::string& more) {
    return errors_of("[[uplinks.https]]\nname = \"u\"\nservers = [\"https://h\"]\n" + more);
  };
  for (const char* name : {"Host", "content-length", "TRANSFER-ENCODING", "X Key"})
    CHECK(with(text("header_name = \"", name, "\"\nheader_file = \"/k\"\n"))
              .find("is no name of a login's header") != std::string::npos);
  CHECK(with("header_name = \"X-Key\"\nheader_file = \"/k\"\n").find("header_name") == std::string::npos);
  const std::string s3 = "dialect = \"s3\"\nbucket = \"b\"\ncredentials_file = \"/k\"\nregion = ";
  for (const char* region : {"eu/1", "eu\\r\\nX: y", "eu 1"})
    CHECK(with(text(s3, "\"", region, "\"\n")).find("is no region") != std::string::npos);
  CHECK(with(s3 + "\"eu-central-1\"\n").find("region") == std::string::npos);
}

TEST_CASE("config: what is said with a request beside what it is, and where a stream lies") {
  const auto with = [](const std::string& more) {
    return errors_of("[[uplinks.https]]\nname = \"u\"\nservers = [\"https://h\"]\n" + more);
  };
  const auto said = [&](const std::string& dialect, const std::string& words) {
    return with(dialect).find(words) != std::string::npos;
  };
  const std::string clickhouse = "dialect = \"clickhouse\"\ntable = \"t\"\nsettings = ";
  CHECK(with(clickhouse + "{ async_insert = \"1\", wait_for_async_insert = \"1\", quota_key = \"gw\" }\n")
            .find("settings") == std::string::npos);
  CHECK(with(clickhouse + "{ async_insert = \"0\" }\n").find("settings") == std::string::npos);
  // A success that is none: what is in memory only, or was dropped unseen.
  for (const char* settings :
       {"{ async_insert = \"1\" }", "{ async_insert = \"1\", wait_for_async_insert = \"0\" }",
        "{ wait_for_async_insert = \"0\" }"})
    CHECK(said(text(clickhouse, settings, "\n"), "wait_for_async_insert must be \"1\""));
  CHECK(said(clickhouse + "{ input_format_allow_errors_num = \"10\" }\n", "would drop data"));
  CHECK(said(clickhouse + "{ input_format_skip_unknown_fields = \"1\" }\n", "would drop data"));
  CHECK(said(clickhouse + "{ timeout_overflow_mode = \"break\" }\n", "would drop data"));
  CHECK(with(clickhouse + "{ timeout_overflow_mode = \"throw\" }\n").find("settings") == std::string::npos);
  CHECK(said(clickhouse + "{ password = \"x\" }\n", "is the gateway's to say"));
  for (const char* table : {".", "a.", ".x"})
    CHECK(said(text("dialect = \"clickhouse\"\ntable = \"", table, "\"\n"), "one side of its dot is empty"));
  CHECK(said("dialect = \"clickhouse\"\ntable = \"a.x\"\ndatabase = \"\"\n", "\"database\" is empty"));
  CHECK(said(clickhouse + "{ \"a&b\" = \"x\" }\n", "is no setting's name"));
  CHECK(said(clickhouse.substr(0, clickhouse.rfind("settings")) +
                 "[uplinks.https.settings]\nquota_key = \"gw\"\nuser = \"x\"\n",
             "m.toml:8:8: [[uplinks.https]] \"u\" [settings]: \"user\" has a key of its own"));

  CHECK(said("dialect = \"influxdb\"\n", "influxdb needs a database (version 1), or an org"));
  CHECK(said("dialect = \"influxdb\"\ndatabase = \"d\"\norg = \"o\"\nbucket = \"b\"\n",
             "influxdb has either a database (version 1), or an org"));

  const std::string s3 =
      "dialect = \"s3\"\nbucket = \"b\"\nregion = \"r\"\ncredentials_file = \"/k\"\nheaders = ";
  CHECK(with(s3 + "{ x-amz-server-side-encryption = \"AES256\", x-amz-grant-read = \"id=1\" }\n")
            .find("headers") == std::string::npos);
  for (const char* name : {"x-amz-date", "x-amz-copy-source", "x-amz-meta-records", "x-amz-grant-", "host",
                           "X-Amz-Acl", "x-amz-server-side-encryption-customer-key"})
    CHECK(said(text(s3, "{ ", name, " = \"x\" }\n"), "none of those that say how an object is kept"));
  for (const char* words : {"", " x", "a  b", "a\\nX: y", "\u00e9"})
    CHECK(said(text(s3, "{ x-amz-tagging = \"", words, "\" }\n"), "characters or blanks"));
  // Each at its own line, with the name that was meant, and told of once.
  CHECK(
      said(s3.substr(0, s3.rfind("headers")) +
               "[uplinks.https.headers]\nx-amz-tagging = \"a\"\nX-Amz-Acl = \"private\"\n",
           "m.toml:10:13: [[uplinks.https]] \"u\" [headers]: \"X-Amz-Acl\" is none of those that say how an "
           "object is kept; did you mean \"x-amz-acl\"?"));
  CHECK(said(s3 + "{ x-amz-taging = \"x\" }\n", "did you mean \"x-amz-tagging\"?"));
  CHECK_FALSE(said(s3 + "{ x-amz-tagging = 1 }\n", "characters or blanks"));
  CHECK(
      said(s3.substr(0, s3.rfind("headers")) + "prefix = \"{{hour}gateway}/\"\n", "there is no {00gateway}"));

  const std::string kinesis =
      "dialect = \"kinesis\"\ncredentials_file = \"/k\"\nregion = \"eu-west-1\"\nstream = ";
  CHECK(with(kinesis + "\"arn:aws:kinesis:eu-west-1:111122223333:stream/plant\"\n").find("stream") ==
        std::string::npos);
  CHECK(said(kinesis + "\"arn:aws:kinesis:us-east-1:111122223333:stream/plant\"\n",
             "the stream is in \"us-east-1\", not in \"eu-west-1\""));
  CHECK(with("dialect = \"remote_write\"\ntenant = \"plant-7\"\n").find("tenant") == std::string::npos);
  CHECK(said("dialect = \"remote_write\"\ntenant = \"a b\"\n", "is no tenant"));
  CHECK(said("dialect = \"remote_write\"\ntenant = \"a\\r\\nX: y\"\n", "is no tenant"));
  for (const char* arn : {"sns:eu-west-1:111122223333:plant", "kinesis:eu-west-1::stream/plant",
                          "kinesis:eu-west-1:111122223333:stream/"})
    CHECK(said(text(kinesis, "\"arn:aws:", arn, "\"\n"), "is no ARN of a stream"));
}

TEST_CASE("config: several connections of an HTTPS uplink, where its dialect promises no order") {
  const auto with = [](const std::string& more) {
    return errors_of("[[uplinks.https]]\nname = \"u\"\nservers = [\"https://h\"]\n" + more);
  };
  const std::string several = "connections = 8\n";
  const std::string pubsub =
      "dialect = \"pubsub\"\nproject = \"p\"\ntopic = \"t\"\ncredentials_file = \"/k\"\n";
  const std::string eventhubs = "dialect = \"eventhubs\"\nhub = \"h\"\nconnection_string_file = \"/k\"\n";
  const std::string region = "credentials_file = \"/k\"\nregion = \"r\"\n";
  for (const std::string& free :
       {std::string("dialect = \"generic\"\n"), std::string("dialect = \"influxdb\"\ndatabase = \"d\"\n"),
        std::string("dialect = \"clickhouse\"\ntable = \"t\"\n"), "dialect = \"s3\"\n" + region,
        pubsub + "ordering_key = \"\"\n", eventhubs + "key = \"\"\n"}) {
    CAPTURE(free);
    CHECK(with(free + several).find("connections") == std::string::npos);
  }
  const std::pair<std::string, const char*> in_order[] = {
      {pubsub, "ordering_key = \"\" gives that up"},
      {pubsub + "ordering_key = \"{lane}\"\n", "ordering_key = \"\" gives that up"},
      {pubsub + "format = \"batch\"\n", "ordering_key = \"\" gives that up"},
      {eventhubs, "key = \"\" gives that up"},
      {"dialect = \"kinesis\"\nstream = \"s\"\n" + region, "one partition key (\"key\")"},
      {"dialect = \"remote_write\"\n", "the samples of a series in their order"}};
  for (const auto& [dialect, words] : in_order) {
    CAPTURE(dialect);
    CHECK(with(dialect).find("connections") == std::string::npos);
    CHECK(with(dialect + "connections = 1\n").find("connections") == std::string::npos);
    const std::string errors = with(dialect + several);
    CHECK(errors.find("\"connections\" can be 1 only: the dialect \"") != std::string::npos);
    CHECK(errors.find(words) != std::string::npos);
  }
  for (const char* number : {"0", "9", "-1"})
    CHECK(with(text("connections = ", number, "\n")).find("\"connections\"") != std::string::npos);
}

TEST_CASE("config: what stands in a request's first line has no control characters") {
  const auto with = [](const std::string& server, const std::string& more) {
    return errors_of(text("[[uplinks.https]]\nname = \"u\"\nservers = [\"", server, "\"]\n", more));
  };
  for (const char* odd : {"\\u0001", "\\u007f", " ", "\\t", "\\r\\nX: y", "#"}) {
    CAPTURE(odd);
    CHECK(with(text("https://h/a", odd), "").find("is not http://HOST:PORT/PATH") != std::string::npos);
    CHECK(with(text("https://h", odd), "").find("is not http://HOST:PORT/PATH") != std::string::npos);
    for (const char* dialect : {"generic", "remote_write"})
      CHECK(with("https://h", text("dialect = \"", dialect, "\"\npath = \"/a", odd, "\"\n"))
                .find("must begin with / and have no blanks") != std::string::npos);
  }
  CHECK(with("https://h/\u00e4", "path = \"/write?a=\u00e4%20b\"\n") == "");
}

TEST_CASE("config: a server that cannot be reached is told, and not that it is of another sort") {
  for (const auto& [kind, good, bad] : {std::tuple{"https", "https://h", "https://h:0"},
                                        {"https", "https://h", "h"},
                                        {"mqtt", "mqtts://h", "mqtts://h:0"},
                                        {"mqtt", "mqtts://h", "h"},
                                        {"kafka", "h", "h:0"}}) {
    const std::string errors =
        errors_of(text("[[uplinks.", kind, "]]\nname = \"u\"\nservers = [\"", good, "\", \"", bad, "\"]\n"));
    CAPTURE(errors);
    CHECK(errors.find(text("m.toml:3:11: [[uplinks.", kind, "]] \"u\": \"", bad, "\" ")) !=
          std::string::npos);
    CHECK(errors.find("some servers use TLS") == std::string::npos);
  }
}

TEST_CASE("config: what is told of a file is no order to a terminal, whatever stands in the file") {
  const auto uplink = [](const std::string& more) {
    return errors_of("[[uplinks.https]]\nname = \"u\"\nservers = [\"https://h\"]\n" + more);
  };
  for (const char* said :
       {"dialect = \"remote_write\"\ntenant = \"\\u001b[2Jx \\u202e\"\n",
        "dialect = \"clickhouse\"\ntable = \"t\"\nsettings = { \"\\u001b[2Jx \\u202e\" = \"1\" }\n"}) {
    const std::string errors = uplink(said);
    CAPTURE(errors);
    CHECK(errors.find("\"\\x1b[2Jx \\xe2\\x80\\xae\"") != std::string::npos);
    CHECK(errors.find('\x1b') == std::string::npos);
  }
  const std::vector<ConfigError> one{{3, 4, "a\nb"}};
  CHECK(format_errors("m\u202e.toml", one) == "m\\xe2\\x80\\xae.toml:3:4: a\\x0ab\n");
}

TEST_CASE("config: defaults fill what the file leaves out") {
  const LoadedConfig loaded = load_config(minimal, "m.toml");
  CHECK(format_errors("m.toml", loaded.errors) == "");
  CHECK(loaded.config.log.commit_interval == 1s);
  CHECK(loaded.config.inputs[0].as<MqttInputConfig>().qos == 1);
  CHECK(loaded.config.inputs[0].as<MqttInputConfig>().client_id ==
        "millrace-" + loaded.config.gateway.name + "-plant");
  CHECK(loaded.config.uplinks[0].as<MqttUplinkConfig>().batches_in_flight == 4);
}

TEST_CASE("config: every fault is found at once, with line, column and the nearest right word") {
  const std::string errors = errors_of(R"([log]
max_sise = "64MiB"
commit_interval = "soon"
when_full = "drop"
[[inputs.mqtt]]
name = "plant"
servers = ["http://x"]
qos = 3
[[inputs.mqtt.routes]]
topic = "a/{device}"
formt = "json"
[[uplinks.mqtt]]
name = "central"
)");
  CHECK(errors.find("m.toml:2:1: [log]: nothing is called \"max_sise\" here; did you mean \"max_size\"?") !=
        std::string::npos);
  CHECK(errors.find("m.toml:3:19: [log]: \"commit_interval\" is \"soon\", which is no duration, like") !=
        std::string::npos);
  CHECK(
      errors_of("[[inputs.modbus]]\nname = \"hall\"\nport = \"/dev/ttyS1\"\nbaudrate = 9600\n"
                "[[inputs.modbus.devices]]\nname = \"pump\"\nslave_id = 3\n")
          .find(
              "m.toml:3:1: [[inputs.modbus]] \"hall\": nothing is called \"port\" here; did you mean \"device\" or "
              "\"server\"?") != std::string::npos);
  for (const char* bare : {"block", "yes", "no", "1s", "512MiB", "192.0.2.7:502", "2026-11", "tru"}) {
    CAPTURE(bare);
    CHECK(errors_of(text("[log]\nwhen_full = ", bare, "\n")).find("stand in quotes, true and false do not") !=
          std::string::npos);
  }
  CHECK(errors_of("[log]\nwhen_full = \"block\nmax_size = \"1MiB\"\n")
            .find("is its quote closed in this line?") != std::string::npos);
  CHECK(
      errors_of("[log]\ncommit_interval = 5\nmax_size = \"512 mb\"\n") ==
      "m.toml:2:19: [log]: \"commit_interval\" must be a duration in quotes, like \"200ms\", \"30s\" or \"7d\"\n"
      "m.toml:3:12: [log]: \"max_size\" is \"512 mb\", which is no size, like \"64KiB\" or \"512MiB\"\n");
  CHECK(errors.find("m.toml:4:13: [log]: \"when_full\" is \"drop\"; it can be \"evict\", \"block\"") !=
        std::string::npos);
  CHECK(errors.find(
            "m.toml:7:11: [[inputs.mqtt]] \"plant\": \"http://x\" must start with mqtt:// or mqtts://") !=
        std::string::npos);
  CHECK(errors.find("m.toml:8:7: [[inputs.mqtt]] \"plant\": \"qos\" is 3; it can be 0 to 2") !=
        std::string::npos);
  CHECK(
      errors.find(
          "m.toml:11:1: route \"a/{device}\": nothing is called \"formt\" here; did you mean \"format\"?") !=
      std::string::npos);
  CHECK(errors.find("[[uplinks.mqtt]] \"central\": \"servers\" is missing") != std::string::npos);
}

TEST_CASE("config: a syntax error tells its line") {
  CHECK(errors_of("[log]\nmax_size = \n").starts_with("m.toml:2:"));
}

TEST_CASE("config: a character that is not ASCII is found outside of texts, and welcome inside") {
  CHECK(errors_of("[log]\n# caf\u00e9\nmax_size =\u00a0\"64MiB\"\n")
            .find("m.toml:3:11: a character that is not ASCII") != std::string::npos);
  CHECK(errors_of("[gateway]\nruntime_dir = \"/run/caf\u00e9 # \\\" x\"\nlog_level = 'info' # \u00e9\n") ==
        "");
  CHECK(errors_of("[gateway]\nruntime_dir = \"\"\"\n/run\u00e9\"\"\"\n") == "");
}

TEST_CASE("config: names are unique, and say what they may be") {
  std::string twice = minimal;
  twice += "[[uplinks.mqtt]]\nname = \"central\"\nservers = [\"mqtt://other:1883\"]\n";
  CHECK(errors_of(twice).find("the name \"central\" is taken already") != std::string::npos);
  CHECK(errors_of("[[windows]]\nname = \"one minute\"\n").find("a name has 1 to 64 letters") !=
        std::string::npos);
}

TEST_CASE("config: a literal secret is an error that names the right key, and does not print the secret") {
  std::string with_password = minimal;
  with_password += "username = \"u\"\npassword = \"hunter2\"\n";
  const std::string errors = errors_of(with_password);
  CHECK(errors.find("password_file = \"PATH\"") != std::string::npos);
  CHECK(errors.find("hunter2") == std::string::npos);
}

TEST_CASE(
    "config: a file that is not there yet is no fault of the configuration; a name that can be none is") {
  std::string content = minimal;
  content.replace(content.rfind("mqtt://"), 7, "mqtts://");
  content += "username = \"u\"\npassword_file = \"/nowhere/password\"\ntls_ca = \"/nowhere/ca.pem\"\n";
  const LoadedConfig loaded = load_config(content, "m.toml");
  CHECK(format_errors("m.toml", loaded.errors) == "");
  CHECK(about_key(loaded, "uplink", "central", "tls_ca", "gone") ==
        "m.toml:11:10: uplink \"central\": tls_ca: gone");
  content += "tls_cert = \"/nowhere/cert.pem\"\ntls_key_file = \"cred:../key\"\n";
  CHECK(errors_of(content).find("which is not cred:NAME") != std::string::npos);
}

TEST_CASE(
    "config: what lies too deep is told with its place before the parser follows it, and no name is too long to be told") {
  const auto times = [](int count, const char* what) {
    std::string all;
    for (int i = 0; i < count; ++i) all += what;
    return all;
  };
  for (const int deep : {17, 1'000, 300'000}) {
    CAPTURE(deep);
    const std::string names = times(deep - 1, "a.") + "a", more = "m.toml:2:";
    CHECK(errors_of("\n[" + names + "]\n").find("m.toml:2:33: a key of more than 16 names") == 0);
    CHECK(errors_of("\nx = 1, " + names + " = 1\n").find(more) == 0);
    CHECK(errors_of("\nx = { y = { " + names + " = 1 } }\n").find("a key of more than 16 names") !=
          std::string::npos);
  }
  CHECK(errors_of(text("x = ", times(65, "["), times(65, "]"), "\n"))
            .find("m.toml:1:69: lists and tables that lie more than 64 deep") == 0);
  CHECK(errors_of(text("# ", times(100, "."), times(100, "["), "\n[log]\npath = \"/", times(50, "."),
                       times(50, "{"), "\"\n")) == "");
  // Up to two quotes before the three that end a text are of it.
  CHECK(errors_of("x = [\"\"\"say \"so\"\"\"\", \"\xC3\xA9\"]\n").find("ASCII") == std::string::npos);
  CHECK(errors_of(text("x = [\"\"\"x\"\"\"\", ", times(65, "["), times(65, "]"), "]\n"))
            .find("lists and tables that lie more than 64 deep") != std::string::npos);
  const std::string told = errors_of("[log]\n" + times(1 << 20, "k") + " = 1\n");
  CHECK(told.find("nothing is called \"kkk") != std::string::npos);
  CHECK(told.size() < 300);
}

TEST_CASE("config: what stops the parser itself has a line, and a byte order mark is no fault") {
  for (const char* broken : {"[", "[.]", "[!]"}) {
    CAPTURE(broken);
    CHECK(errors_of(text("# one\n[log]\n", broken, "\nx = 1\n")).find("m.toml:3:") == 0);
    CHECK(errors_of(broken).find("m.toml:1:") == 0);
  }
  CHECK(errors_of(std::string("\xEF\xBB\xBF") + minimal) == "");
  CHECK(errors_of(std::string("# late\n\xEF\xBB\xBF") + minimal)
            .find("m.toml:2:1: a character that is not ASCII") == 0);
  for (const char* mark : {"\xFF\xFE", "\xFE\xFF"})
    CHECK(errors_of(std::string(mark) + minimal).find("m.toml:1:1: the file is UTF-16") == 0);
}

TEST_CASE("config: a port to listen on is an address of numbers") {
  CHECK(errors_of(std::string(minimal) + "[observe]\nlisten = \"localhost:9464\"\n")
            .find("is not ADDRESS:PORT") != std::string::npos);
  CHECK(errors_of(std::string(minimal) + "[observe]\nlisten = \"127.0.0.1:99999\"\n")
            .find("a port up to 65535") != std::string::npos);
  for (const char* good : {"", "127.0.0.1:9464", "[::]:9464", "[fe80::1%eth0]:9464"}) {
    CAPTURE(good);
    CHECK(errors_of(text(minimal, "[observe]\nlisten = \"", good, "\"\n")) == "");
  }
}

TEST_CASE("config: a secret file that everybody can read is refused") {
  const std::string open = temporary("open", "hunter2\n", 0644),
                    tight = temporary("tight", "hunter2\n", 0600);
  auto secret = read_secret({tight});
  REQUIRE(secret.ok());
  CHECK(secret.value() == "hunter2");
  CHECK_FALSE(read_secret({open}).ok());
  CHECK(read_secret({"/"}).status().detail() == "/ is no file");
  CHECK(read_secret({temporary("marked", "\xEF\xBB\xBFhunter2\r\n", 0600)}).value() == "hunter2");
  CHECK_FALSE(read_secret({"cred:x"}).ok());
  ::setenv("CREDENTIALS_DIRECTORY", "/tmp", 1);
  CHECK(secret_path({"cred:x"}).value() == "/tmp/x");
  CHECK_FALSE(secret_path({"cred:../x"}).ok());
  ::unsetenv("CREDENTIALS_DIRECTORY");
  ::unlink(open.c_str());
  ::unlink(tight.c_str());
}

TEST_CASE("config: ${NAME} is taken from the environment, and an unset one is an error") {
  std::string content = minimal;
  ::setenv("MILLRACE_TEST_HOST", "broker.example", 1);
  content.replace(content.find("central:1883"), 12, "${MILLRACE_TEST_HOST}:1883");
  CHECK(load_config(content, "m.toml").config.uplinks[0].as<MqttUplinkConfig>().servers[0] ==
        "mqtt://broker.example:1883");
  ::unsetenv("MILLRACE_TEST_HOST");
  CHECK(errors_of(content).find("the environment has no \"MILLRACE_TEST_HOST\"") != std::string::npos);
}

TEST_CASE("config: TLS keys without mqtts, and a key without a certificate, are errors") {
  std::string content = minimal;
  content += "tls_ca = \"/etc/hosts\"\n";
  CHECK(errors_of(content).find("write mqtts://") != std::string::npos);
  std::string asks = minimal;  // of both sides alike
  asks.replace(asks.find("\n[[inputs.mqtt.routes]]"), 1, "\ntls_alpn = [\"x-amzn-mqtt-ca\"]\n");
  CHECK(errors_of(asks).find("m.toml:4:12: [[inputs.mqtt]] \"plant\": ALPN is of TLS") != std::string::npos);
  asks.replace(asks.find("mqtt://localhost:1883"), 21, "mqtts://localhost:443");
  CHECK(errors_of(asks) == "");
  asks.replace(asks.find("x-amzn-mqtt-ca"), 14, "");
  CHECK(errors_of(asks).find("a protocol's name has 1 to 255 bytes") != std::string::npos);
  std::string half = minimal;
  half.replace(half.find("mqtt://central:1883"), 19, "mqtts://central:8883");
  half += "tls_cert = \"/etc/hosts\"\n";
  CHECK(errors_of(half).find("tls_cert and tls_key_file go together") != std::string::npos);
}

TEST_CASE("config: keys that say nothing without another are told") {
  const auto warnings_of = [](const std::string& content) {
    const LoadedConfig loaded = load_config(content, "m.toml");
    CHECK(format_errors("m.toml", loaded.errors) == "");
    std::string all;
    for (const std::string& warning : loaded.warnings) all += warning + "\n";
    return all;
  };
  const std::string content = minimal, input = "[[inputs.mqtt]]\nname = \"i\"\nservers = [\"mqtt://b\"]\n",
                    route = "[[inputs.mqtt.routes]]\ntopic = \"a/{device}\"\n";
  CHECK(warnings_of(content).find("does nothing") == std::string::npos);
  const std::string held = "[log]\nunsent_max = \"20s\"\n";
  const auto told = [&](const std::string& more, const char* words) {
    return warnings_of(content + more).find(words) != std::string::npos;
  };
  CHECK(told(held, "m.toml:10:14: [log]: \"unsent_max\" does nothing without commit = \"when-unsent\""));
  CHECK(warnings_of(content + held + "commit = \"when-unsent\"\n").find("does nothing") == std::string::npos);
  CHECK(warnings_of(content + "[log]\nunsent_max = \"10s\"\n").find("does nothing") == std::string::npos);
  const std::string nowhere = "[observe]\nlisten = \"\"\n";
  for (const char* key : {"tls_cert", "tls_key_file", "token_file", "users_file"}) {
    const std::string line = text(key, " = \"/etc/hosts\"\n");
    CHECK(told(nowhere + line, text("[observe]: \"", key, "\" does nothing without \"listen\"").c_str()));
  }
  CHECK(told(nowhere + "page_streams = 2\n", "m.toml:11:16: [observe]: \"page_streams\" does nothing"));
  CHECK(told("[observe]\npage = false\npage_streams = 2\n", "does nothing without page = true"));
  CHECK_FALSE(told(nowhere + "page = false\npage_streams = 16\nsilent_after = \"1min\"\n", "does nothing"));
  CHECK_FALSE(told("[observe]\ntoken_file = \"/etc/hosts\"\npage_streams = 2\n", "does nothing"));
  const std::string back = "prefer_first_after = \"1h\"\n";
  CHECK(warnings_of(content + back).find("prefer_first_after does nothing") != std::string::npos);
  std::string two = content;
  two.replace(two.find("\"mqtt://central:1883\""), 21, "\"mqtt://central:1883\", \"mqtt://other:1883\"");
  CHECK(warnings_of(two + back).find("does nothing") == std::string::npos);
  const std::string kept = "session_expiry = \"1d\"\n";
  CHECK(warnings_of(input + kept + "version = \"3.1.1\"\n" + route).find("session_expiry does nothing") !=
        std::string::npos);
  CHECK(warnings_of(input + kept + route).find("does nothing") == std::string::npos);
  CHECK(errors_of(input + kept + "persistent_session = false\n" + route)
            .find("\"session_expiry\" is of a persistent_session") != std::string::npos);
  const std::string kinesis =
      "[[uplinks.https]]\nname = \"k\"\nservers = [\"https://k\"]\ndialect = \"kinesis\"\nstream = \"s\"\n"
      "region = \"r\"\nprofile = \"p\"\n";
  CHECK(
      errors_of(kinesis + "credentials_from = \"instance\"\n").find("\"profile\" is of a credentials_file") !=
      std::string::npos);
  CHECK(errors_of(kinesis + "credentials_file = \"/c\"\n").find("profile") == std::string::npos);
}

TEST_CASE("config: fixed tags of a route") {
  const std::string head = std::string(minimal).substr(0, std::string(minimal).find("[[uplinks"));
  const LoadedConfig loaded =
      load_config(head + "tags = [\"line\"]\nfixed_tags = { stream = \"pumps\" }\n", "m.toml");
  CHECK(format_errors("m.toml", loaded.errors) == "");
  CHECK(loaded.config.inputs[0].as<MqttInputConfig>().routes[0].fixed_tags ==
        std::vector<std::pair<std::string, std::string>>{{"stream", "pumps"}});
  CHECK(errors_of(head + "tags = [\"line\"]\nfixed_tags = { line = \"pumps\" }\n")
            .find("\"line\" is in tags, too") != std::string::npos);
}

TEST_CASE("config: lists are transposed, and cells named, where a format's payloads have them") {
  const auto route = [](const std::string& keys) {
    return errors_of(text("[[inputs.mqtt]]\nname = \"i\"\nservers = [\"mqtt://h\"]\n[[inputs.mqtt.routes]]\n",
                          "topic = \"{device}\"\n", keys));
  };
  CHECK(route("transpose = true\n") == "");
  CHECK(route("format = \"cbor\"\ntranspose = true\n") == "");
  CHECK(route("format = \"csv\"\ntranspose = true\n").find("\"transpose\" is not for format = \"csv\"") !=
        std::string::npos);
  CHECK(route("format = \"csv\"\ncolumns = [\"a\"]\n") == "");
  CHECK(route("each = \"r[]\"\ncolumns = [\"a\"]\n") == "");
  CHECK(route("columns = [\"a\"]\n").find("\"columns\" names cells of csv") != std::string::npos);
}

TEST_CASE("config: the annotated example is good") {
  const LoadedConfig loaded = load_config_file(MILLRACE_SOURCE "/packaging/millrace.toml", built_kinds());
  CHECK(format_errors("millrace.toml", loaded.errors) == "");
  REQUIRE(loaded.config.inputs.size() == 1);
  CHECK(loaded.config.inputs[0].kind->name == "mqtt_endpoint");
  REQUIRE(loaded.config.uplinks.size() == 1);
  CHECK(loaded.config.uplinks[0].kind->name == "mqtt");
}

TEST_CASE("config: a Kafka uplink, its defaults, and what does not go together") {
  const std::string head =
      "[gateway]\nname = \"gw\"\n[[uplinks.kafka]]\nname = \"k\"\nservers = [\"a:9092\", \"b\"]\n";
  const LoadedConfig loaded = load_config(head + "exactly_once = true\n", "m.toml");
  CHECK(format_errors("m.toml", loaded.errors) == "");
  const KafkaUplinkConfig& kafka = loaded.config.uplinks.at(0).as<KafkaUplinkConfig>();
  CHECK(kafka.key == "{device}");
  CHECK(kafka.transactional_id == "millrace-gw-k");
  CHECK(
      load_config(head + "format = \"batch\"\n", "m.toml").config.uplinks.at(0).as<KafkaUplinkConfig>().key ==
      "{gateway}");
  const std::pair<const char*, const char*> wrong[] = {
      {"format = \"avro\"", "format"},
      {"marker_topic = \"m\"", "is of exactly_once = true"},
      {"exactly_once = true\nwindow = 4", "one transaction is in flight"},
      {"username = \"u\"", "a login needs a sasl_mechanism"},
      {"sasl_mechanism = \"PLAIN\"", "SASL needs username and password_file"},
      {"sasl_mechanism = \"OAUTHBEARER\"", "needs a token_file"},
      {"sasl_mechanism = \"OAUTHBEARER\"\ntoken_file = \"/t\"\nusername = \"u\"",
       "\"username\" is not of OAUTHBEARER"},
      {"sasl_mechanism = \"OAUTHBEARER\"\ntoken_file = \"/t\"\npassword_file = \"/p\"",
       "\"password_file\" is not of"},
      {"schema_registry = \"http://r\"\nschema_registry_ca = \"/c\"", "is of a schema_registry at https://"},
      {"sasl_mechanism = \"GSSAPI\"", "sasl_mechanism"},
      {"schema_registry_username = \"u\"", "without a schema_registry"},
      {"compresion = \"zstd\"", "did you mean \"compression\""},
      {"password = \"secret\"", "password_file"}};
  for (const auto& [line, words] : wrong) {
    CAPTURE(line);
    CHECK(errors_of(head + line + "\n").find(words) != std::string::npos);
  }
  CHECK(errors_of("[[uplinks.kafka]]\nname = \"k\"\nservers = [\"kafka://a\"]\n").find("is not HOST:PORT") !=
        std::string::npos);
}

TEST_CASE("config: windows share an eighth of the log for their state, unless they are told otherwise") {
  const auto windows_of = [](const std::string& content) {
    const LoadedConfig loaded = load_config(minimal + content, "m.toml");
    CHECK(format_errors("m.toml", loaded.errors) == "");
    return loaded.config.windows;
  };
  const std::string two = "[[windows]]\nname = \"a\"\n[[windows]]\nname = \"b\"\n";
  CHECK(windows_of(two)[1].state_max == 8 << 20);
  CHECK(windows_of("[log]\nmax_size = \"16MiB\"\n" + two)[1].state_max == 1 << 20);
  CHECK(windows_of("[log]\nmax_size = \"16MiB\"\n" + two + "state_max = \"3MiB\"\n")[0].state_max == 1 << 20);
  CHECK(windows_of("[log]\nmax_size = \"16MiB\"\n" + two + "state_max = \"3MiB\"\n")[1].state_max == 3 << 20);
  CHECK(errors_of("[[windows]]\nname = \"a\"\nstate_max = \"1KiB\"\n").find("state_max") !=
        std::string::npos);
  const auto warned =
      load_config(
          minimal + std::string("[[windows]]\nname = \"a\"\nsize = \"1s\"\nallowed_lateness = \"1h\"\n"),
          "m.toml")
          .warnings;
  CHECK(std::any_of(warned.begin(), warned.end(),
                    [](const std::string& w) { return w.find("the newest 2048") != std::string::npos; }));
}

TEST_CASE(
    "config: state that cannot fit the log is an error with its line; what is left open is made to fit") {
  const std::string endpoint =
      "[[inputs.mqtt_endpoint]]\nname = \"NAME\"\nlisten = \"127.0.0.1:PORT\"\nanonymous = true\n";
  const auto endpoint_of = [&](const char* name, const char* port, const char* more) {
    std::string out = endpoint;
    out.replace(out.find("NAME"), 4, name);
    out.replace(out.find("PORT"), 4, port);
    return out + more + "[[inputs.mqtt_endpoint.routes]]\ntopic = \"a/{device}\"\n";
  };
  const std::string small = "[log]\nmax_size = \"16MiB\"\n";
  // Two endpoints and two windows, nothing said: all of it together fits a quarter of the log.
  const auto open = load_config(small + endpoint_of("a", "1001", "") + endpoint_of("b", "1002", "") +
                                    "[[windows]]\nname = \"w\"\n[[windows]]\nname = \"v\"\n",
                                "m.toml");
  CHECK(open.errors.empty());
  std::uint64_t state = 0;
  for (const auto& e : open.config.inputs) state += e.as<EndpointConfig>().sessions_max * (8192 + 2048);
  for (const auto& w : open.config.windows) state += w.state_max;
  CHECK(state <= (16 << 20) / 4);
  // A session is reckoned at what it takes at its largest, 11 KB; at 4.6 KB, as before, it could take twice
  // that.
  for (const auto& e : open.config.inputs) CHECK(e.as<EndpointConfig>().sessions_max >= 90);
  CHECK(load_config(endpoint_of("a", "1001", ""), "m.toml")
            .config.inputs[0]
            .as<EndpointConfig>()
            .sessions_max == 10'000);
  // Said, and too much: each with its line, the key and the limit.
  const auto sessions = load_config(small + endpoint_of("a", "1001", "sessions_max = 100\n") +
                                        endpoint_of("b", "1002", "sessions_max = 10000\n"),
                                    "m.toml")
                            .errors;
  REQUIRE(sessions.size() == 1);
  CHECK(sessions[0].line == 10);
  CHECK(sessions[0].message.find("sessions_max = 10000") != std::string::npos);
  CHECK(sessions[0].message.find("log.max_size") != std::string::npos);
  const auto windows =
      load_config(
          small + endpoint_of("a", "1001", "") +
              "[[windows]]\nname = \"w\"\nstate_max = \"3MiB\"\n[[windows]]\nname = \"v\"\nstate_max = \"2MiB\"\n",
          "m.toml")
          .errors;
  REQUIRE(windows.size() == 1);
  CHECK(windows[0].line == 12);
  CHECK(windows[0].message.find("state_max") != std::string::npos);
}

TEST_CASE("config: a file in the place of a folder is told before the start") {
  const std::string file = temporary("file", "", 0600);
  const auto warned = [](const std::string& log, const std::string& runtime) {
    const auto loaded = load_config(
        text("[log]\npath = \"", log, "\"\n[gateway]\nruntime_dir = \"", runtime, "\"\n"), "m.toml");
    std::string all;
    for (const std::string& warning : disk_warnings(loaded, "m.toml")) {
      if (warning.find("cannot start") != std::string::npos) all += warning + "\n";
    }
    return all;
  };
  CHECK(warned("/tmp", "/tmp/not/yet") == "");
  CHECK(warned(file + "/log", "/tmp") ==
        text("m.toml:2: log.path ", file, "/log: ", file, " is no folder; the gateway cannot start\n"));
  CHECK(warned("/tmp/not/yet", file) ==
        text("gateway.runtime_dir ", file, ": ", file, " is no folder; the gateway cannot start\n"));
  for (const char* name : {"inbox", "lock"}) {
    const std::string folder = text(file, "-with-", name);
    std::filesystem::create_directories(text(folder, "/", name));
    CHECK(warned("/tmp/not/yet", folder).find(text(folder, "/", name, " is no file")) == 0);
    CHECK((warned(folder, "/tmp/not/yet") != "") == (name == std::string("lock")));
    std::filesystem::remove_all(folder);
  }
  for (const char* folder : {"/proc/millrace", "/sys/log"}) {
    CHECK(warned(folder, "/tmp/not/yet").find("the kernel's own") != std::string::npos);
    CHECK(warned("/tmp/not/yet", folder).find("gateway.runtime_dir") == 0);
  }
}

TEST_CASE("config: log and runtime folder are two, however they are spelled, and have no NUL") {
  const auto with = [](const std::string& log, const std::string& runtime) {
    return errors_of(text("[log]\npath = \"", log, "\"\n[gateway]\nruntime_dir = \"", runtime, "\"\n"));
  };
  CHECK(with("/data/a", "/data/b") == "");
  CHECK(with("/data/a", "/data/a/b") == "");
  for (const char* same : {"/data/a", "/data/a/", "/data//a", "/data/./a", "/data/b/../a"}) {
    CAPTURE(same);
    CHECK(with("/data/a", same).find("are one folder, /data/a") != std::string::npos);
  }
  CHECK(with("/data/a\\u0000b", "/run/b").find("m.toml:2:8: [log]: \"path\" has a NUL") == 0);
  CHECK(with("/data/a", "/run/b\\u0000").find("\"runtime_dir\" has a NUL") != std::string::npos);
}

TEST_CASE("config: what the disk under the log will do is warned of, with key and line") {
  const auto warned = [](const std::string& more, DiskSpace disk, std::uint64_t log_bytes = 0) {
    const LoadedConfig loaded = load_config(std::string("[log]\npath = \"/data/log\"\n") + more, "m.toml");
    std::string all;
    for (const std::string& warning : disk_warnings(loaded, "m.toml", disk, log_bytes)) all += warning + "\n";
    return all;
  };
  const DiskSpace roomy{16ULL << 30, 8ULL << 30, "ext4", false, false},
      small{256 << 20, 200 << 20, "ext4", false, false};
  CHECK(warned("", roomy) == "");
  CHECK(
      warned("max_size = \"1GiB\"\n", small)
          .find(
              "m.toml:3: log.max_size, 1.0 GiB, is more than the file system of /data/log holds (ext4, 256.0 MiB)") ==
      0);
  // the default, on no line
  CHECK(warned("", small).find("log.max_size, 512.0 MiB, is more than the file system") == 0);
  DiskSpace used = small;
  used.free = 40 << 20;
  CHECK(
      warned("max_size = \"64MiB\"\n", used)
          .find("m.toml:3: log.max_size, 64.0 MiB, is more than there is room for now: 40.0 MiB are free") ==
      0);
  CHECK(warned("max_size = \"64MiB\"\n", used, 24 << 20) == "");  // the rest of it is the log's own
  DiskSpace memory = roomy, read_only = roomy;
  memory.kind = "tmpfs";
  memory.in_memory = true;
  read_only.read_only = true;
  CHECK(warned("", memory).find("m.toml:2: log.path /data/log is on tmpfs, which is memory") == 0);
  CHECK(warned("", read_only).find("m.toml:2: log.path /data/log is on ext4, mounted read-only") == 0);
  // What is really there: the nearest folder that exists is asked.
  const auto here = disk_space("/tmp/no/such/folder");
  REQUIRE(here.ok());
  CHECK(here.value().total == disk_space("/tmp").value().total);
  CHECK_FALSE(disk_space("/proc").value().in_memory);
}

TEST_CASE("config: what a line could never do is refused with the reason") {
  const auto errors = [](const std::string& input) {
    LoadedConfig loaded = load_config("[gateway]\nname = 'gw'\n" + input, "m.toml");
    if (loaded.errors.empty()) {
      const PartConfig& part = loaded.config.inputs.at(0);
      const auto* kind = static_cast<const InputKind*>(part.kind);
      kind->check(part.values.get(), part, loaded);
    }
    return format_errors("m.toml", loaded.errors);
  };
  const auto serial = [&](const std::string& keys, const std::string& route) {
    return errors(text("[[inputs.serial]]\nname = 's'\ndevice = '/dev/x'\n", keys,
                       "\n[[inputs.serial.routes]]\n", route, "\n"));
  };
  const auto says = [](const std::string& all, const char* words) {
    return all.find(words) != std::string::npos;
  };
  const std::string plain = "format = 'plain'\nmetrics = { v = {} }";
  CHECK(serial("", plain) == "");
  // A frame that the line changed would acknowledge what never came.
  const std::string device = "framing = 'cobs'\nacknowledge = true\n";
  CHECK(serial(device, "format = 'device'") == "");
  CHECK(serial(device + "crc = 'crc16'", "format = 'device'") == "");
  CHECK(says(serial(device + "crc = 'none'", "format = 'device'"), "\"acknowledge\" needs a \"crc\""));
  // A meter hears "/?!" CR LF and nothing shorter.
  const std::string meter = "framing = 'telegram'\nsign_on = true\n";
  CHECK(serial(meter, "format = 'obis'") == "");
  CHECK(serial(meter + "request = '/?12345678!\\r\\n'", "format = 'obis'") == "");
  CHECK(serial(meter + "request = '/2!\\r\\n'", "format = 'obis'") == "");  // some makers' own
  CHECK(says(serial(meter + "request = '/?!'", "format = 'obis'"), "a request of \"sign_on\" is"));
  CHECK(says(serial(meter + "request = 'S\\r\\n'", "format = 'obis'"), "a request of \"sign_on\" is"));
  // Topics, where frames have none.
  const std::string nothing = "nothing comes to the route of topic";
  CHECK(says(serial("", "topic = 'S'\n" + plain), nothing.c_str()));
  CHECK(says(serial("framing = 'stx_etx'", "topic = '{id}'\ndevice = '{id}'\n" + plain), nothing.c_str()));
  CHECK(says(serial("request = 'S\\r\\n'", "topic = 'S'\n" + plain), nothing.c_str()));
  for (const char* any : {"#", "+", "+/#", "{scale}", "{all...}"}) {
    INFO(any);
    CHECK(serial("", text("topic = '", any, "'\ndevice = '{input}-1'\n", plain)) == "");
  }
  CHECK(serial("topic_until = ','", "topic = 'S'\n" + plain) == "");
  CHECK(serial("requests = ['S\\r\\n', 'T\\r\\n']", "topic = 'S'\n" + plain) == "");
  CHECK(serial("framing = 'nmea'", "topic = 'GP/RMC'\nformat = 'nmea'") == "");
  // Who switches the direction.
  CHECK(says(serial("rs485_after = '1ms'", plain), "\"rs485_after\" is of rs485"));
  CHECK(serial("rs485 = 'rts_low'\nrs485_after = '1ms'", plain) == "");
  CHECK(serial("rs485 = 'no'\nrs485_after = '0s'", plain) == "");
  const auto bus = [&](const std::string& rs485) {
    return errors(
        text("[[inputs.modbus]]\nname = 'b'\ndevice = '/dev/x'\n[inputs.modbus.rs485]\n", rs485,
             "\n[[inputs.modbus.devices]]\nname = 'm'\nregisters = [{ name = 'a', address = 1 }]\n"));
  };
  CHECK(says(bus("rts_on_send = false"), "nobody switches the direction without \"enabled\""));
  CHECK(bus("enabled = true\nrts_on_send = false") == "");
  CHECK(bus("enabled = false\nrts_on_send = false") == "");
}

TEST_CASE("config: what does nothing on a line, for want of another key, is told") {
  const auto errors = [](const std::string& input) {
    LoadedConfig loaded = load_config("[gateway]\nname = 'gw'\n" + input, "m.toml");
    if (loaded.errors.empty()) {
      const PartConfig& part = loaded.config.inputs.at(0);
      static_cast<const InputKind*>(part.kind)->check(part.values.get(), part, loaded);
    }
    return format_errors("m.toml", loaded.errors);
  };
  const auto serial = [&](const std::string& keys, const std::string& format = "plain") {
    return errors(text("[[inputs.serial]]\nname = 's'\n", keys, "\n[[inputs.serial.routes]]\nformat = '",
                       format, "'\n", format == "plain" ? "metrics = { v = {} }\n" : ""));
  };
  const auto says = [](const std::string& all, const char* words) {
    return all.find(words) != std::string::npos;
  };
  const std::string device = "device = '/dev/x'\n", server = "server = 'h:1'\n";
  CHECK(serial(device + "framing = 'cobs'\nacknowledge = true\nack_interval = '5ms'", "device") == "");
  const std::string mbus = device + "framing = 'mbus'\ntelegrams_max = 3\n";
  CHECK(serial(mbus + "requests = ['\\x10\\x7B\\x01\\x7C\\x16']", "mbus") == "");
  const std::string fixed = "framing = 'fixed'\nframe_size = 4\nsync = 'A'\n";
  CHECK(says(serial(server + fixed + "frame_pause = '20ms'"), "\"frame_pause\" is of a \"device\""));
  CHECK(serial(server + fixed + "frame_pause = '0s'") == "");
  CHECK(serial(server + fixed) == "");
  CHECK(serial(device + fixed + "frame_pause = '20ms'") == "");
  CHECK(says(serial(device + "line_max = '100'\nframe_max = '100'"),
             "\"line_max\" is how \"frame_max\" was called"));
  CHECK(serial(device + "line_max = '100'") == "");
  const auto warned = [](const std::string& keys) {
    LoadedConfig loaded = load_config(
        text("[[inputs.serial]]\nname = 's'\n", keys, "\n[[inputs.serial.routes]]\nformat = 'plain'\n"),
        "m.toml");
    const PartConfig& part = loaded.config.inputs.at(0);
    static_cast<const InputKind*>(part.kind)->check(part.values.get(), part, loaded);
    std::string all;
    for (const std::string& warning : loaded.warnings) all += warning + "\n";
    return all;
  };
  const std::string hundred = device + "framing = 'fixed'\nframe_size = 100\n";
  CHECK(says(warned(hundred + "frame_max = '16'"), "m.toml:6:13: input \"s\": frame_max: it does nothing"));
  CHECK(says(warned(hundred + "line_max = '16'"), "line_max: it does nothing"));
  CHECK(says(warned(device + "framing = 'mbus'\nframe_max = '16'"), "frame_max: it does nothing"));
  CHECK_FALSE(says(warned(hundred), "does nothing"));
  CHECK_FALSE(says(warned(device + "framing = 'cobs'\nframe_max = '16'"), "does nothing"));
  CHECK(says(warned(device + "ack_interval = '5ms'"),
             "\"ack_interval\" does nothing without acknowledge = true"));
  const auto bus = [&](const std::string& keys, const std::string& row) {
    return errors(text("[[inputs.modbus]]\nname = 'b'\n", keys,
                       "\n[[inputs.modbus.devices]]\nname = 'm'\nregisters = [{ name = 'a', ", row, " }]\n"));
  };
  CHECK(says(bus(device + "connect_timeout = '1s'", "address = 1"), "\"connect_timeout\" is of mode ="));
  CHECK(bus(server + "mode = 'rtu_over_tcp'\nconnect_timeout = '1s'", "address = 1") == "");
  CHECK(bus(device, "reference = 40001") == "");
  CHECK(says(bus(device, "address = 1, bits = 3"), "has bits, which are for type = \"bits\""));
  CHECK(bus(device, "address = 1, bit = 2, bits = 3") == "");
  CHECK(says(bus(device, "address = 1, table = 'coil', byte_order = 'CDAB'"), "which a bool does not have"));
}

}  // namespace config_test
