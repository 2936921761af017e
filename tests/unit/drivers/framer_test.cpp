// Every framer that is built: the same frames however the stream is cut, whole again after noise, and what it
// refuses.
#include <doctest/doctest.h>

#include <set>

#include "base/rng.h"
#include "base/text.h"
#include "config/load.h"
#include "decode/frame_checks.h"
#include "decode/framer.h"
#include "decode/sentence.h"
#include "drivers/serial/line_marks.h"
#include "drivers/serial/sign_on.h"
#include "ingest/input_kind.h"
#include "kinds.h"
#include "tests/support/seed.h"

namespace framer_test {
using namespace millrace;

namespace {

LoadedConfig load(const std::string& keys) {
  return load_config(
      "[[inputs.serial]]\nname = 's'\ndevice = '/dev/x'\n" + keys + "\n[inputs.serial.route]\n", "test.toml",
      built_kinds());
}

std::unique_ptr<Framer> framer_of(const std::string& keys) {
  const LoadedConfig loaded = load(keys);
  REQUIRE_MESSAGE(loaded.errors.empty(), format_errors("test.toml", loaded.errors));
  const PartConfig& part = loaded.config.inputs.at(0);
  return static_cast<const InputKind*>(part.kind)->plan(part.values.get()).make_framer();
}

std::string summed(const std::string& body) {
  std::uint8_t x = 0;
  for (const char c : body.substr(1)) x = static_cast<std::uint8_t>(x ^ static_cast<std::uint8_t>(c));
  constexpr const char* hex = "0123456789ABCDEF";
  return body + "*" + hex[x >> 4] + hex[x & 15] + "\r\n";
}

std::string with_crc(const std::string& telegram) {
  constexpr const char* hex = "0123456789ABCDEF";
  const std::uint16_t crc = crc16_reflected(bytes_of(telegram), 0);
  return telegram + hex[crc >> 12] + hex[crc >> 8 & 15] + hex[crc >> 4 & 15] + hex[crc & 15] + "\r\n";
}

std::string with_block_check(const std::string& identification, const std::string& data) {
  std::string block = data + "\r\n\x03";
  char check = 0;
  for (const char c : block) check = static_cast<char>(check ^ c);
  return identification + "\x02" + block + check;
}

std::string cobs(const std::string& payload) {
  Bytes out;
  REQUIRE(framer_of("framing = 'cobs'")->wrap(bytes_of(payload), out));
  return std::string(text_of(out));
}

std::string low_first(const std::string& body, std::uint16_t crc) {
  return body + static_cast<char>(crc) + static_cast<char>(crc >> 8);
}

std::string mbus(const std::string& body) {
  std::uint8_t sum = 0;
  for (const char c : body) sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(c));
  const char size = static_cast<char>(body.size());
  return text('\x68', size, size, '\x68', body, static_cast<char>(sum), '\x16');
}

// Keys, how the n-th frame looks on the line, and what is taken of it.
struct Speech {
  std::string keys;
  std::function<std::string(int)> say;
  std::function<std::string(int)> heard;
};

const Speech speeches[] = {
    {"framing = 'lines'", [](int n) { return text("value ", n, n % 2 ? "\r\n" : "\n"); },
     [](int n) { return text("value ", n); }},
    {"framing = 'lines'\nline_end = 'crlf'", [](int n) { return text("a\nb\r", n, "\r\n"); },
     [](int n) { return text("a\nb\r", n); }},
    {"framing = 'lines'\nline_end = 'cr'\ntopic_until = ','", [](int n) { return text("t,\n", n, "\r"); },
     [](int n) { return text("t:t,\n", n); }},
    {"framing = 'stx_etx'", [](int n) { return text("\x02", n, "\x03\r\n"); }, [](int n) { return text(n); }},
    {"framing = 'stx_etx'\nbcc = 'xor'",
     [](int n) {
       std::string body = text("S ", n, "\x03");
       char x = 0;
       for (const char c : body) x = static_cast<char>(x ^ c);
       return "\x02" + body + x;
     },
     [](int n) { return text("S ", n); }},
    {"framing = 'fixed'\nframe_size = 8\nsync = '\\xAA\\x55'\nframe_check = 'crc16'",
     [](int n) {
       return low_first(text("\xAA\x55", 1000 + n),
                        crc16_reflected(bytes_of(text("\xAA\x55", 1000 + n)), 0xffff));
     },
     [](int n) { return text(1000 + n); }},
    {"framing = 'nmea'", [](int n) { return summed(text("$GPXTE,A,A,", n, ",L,N")); },
     [](int n) { return "GP/XTE:" + std::string(trim(summed(text("$GPXTE,A,A,", n, ",L,N")))); }},
    {"framing = 'cobs'", [](int n) { return cobs(text(std::string("\0\0x", 3), n, std::string(1, '\0'))); },
     [](int n) { return text(std::string("\0\0x", 3), n, std::string(1, '\0')); }},
    {"framing = 'cobs'", [](int n) { return cobs(std::string(static_cast<std::size_t>(252 + n % 5), 'y')); },
     [](int n) { return std::string(static_cast<std::size_t>(252 + n % 5), 'y'); }},
    {"framing = 'mbus'", [](int n) { return mbus(text("\x08\x05\x72", n)); },
     [](int n) { return text("5:\x08\x05\x72", n); }},
    {"framing = 'telegram'",
     [](int n) { return with_crc(text("/ISK5\\2M\r\n\r\n1-0:1.8.1(", n, "*kWh)\r\n!")); },
     [](int n) { return text("/ISK5\\2M\r\n\r\n1-0:1.8.1(", n, "*kWh)\r\n!"); }},
    {"framing = 'telegram'\ntelegram_crc = 'needed'",
     [](int n) { return with_crc(text("/ISK5\\2M\r\n\r\n1-0:1.8.1(", n, "*kWh)\r\n!")); },
     [](int n) { return text("/ISK5\\2M\r\n\r\n1-0:1.8.1(", n, "*kWh)\r\n!"); }},
    {"framing = 'telegram'\ntelegram_crc = 'bcc'",
     [](int n) { return with_block_check("/ISK5M\r\n", text("1.8.1(", n, "*kWh)\r\n!")); },
     [](int n) { return text("/ISK5M\r\n\x02", "1.8.1(", n, "*kWh)\r\n!"); }},
};

struct Heard {
  std::vector<std::string> frames;
  Framer::Take take = [this](const Framer::Frame& frame) {
    frames.push_back(text(frame.channel, frame.channel.empty() ? "" : ":", text_of(frame.bytes)));
  };
};

std::string noise(Rng& rng, std::size_t size) {
  std::string out;
  while (out.size() < size) out += static_cast<char>(rng.next());
  return out;
}

}  // namespace

