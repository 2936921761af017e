// Text from outside: what may become a name or a value, and how it is cut and shown.
#include <doctest/doctest.h>

#include "base/composite_key.h"
#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"

namespace text_test {
using namespace millrace;

namespace {

std::string encoded(std::uint32_t code) {  // as RFC 3629 would, also where it would not
  std::string out;
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  if (code < 0x800)
    return out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  if (code < 0x10000) {
    return out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
                   static_cast<char>(0x80 | (code & 63))};
  }
  return out += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
                 static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
}

constexpr Label all_labels[] = {Label::device,   Label::metric,    Label::unit,
                                Label::tag_name, Label::tag_value, Label::identity};

}  // namespace

TEST_CASE("a name is UTF-8 without control characters, wherever the character stands in it") {
  for (std::uint32_t code = 0; code <= 0x10FFFF; code = code < 0x400 ? code + 1 : code + 0x3F) {
    const bool control = code < 0x20 || (code >= 0x7F && code <= 0x9F);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    for (const std::size_t before : {0u, 1u, 7u, 8u, 13u}) {
      const std::string name = std::string(before, 'a') + encoded(code) + "b";
      CAPTURE(code);
      CHECK(check_label(Label::metric, name).ok() == !(control || surrogate));
      CHECK(good_utf8(name) == !(surrogate || code == 0));
    }
  }
  for (const char* bad : {"\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "\x80", "\xFE", "\xE2\x82", "\xF0\x9F\x98"}) {
    for (const Label label : all_labels) CHECK_FALSE(check_label(label, bad).ok());
    CHECK_FALSE(check_text_value("m", bad).ok());
  }
}

TEST_CASE("a name at its bound is taken, one byte more is refused with rule, size and limit") {
  for (const Label label : all_labels) {
    const std::size_t max = label_bytes_max(label);
    CHECK(check_label(label, std::string(max, 'x')).ok());
    const Status status = check_label(label, std::string(max + 1, 'x'), "line");
    CHECK_FALSE(status.ok());
    CHECK(status.detail().find(text(max + 1, " bytes, at most ", max)) != std::string::npos);
    CHECK(status.detail().find("\"line\"") != std::string::npos);
    CHECK(check_label(label, "").ok() == may_be_empty(label));
  }
  CHECK(check_text_value("m", std::string(text_value_bytes_max, 'x')).ok());
  CHECK(check_text_value("m", std::string(text_value_bytes_max + 1, 'x')).detail().find("at most 65536") !=
        std::string::npos);
}

TEST_CASE("a text value may have lines, and no other control character") {
  CHECK(check_text_value("m", "one\ttwo\r\nthree \xC2\xB0").ok());
  CHECK(check_text_value("m", "").ok());
  for (const char* bad : {"\x1b[31m", "a\x7f", "\xC2\x9B", "\x08"})
    CHECK_FALSE(check_text_value("m", bad).ok());
  CHECK(check_text_value("m", std::string("a\0b", 3)).detail() ==
        "the text of \"m\" \"a\\x00b\" has a control character (U+0000 at byte 1)");
}

TEST_CASE("a refusal is one short line of UTF-8, whatever was refused") {
  std::string worst;
  for (int i = 0; i < 1000; ++i) worst += static_cast<char>(i * 7);
  for (const Label label : all_labels) {
    const std::string detail = check_label(label, worst, worst).detail();
    CHECK(find_fault(detail, Controls::none).kind == TextFault::ok);
    CHECK(detail.size() <= 500);
  }
}

TEST_CASE("text is cut between characters, never in one") {
  const std::string three = "\xE2\x82\xAC";  // the euro sign
  for (std::size_t max = 0; max < 10; ++max) {
    const std::string_view cut = cut_utf8(three + three + three, max);
    CHECK(cut.size() == max / 3 * 3);
    CHECK(good_utf8(shown(three + three + three, max)));
  }
  CHECK(cut_utf8("plain", 3) == "pla");
  CHECK(cut_utf8("plain", 9) == "plain");
  CHECK(cut_utf8("\x80\x80\x80\x80\x80\x80", 5).size() == 5);  // no characters to keep whole
  CHECK(cut_utf8("\xF0\x9F\x98\x80", 3).empty());
}

TEST_CASE("what is no UTF-8 is mended piece by piece, and what is stays as it was") {
  CHECK(mended_utf8("21.5 \xB0"
                    "C") ==
        "21.5 \xEF\xBF\xBD"
        "C");
  // half a surrogate pair: no piece of it begins a character
  CHECK(mended_utf8("\xED\xB0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(mended_utf8("\xF0\x9F\x98") == "\xEF\xBF\xBD");
  CHECK(mended_utf8("\xE2\x82\xAC\n") == "\xE2\x82\xAC\n");
}

TEST_CASE("foreign text in a line makes no second line and no terminal command") {
  CHECK(shown("a\nb\x1b[2J\x7f\xC2\x9B\xFF") == "a\\x0ab\\x1b[2J\\x7f\\xc2\\x9b\\xff");
  CHECK(shown("\xE2\x80\xA8") == "\\xe2\\x80\\xa8");  // a line separator
  CHECK(shown("a\xE2\x80\xAE"
              "b") == "a\\xe2\\x80\\xaeb");  // from right to left from here on
  CHECK(shown("\xE2\x81\xA7") == "\\xe2\\x81\\xa7");
  CHECK(shown("\xD7\xA9\xD7\x9C") == "\xD7\xA9\xD7\x9C");  // Hebrew as it is
  CHECK(shown("12345", 3) == "123...");
}

TEST_CASE("parts of a key cannot be mistaken for other parts") {
  const std::string nul("temp\0C", 6);
  CHECK(composite_key("temp", "C") != composite_key(nul, ""));
  CHECK(composite_key("a", "") != composite_key("", "a"));
  CHECK(composite_key("a", "b", "c") != composite_key("a",
                                                      "b\x01"
                                                      "c"));
  const std::string long_part(300, 'x');
  const std::string key = composite_key("boiler-1", long_part, "");
  std::string_view left = key, part;
  REQUIRE(take_key_part(left, part));
  CHECK(part == "boiler-1");
  REQUIRE(take_key_part(left, part));
  CHECK(part == long_part);
  REQUIRE(take_key_part(left, part));
  CHECK(part.empty());
  CHECK_FALSE(take_key_part(left, part));
  left =
      "\x05"
      "abc";
  CHECK_FALSE(take_key_part(left, part));
  left = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
  CHECK_FALSE(take_key_part(left, part));
}

}  // namespace text_test
