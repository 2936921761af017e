// Names and values in pairs: messages taken apart, and the readings they are.
#include <doctest/doctest.h>

#include "base/escapes.h"
#include "decode/pair_line.h"
#include "tests/support/decoding.h"

namespace pairs_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

Decoded pairs(std::string_view payload, const std::string& keys = "", const ValueRuns& only = {}) {
  return decode(route_in("format = 'pairs'\n" + keys), payload, "d/up", only);
}

// "name=value|...", texts in quotes; or why it is none.
std::string apart(char separator, std::string_view payload) {
  PairLine line(separator);
  if (const char* why = line.take(payload, 0, payload.size())) return why;
  std::string out;
  for (const PairLine::Pair& pair : line.pairs()) {
    const char* quote = pair.quoted ? "'" : "";
    const std::string value = pair.why ? text("(", pair.why, ")") : text(quote, pair.value, quote);
    out += text(out.empty() ? "" : "|", pair.name, "=", value);
  }
  return out;
}

std::string why_not(const std::string& keys) {
  const auto router = Router::make({route_in("format = 'pairs'\n" + keys)});
  return router.ok() ? std::string() : router.status().detail();
}

}  // namespace

TEST_CASE("pairs: a message, taken apart") {
  CHECK(apart(',', "temp=21.5,hum=40") == "temp=21.5|hum=40");
  CHECK(apart(';', "T:21.5; H:40;") == "T=21.5|H=40");
  CHECK(apart('|', "T : 21.5 | H : 40") == "T=21.5|H=40");
  CHECK(apart(' ', "temp=21.5 state=\"on air\" ok=true") == "temp=21.5|state='on air'|ok=true");
  CHECK(apart('\t', "a=1\tb=\tc=3") == "a=1|b=|c=3");
  CHECK(apart('#', "*T:21.5#H:40#") == "*T=21.5|H=40");
  CHECK(apart('\n', "\r\nIMEI: 123\r\nRSSI: -71 dBm\n\nState:\r\nHum=40\r\n") ==
        "IMEI=123|RSSI=-71 dBm|State=|Hum=40");
  CHECK(apart(',', "a=,b=2,,") == "a=|b=2");
  for (const char* none : {"", " ", "hello world", "=", "()", "12:30:00", "2026-01-01 12:30:00"})
    CHECK(apart(' ', none) == "there is no pair in it");
  // What stands around all of it.
  CHECK(apart(',', "{T=21.5, H=40}") == "T=21.5|H=40");
  CHECK(apart(';', "<T:21.5;H:40>") == "T=21.5|H=40");
  CHECK(apart(',', "[x] T=1,H=2") == "[x] T=1|H=2");
}

TEST_CASE("pairs: names with colons, in quotes, and signs between blanks") {
  CHECK(apart(',', "28:FF:64=21.5,switch:0=on,url: http://x?a=b") ==
        "28:FF:64=21.5|switch:0=on|url=http://x?a=b");
  CHECK(apart(',', "\"temp\": 21.5, \"hum\":40") == "temp=21.5|hum=40");
  CHECK(apart(' ', "T = 21.5 H : 40") == "T=21.5|H=40");
  CHECK(apart(' ', "T: 21.5 H: 40") == "T=21.5|H=40");
  CHECK(apart(' ', "a= b=2") == "a=|b=2");
  CHECK(apart(';', "1:21.5;2:40") == "1=21.5|2=40");
}

TEST_CASE("pairs: what has no name goes on in the value before it, or is called by its place") {
  CHECK(apart(' ', "T: 21.5 C H: 40 %") == "T=21.5 C|H=40 %");
  CHECK(apart(',', "pos=54.1,25.2,alt=3,t=21,5") == "pos=54.1,25.2|alt=3|t=21,5");
  CHECK(apart(',', "node1,T=21.5") == "1=node1|T=21.5");
  CHECK(apart('\n', "+CSQ: 18,99\r\n\r\nOK\r\n") == "+CSQ=18,99|2=OK");
  CHECK(apart('\n', "=== Status ===\nT: 1\n-----\nH=2") == "1==== Status ===|T=1|3=-----|H=2");
  // A time is no name with a value.
  CHECK(apart(' ', "2026-01-01 12:30:00 T1:21.5 T2:22") == "1=2026-01-01|2=12:30:00|T1=21.5|T2=22");
  CHECK(apart(' ', "time: 2026-01-01 12:30:00 T: 5") == "time=2026-01-01 12:30:00|T=5");
  CHECK(apart(',', "12:30:05,T=21") == "1=12:30:05|T=21");
  CHECK(apart(',', "2026-01-01 12:30:00,node1,T=21") == "1=2026-01-01 12:30:00|2=node1|T=21");
}