TEST_CASE("framers: however the stream is cut, with noise or without, the frames are the same") {
  Rng rng(seed());
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    for (int round = 0; round < 30 * effort(); ++round) {
      std::string stream;
      for (int n = 0; n < 20; ++n) {
        stream += speech.say(n);
        if (rng.below(4) == 0) stream += noise(rng, rng.below(40));
        if (rng.below(5) == 0)
          stream.resize(stream.size() - rng.below(std::min<std::size_t>(stream.size(), 5)));
      }
      Heard whole, cut;
      const auto one = framer_of(speech.keys), other = framer_of(speech.keys);
      one->push(bytes_of(stream), whole.take);
      for (std::string_view rest = stream; !rest.empty();) {
        const std::size_t size = std::min<std::size_t>(1 + rng.below(20), rest.size());
        other->push(bytes_of(rest.substr(0, size)), cut.take);
        rest.remove_prefix(size);
      }
      CHECK(cut.frames == whole.frames);
      CHECK(other->bytes_discarded() == one->bytes_discarded());
      CHECK(other->frames_bad() == one->frames_bad());
    }
  }
}

TEST_CASE("framers: without noise every frame is taken, and nothing discarded") {
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    std::string stream;
    std::vector<std::string> wanted;
    for (int n = 0; n < 10; ++n) {
      stream += speech.say(n);
      wanted.push_back(speech.heard(n));
    }
    Heard heard;
    const auto framer = framer_of(speech.keys);
    framer->push(bytes_of(stream), heard.take);
    CHECK(heard.frames == wanted);
    CHECK(framer->bytes_discarded() == 0);
    CHECK(framer->frames_bad() == 0);
  }
}

TEST_CASE("framers: after noise no more than the next frame is lost, and after garbage of any length") {
  Rng rng(seed());
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    for (int round = 0; round < 50 * effort(); ++round) {
      Heard heard;
      const auto framer = framer_of(speech.keys + "\nframe_max = '300'");
      framer->push(bytes_of(noise(rng, round % 10 == 0 ? 5000 : rng.below(200))), heard.take);
      heard.frames.clear();
      for (int n = 0; n < 4; ++n) framer->push(bytes_of(speech.say(n)), heard.take);
      REQUIRE(heard.frames.size() >= 3);
      for (int n = 1; n < 4; ++n)
        CHECK(heard.frames[heard.frames.size() - 4 + static_cast<std::size_t>(n)] == speech.heard(n));
    }
  }
}

TEST_CASE("framers: a byte that was received wrongly costs its frame, and no other") {
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    Heard heard;
    const auto framer = framer_of(speech.keys);
    framer->push(bytes_of(speech.say(0)), heard.take);
    const std::string said = speech.say(1);
    const std::size_t middle = said.size() / 2;
    framer->push(bytes_of(said.substr(0, middle)), heard.take);
    framer->spoil();
    framer->push(bytes_of(said.substr(middle)), heard.take);
    framer->push(bytes_of(speech.say(2)), heard.take);
    CHECK(heard.frames == std::vector<std::string>{speech.heard(0), speech.heard(2)});
  }
}

TEST_CASE(
    "framers: where a CRC proves frames, bytes that were lost cost the frame they are of, and no other") {
  std::set<std::string> proved;
  for (const Speech& speech : speeches) {
    if (!framer_of(speech.keys)->checks()) continue;
    CAPTURE(speech.keys);
    proved.insert(speech.keys);
    const std::string said = speech.say(1);
    for (std::size_t at = 0; at < said.size(); ++at) {
      for (std::size_t size = 1; size <= std::min<std::size_t>(said.size() - at, 8); ++size) {
        std::string hole = said;
        hole.erase(at, size);
        Heard heard;
        framer_of(speech.keys)->push(bytes_of(speech.say(0) + hole + speech.say(2)), heard.take);
        std::erase(heard.frames, speech.heard(1));  // what was lost was not of what counts
        CHECK(heard.frames == std::vector<std::string>{speech.heard(0), speech.heard(2)});
      }
    }
  }
  CHECK(proved ==
        std::set<std::string>{"framing = 'cobs'",
                              "framing = 'fixed'\nframe_size = 8\nsync = '\\xAA\\x55'\nframe_check = 'crc16'",
                              "framing = 'telegram'\ntelegram_crc = 'needed'"});
}

TEST_CASE("framers: a byte of noise that was received wrongly costs no frame") {
  for (const Speech& speech : speeches) {
    const bool finds_begin = speech.keys.find("mbus") != std::string::npos ||
                             speech.keys.find("fixed") != std::string::npos ||
                             speech.keys.find("nmea") != std::string::npos;
    if (!finds_begin) continue;  // to the others it may be of the next frame
    CAPTURE(speech.keys);
    Heard heard;
    const auto framer = framer_of(speech.keys);
    framer->push(bytes_of(speech.say(0)), heard.take);
    framer->spoil();
    framer->push(bytes_of("\x01"), heard.take);
    framer->push(bytes_of(speech.say(1)), heard.take);
    CHECK(heard.frames == std::vector<std::string>{speech.heard(0), speech.heard(1)});
    CHECK(framer->frames_bad() == 0);
  }
  Heard heard;
  const auto framer = framer_of("framing = 'fixed'\nframe_size = 4");
  framer->spoil();
  framer->push(bytes_of("x"), heard.take);
  framer->on_pause(heard.take);
  framer->push(bytes_of("ABCD"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"ABCD"});
}

TEST_CASE("framers: what is unplugged in the middle of a frame begins anew") {
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    Heard heard;
    const auto framer = framer_of(speech.keys);
    framer->push(bytes_of(speech.say(0).substr(0, 2)), heard.take);
    framer->reset();
    framer->push(bytes_of(speech.say(1)), heard.take);
    CHECK(heard.frames == std::vector<std::string>{speech.heard(1)});
  }
}

TEST_CASE("framers: a stream that begins in the middle of a frame, wherever, gives whole frames only") {
  for (const Speech& speech : speeches) {
    CAPTURE(speech.keys);
    const std::string first = speech.say(7);
    for (std::size_t at = 1; at < first.size(); ++at) {
      CAPTURE(at);
      Heard heard;
      const auto framer = framer_of(speech.keys);
      framer->cut();
      framer->push(bytes_of(first.substr(at)), heard.take);
      for (int n = 0; n < 4; ++n) framer->push(bytes_of(speech.say(n)), heard.take);
      // it may have been no more than a mark that was cut off
      std::vector<std::string> wanted{speech.heard(7)};
      for (int n = 0; n < 4; ++n) wanted.push_back(speech.heard(n));
      REQUIRE((heard.frames.size() >= 3 && heard.frames.size() <= 5));  // it may cost the one behind it
      wanted.erase(wanted.begin(), wanted.end() - static_cast<std::ptrdiff_t>(heard.frames.size()));
      CHECK(heard.frames == wanted);
    }
  }
}