TEST_CASE("pairs: texts in quotes") {
  CHECK(apart(' ', R"(level=info msg="x=\"y\" \\ z" n=3)") == R"(level=info|msg='x="y" \ z'|n=3)");
  CHECK(apart(',', R"(msg: "a, b=1",x=1)") == "msg='a, b=1'|x=1");
  CHECK(apart(' ', R"(msg:"a=b c" x=1)") == "msg='a=b c'|x=1");
  CHECK(apart(' ', R"(s="" x=1)") == "s=''|x=1");
  CHECK(apart(' ', R"(x=1 msg="a b=2)") == "x=1|msg=(its quote has no end)");
  CHECK(apart(' ', R"(msg="a b"c x=1)") == "msg=(something stands behind its quote)|x=1");
}

TEST_CASE("pairs: a form's escapes") {
  CHECK(apart('&', "temp=21.5&name=Hall+7%2C+K%C3%BCche&s=a%26b%3D1&x=") ==
        "temp=21.5|name=Hall 7, K\xc3\xbc"
        "che|s=a&b=1|x=");
  CHECK(apart('&', "u=%b0C&%74=1&p=100%&q=%zz") ==
        "u=\xc2\xb0"
        "C|t=1|p=100%|q=%zz");
  CHECK(apart('&', "t=+21.5") == "t=21.5");
  CHECK(apart(',', "t=%41") == "t=%41");  // no form
  CHECK(form_decoded("a%4") == "a%4");
  CHECK(form_decoded("%") == "%");
  CHECK(form_decoded("%41%") == "A%");
  CHECK(pairs("u=%b0C", "separator = '&'").unread.latin1);
  CHECK_FALSE(pairs("u=%c2%b0C", "separator = '&'").unread.latin1);
  CHECK(pairs("u=%b0C", "separator = '&'\nstrict = true").unread.reason().find("not UTF-8 behind") !=
        std::string::npos);
}

TEST_CASE("pairs: each is a reading, as cells are") {
  const Decoded got = pairs("temp=21.5,n=4,ok=true,state=run,w=12.5 kg,hex=0x1F,none=nan,x=,c=\"7\"");
  CHECK(got.readings() ==
        Readings{"temp=21.5", "n=4", "ok=true", "state='run'", "w='12.5 kg'", "hex='0x1F'", "c='7'"});
  CHECK(got.unread.no_value == 2);
  CHECK_FALSE(got.unread.any());
  CHECK(pairs("t=21,5;h=40", "separator = ';'\ndecimal = ','").readings() == Readings{"t=21.5", "h=40"});
  CHECK(pairs("t=21,5,h=40", "decimal = ','").readings() == Readings{"t=21.5", "h=40"});
  CHECK(pairs("a=1,a=2").readings() == Readings{"a=2"});
  CHECK(pairs("a=1\nb=2\r\n").readings() == Readings{"a=1", "b=2"});
  CHECK(pairs("a: 1\r\nb: 2", "separator = \"\\n\"").readings() == Readings{"a=1", "b=2"});
  CHECK(pairs(std::string("\xef\xbb\xbf"
                          "a=1\r\n\0",
                          9))
            .readings() == Readings{"a=1"});
  CHECK(pairs("u=\xb0"
              "C")
            .unread.latin1);
  CHECK_FALSE(pairs("u=\xb0"
                    "C",
                    "strict = true")
                  .status.ok());
  CHECK(pairs(std::string("\xff\xfe"
                          "a\0=\0"
                          "1\0",
                          8))
            .readings() == Readings{"a=1"});
  CHECK(pairs(" \r\n ").unread.no_value == 1);
}

TEST_CASE("pairs: paths, units, times, names and conditions are the route's") {
  const std::string keys =
      "separator = ';'\ndevice = '{.1}'\ntime = 'ts'\nwhen = \"kind == 'up'\"\n"
      "metrics = { temperature = { path = 'T', type = 'number' }, 'v_{.ch}' = { path = 'V', scale = 0.001, unit = 'V' } }";
  const Decoded got = pairs(
      "node1;ts=2026-01-01T00:00:05Z;kind=up;T=21.5 C;V=3300;ch=2\nnode2;ts=1767225606;kind=up;T=22C;V=n/a;ch=1\n"
      "node3;kind=boot",
      keys);
  CHECK(got.readings() == Readings{"temperature=21.5", "v_2=3.3", "temperature=22"});
  CHECK_FALSE(got.unread.any());
  CHECK(got.records.at(0).device == "node1");
  CHECK(got.records[0].unit == "C");
  CHECK(got.records[0].time.us == arrived_us + 5'000'000);
  CHECK(got.records[1].unit == "V");
  CHECK(got.records[2].device == "node2");
  CHECK(got.records[2].time.us == arrived_us + 6'000'000);
  CHECK(pairs("d=2026-01-01 c=00:00:05 t=1", "separator = ' '\ntime = 'd'\ntime_of_day = 'c'")
            .records.at(0)
            .time.us == arrived_us + 5'000'000);
  CHECK(pairs(R"(data={"t":{"x":1}};n=2)", "separator = ';'\nmetrics = { x = 'data.t.x', n = 'n' }")
            .readings() == Readings{"n=2", "x=1"});
  CHECK(pairs("28:FF:64=21.5", "metrics = { roof = '28:FF:64' }").readings() == Readings{"roof=21.5"});
}

TEST_CASE("pairs: what is none costs itself, and a second try gives what is missing") {
  const std::string numbers =
      "metrics = { t = { path = 't', type = 'number' }, h = { path = 'h', type = 'number' } }";
  const std::string payload = "t=21.5,h=x\nno pairs\nt=soon,h=40\nt=3,h=\"4";
  const Decoded first = pairs(payload, numbers);
  CHECK(first.readings() == Readings{"t=21.5", "h=40", "t=3"});
  CHECK(first.unread.reason() ==
        "\"h\" is not a number: x; line 2: there is no pair in it: no pairs; \"t\" is not a number: soon; "
        "h: its quote has no end");
  CHECK(pairs(payload, "", first.unread.missing).readings() == Readings{"h='x'", "t='soon'"});
  CHECK(pairs(payload, numbers, first.unread.missing).readings().empty());
  CHECK(pairs("hello world", "separator = \"\\n\"").unread.reason() == "there is no pair in it: hello world");
  CHECK(pairs("x=1", numbers).unread.reason().find("none of the wanted values") != std::string::npos);
  CHECK_FALSE(pairs("t=1,h=x", numbers + "\non_error = 'refuse'").status.ok());
  // Names pass the door.
  CHECK(pairs("a\x01=1,b=2").readings() == Readings{"b=2"});
  CHECK(pairs(text(std::string(300, 'n'), "=1,b=2")).unread.refusals == 1);
  CHECK(pairs("\"\"=1,b=2").unread.refusals == 1);
}

TEST_CASE("pairs: bounded, and what makes no sense is an error") {
  std::string many = "a=1";
  while (many.size() < 2 * (PairLine::pairs_max + 1)) many += ",b";
  CHECK(pairs(many).readings().size() == 1);  // one long value
  many.clear();
  for (std::size_t i = 0; i <= PairLine::pairs_max; ++i) many += "a=1,";
  CHECK(pairs(many).unread.reason().starts_with("line 1: it has too many pairs"));
  for (const char* separator : {"", "ab", "=", ":", "x", "1", "%", "+", "\xc2\xa6"})
    CHECK(why_not(text("separator = '", separator, "'")).find("does not stand between pairs") !=
          std::string::npos);
  for (const char* separator : {"&", ";", ",", "|", " ", "\t", "#", "*", "/", "!"})
    CHECK(why_not(text("separator = '", separator, "'")).empty());
  CHECK(why_not("each = 'r[]'").find("each is for lists") != std::string::npos);
}

}  // namespace pairs_test