TEST_CASE("framers: two halves with a hole between them are no frame") {
  Heard heard;
  const auto lines = framer_of("framing = 'lines'");
  lines->push(bytes_of("  12"), heard.take);
  lines->cut();
  lines->push(bytes_of("34.5 kg\r\n  1234.5 kg\r\n"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"  1234.5 kg"});
  CHECK_FALSE(lines->begun());
  lines->push(bytes_of("1"), heard.take);
  CHECK(lines->begun());

  heard.frames.clear();
  const auto bursts = framer_of("framing = 'silence'");
  CHECK(bursts->ends_by_pause());
  bursts->cut();
  bursts->push(bytes_of("34.5"), heard.take);
  bursts->on_pause(heard.take);
  bursts->push(bytes_of("1234.5"), heard.take);
  bursts->on_pause(heard.take);
  CHECK(heard.frames == std::vector<std::string>{"1234.5"});

  heard.frames.clear();
  const auto bare = framer_of("framing = 'fixed'\nframe_size = 4");
  CHECK(bare->begins_by_pause());
  bare->cut();
  bare->push(bytes_of("34ABCDEFGH"), heard.take);
  CHECK(heard.frames.empty());
  bare->on_pause(heard.take);
  bare->push(bytes_of("1234"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"1234"});

  heard.frames.clear();  // a byte of the frame looks like its begin
  const auto synced = framer_of("framing = 'fixed'\nframe_size = 5\nsync = 'S'");
  CHECK_FALSE(synced->begins_by_pause());
  synced->cut();
  synced->push(bytes_of("aScdS1234S5678S9012S3456"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"9012", "3456"});

  heard.frames.clear();
  const auto zeros = framer_of("framing = 'cobs'\ncrc = 'none'");
  zeros->cut();
  zeros->push(bytes_of(std::string("\x03"
                                   "ab\0\x03"
                                   "cd\0",
                                   8)),
              heard.take);
  CHECK(heard.frames == std::vector<std::string>{"cd"});

  heard.frames.clear();  // what is too long for a telegram, and what of it looks like another
  const auto meter = framer_of("framing = 'telegram'\nframe_max = '40'");
  meter->push(bytes_of("/ISK\r\n" + std::string(40, 'x') + "/y(1)\r\n!\r\n/ISK\r\n1.8.0(1)\r\n!\r\n"),
              heard.take);
  CHECK(heard.frames == std::vector<std::string>{"/ISK\r\n1.8.0(1)\r\n!"});
}

TEST_CASE(
    "lines: CR, LF, both, or STX and ETX; an empty one is none, and one too long is thrown away whole") {
  Heard heard;
  const auto framer = framer_of("frame_max = '20'");
  framer->push(bytes_of("12.345\r12.346\r\n12.347\n\r\x02 1.5\x03\x02 2.5\x03\r\n" + std::string(100, 'x') +
                        "\n" + std::string(20, 'y') + "\n"),
               heard.take);
  CHECK(heard.frames ==
        std::vector<std::string>{"12.345", "12.346", "12.347", "\x02 1.5", "\x02 2.5", std::string(20, 'y')});
  CHECK(framer->bytes_discarded() == 100);
}

TEST_CASE("silence: what comes without a pause is a frame") {
  Heard heard;
  const auto framer = framer_of("framing = 'silence'\nsilence = '20ms'\nframe_max = '16'");
  CHECK(framer->pause() == std::chrono::milliseconds(20));
  framer->push(bytes_of("ab"), heard.take);
  framer->push(bytes_of("cd"), heard.take);
  CHECK(heard.frames.empty());
  framer->on_pause(heard.take);
  framer->push(bytes_of(std::string(17, 'x')), heard.take);
  framer->push(bytes_of("tail"), heard.take);
  framer->on_pause(heard.take);
  framer->push(bytes_of("ef"), heard.take);
  framer->on_pause(heard.take);
  framer->on_pause(heard.take);
  CHECK(heard.frames == std::vector<std::string>{"abcd", "ef"});
  CHECK(framer->bytes_discarded() == 21);
}

TEST_CASE("fixed: without sync bytes a pause says where a frame begins") {
  Heard heard;
  const auto framer = framer_of("framing = 'fixed'\nframe_size = 4");
  framer->push(bytes_of("xyABCD"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"xyAB"});
  framer->on_pause(heard.take);
  framer->push(bytes_of("1234"), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"xyAB", "1234"});
  CHECK(framer->bytes_discarded() == 2);
}

TEST_CASE("nmea: wrong checksums, lost ends of lines, tag blocks and proprietary sentences") {
  Heard heard;
  const auto framer = framer_of("framing = 'nmea'");
  framer->push(bytes_of("$GPGLL,4916.45,N,12311.12,W,225444,A*32\r\n"), heard.take);  // 31 would be right
  CHECK(framer->frames_bad() == 1);
  framer->push(bytes_of("$GPGLL,4916.45,N,12311.12,W,225444,A*31$GPGLL,49"), heard.take);
  framer->push(bytes_of("$PGRME,15.0,M,45.0,M,25.0,M*1C\r\n"), heard.take);
  framer->push(bytes_of("\\s:rx1,c:1577836800*35\\!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D\r\n"),
               heard.take);
  framer->push(bytes_of("$GPGLL,4916.45,N,12311.12,W,225444,A\r\n"), heard.take);  // without a checksum
  REQUIRE(heard.frames.size() >= 2);
  CHECK(heard.frames[0] == "GP/GLL:$GPGLL,4916.45,N,12311.12,W,225444,A*31");
  CHECK(heard.frames[1] == "P/GRME:$PGRME,15.0,M,45.0,M,25.0,M*1C");
  Heard lax;
  framer_of("framing = 'nmea'\nchecksum = 'if_there'")
      ->push(bytes_of("$GPGLL,4916.45,N,12311.12,W,225444,A\r\n"), lax.take);
  CHECK(lax.frames == std::vector<std::string>{"GP/GLL:$GPGLL,4916.45,N,12311.12,W,225444,A"});
}

TEST_CASE("telegrams: a wrong CRC is no telegram, one without a CRC is as the key says") {
  // DSMR's own example telegram ends so; that of the standard is longer.
  const std::string bare = "/ISk5\\2MT382-1000\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n!\r\n";
  Heard heard;
  const auto framer = framer_of("framing = 'telegram'");
  framer->push(bytes_of(bare), heard.take);
  CHECK(heard.frames.size() == 1);
  framer->push(bytes_of(bare.substr(0, bare.size() - 2) + "0000\r\n"), heard.take);
  CHECK(heard.frames.size() == 1);
  CHECK(framer->frames_bad() == 1);
  // Of some telegram the CRC begins with a zero, which some meters leave out.
  std::string short_crc;
  for (int n = 0; short_crc.empty(); ++n) {
    const std::string whole = with_crc(text("/ISK\r\n1-0:1.8.1(", n, ")\r\n!"));
    if (const std::size_t mark = whole.find('!'); whole[mark + 1] == '0' && whole[mark + 2] != '0')
      short_crc = whole.substr(0, mark + 1) + whole.substr(mark + 2);
  }
  framer->push(bytes_of(short_crc), heard.take);
  CHECK(heard.frames.size() == 2);
  Heard strict;
  framer_of("framing = 'telegram'\ntelegram_crc = 'needed'")->push(bytes_of(bare), strict.take);
  CHECK(strict.frames.empty());
}

TEST_CASE("telegrams: a block check that is wrong, or that is not there, is no telegram") {
  const std::string good = with_block_check("/ISK5M\r\n", "1.8.1(000671.578*kWh)\r\n!");
  Heard heard;
  const auto framer = framer_of("framing = 'telegram'\ntelegram_crc = 'bcc'");
  std::string wrong = good;
  wrong[14] ^= 1;
  framer->push(bytes_of(wrong), heard.take);
  CHECK(heard.frames.empty());
  CHECK(framer->frames_bad() == 1);
  framer->push(bytes_of("/ISK5M\r\n1.8.1(1)\r\n!\r\n"), heard.take);
  framer->push(bytes_of(good), heard.take);
  CHECK(heard.frames == std::vector<std::string>{"/ISK5M\r\n\x02"
                                                 "1.8.1(000671.578*kWh)\r\n!"});
}

TEST_CASE("sign-on: what a meter's identification asks for, however it comes") {
  CHECK(sign_on_answer("/ISK5ME172").baud == 9600);
  CHECK(sign_on_answer("/ISK5ME172").acknowledgement ==
        "\x06"
        "050\r\n");
  CHECK(sign_on_answer("/ABC0x").baud == 300);
  CHECK(sign_on_answer("/abcD").baud == 4800);
  CHECK(sign_on_answer("/abcD").acknowledgement.empty());
  for (const char* none : {"/ABC", "/ABC9x", "/ABC\x7f", "", "/"}) CHECK(sign_on_answer(none).baud == 0);
  for (std::size_t cut = 1; cut < 20; ++cut) {
    SignOn sign_on;
    sign_on.begin();
    const std::string line =
        "\x7f/?!\r\n..junk/ISK5ME172\r\n\x02"
        "1.8.0";
    std::optional<SignOn::Answer> answer;
    std::size_t at = 0;
    for (std::size_t taken = 0; at < line.size() && !answer; at += taken)
      answer = sign_on.push(bytes_of(line).subspan(at, std::min(cut, line.size() - at)), taken);
    REQUIRE(answer);
    CHECK(answer->baud == 9600);
    CHECK_FALSE(sign_on.waiting());
    CHECK(line[at - 1] == '\r');
  }
  SignOn drowned;
  drowned.begin();
  std::size_t taken = 0;
  CHECK_FALSE(drowned.push(bytes_of("/" + std::string(100'000, 'x')), taken));
  CHECK(taken == 100'001);
}

TEST_CASE("checks: the values that everybody publishes of \"123456789\"") {
  CHECK(crc16_reflected(bytes_of("123456789"), 0) == 0xbb3d);
  CHECK(crc16_reflected(bytes_of("123456789"), 0xffff) == 0x4b37);
  CHECK(crc32_ieee(bytes_of("123456789")) == 0xcbf43926);
}

TEST_CASE("framing: the keys of one are none of another's, and a framing nobody knows has a nearest word") {
  const auto errors = [](const std::string& keys) { return format_errors("t", load(keys).errors); };
  CHECK(errors("framing = 'nmea'\nbcc = 'xor'").find("\"bcc\" is of framing = \"stx_etx\"") !=
        std::string::npos);
  CHECK(errors("framing = 'line'").find("lines") != std::string::npos);
  CHECK(errors("framing = 'fixed'").find("need a \"frame_size\"") != std::string::npos);
  CHECK(errors("framing = 'fixed'\nframe_size = 3\nsync = '\\xAA\\x55'\nframe_check = 'xor'")
            .find("leaves nothing") != std::string::npos);
  CHECK(errors("framing = 'fixed'\nframe_size = 3\nsync = '\\q'").find("there is no \"\\q\"") !=
        std::string::npos);
  CHECK(errors("line_max = '100'") == "");
  CHECK_FALSE(load("line_end = 'cr'").config.inputs[0] == load("line_end = 'lf'").config.inputs[0]);
  CHECK(load("framing = 'lines'").config.inputs[0] == load("").config.inputs[0]);
}

TEST_CASE("requests: a frame that a pause ends needs more time than the pause") {
  const auto errors = [](const std::string& keys) { return format_errors("t", load(keys).errors); };
  const std::string asked = "framing = 'silence'\nrequest = 'S'\nrequest_interval = '1s'\nrequest_timeout = ";
  CHECK(errors(asked + "'40ms'").find("a pause of 50ms") != std::string::npos);
  CHECK(errors(asked + "'50ms'").find("a pause of 50ms") != std::string::npos);
  CHECK(errors(asked + "'60ms'") == "");
  CHECK(errors(asked + "'40ms'\nsilence = '20ms'") == "");
  CHECK(errors("framing = 'fixed'\nframe_size = 4\nrequest = 'S'\nrequest_timeout = '40ms'") == "");
}

TEST_CASE("line marks: bytes that were received wrongly are told apart, however the stream is cut") {
  const std::string marked(
      "ab\xff\xff"
      "c\xff\0X"
      "d\xff\0\0e",
      13);
  for (std::size_t cut = 1; cut <= marked.size(); ++cut) {
    LineMarks marks;
    std::string good;
    for (std::size_t at = 0; at < marked.size(); at += cut) {
      marks.push(
          bytes_of(std::string_view(marked).substr(at, cut)),
          [&](BytesView bytes) { good += text_of(bytes); },
          [&](std::byte wrong) { good += text("<", static_cast<int>(wrong), ">"); });
    }
    CHECK(good ==
          "ab\xff"
          "c<88>d<0>e");
  }
}

}  // namespace framer_test
