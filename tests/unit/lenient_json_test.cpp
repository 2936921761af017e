// JSON as sloppy firmware writes it: what the standard allows is read as the strict reader reads it, what it
// forbids is refused but for the exceptions that are listed here.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "base/files.h"
#include "base/lenient_json.h"
#include "base/rng.h"
#include "base/text.h"
#include "tests/support/seed.h"

namespace lenient_json_test {
using namespace millrace;

namespace {

// What a handler is told, as a text.
struct Told final : LenientHandler {
  std::string said;
  bool whole = true;  // nothing was unreadable, skipped or broken
  bool say(std::string_view what, std::string_view value = {}) {
    said += text(what, value, " ");
    return true;
  }
  bool null() override { return say("null"); }
  bool boolean(bool value) override { return say(value ? "true" : "false"); }
  bool number(std::string_view spelling) override { return say("#", spelling); }
  bool string(std::string_view value) override { return say("$", value); }
  bool key(std::string_view name) override { return say("key:", name); }
  bool begin_object() override { return say("{"); }
  bool end_object() override { return say("}"); }
  bool begin_array() override { return say("["); }
  bool end_array() override { return say("]"); }
  bool unreadable(std::string_view token) override {
    whole = false;
    return say("?", token);
  }
  void skipped(std::string_view name, std::size_t values, std::string_view) override {
    whole = false;
    (void)say("skipped:", text(name, ":", values));
  }
  void broken(const std::string&) override {
    whole = false;
    (void)say("broken");
  }
};

std::string leniently(std::string_view json, LenientJson& found) {
  Told told;
  CHECK(read_lenient_json(bytes_of(json), told, found).ok());
  return told.said.substr(0, told.said.size() - (told.said.empty() ? 0 : 1));
}
std::string leniently(std::string_view json) {
  LenientJson found;
  return leniently(json, found);
}

// Of the public suite what must be refused (n_), and is read here: each for a habit of devices.
const std::set<std::string> exceptions = {
    // an element that is left out, a comma too many
    "n_array_comma_after_close",
    "n_array_comma_and_number",
    "n_array_double_comma",
    "n_array_double_extra_comma",
    "n_array_extra_comma",
    "n_array_just_comma",
    "n_array_missing_value",
    "n_array_number_and_comma",
    "n_array_number_and_several_commas",
    "n_object_lone_continuation_byte_in_key_and_trailing_comma",
    "n_object_repeated_null_null",
    "n_object_several_trailing_commas",
    "n_object_trailing_comma",
    "n_object_two_commas_in_a_row",
    // NUL behind the end; several documents
    "n_multidigit_number_then_00",
    "n_structure_double_array",
    "n_structure_object_with_trailing_garbage",
    // numbers in other spellings; nan and inf
    "n_number_+1",
    "n_number_+Inf",
    "n_number_-01",
    "n_number_-2.",
    "n_number_-NaN",
    "n_number_.2e-3",
    "n_number_0.e1",
    "n_number_2.e+3",
    "n_number_2.e-3",
    "n_number_2.e3",
    "n_number_Inf",
    "n_number_NaN",
    "n_number_hex_1_digit",
    "n_number_hex_2_digits",
    "n_number_infinity",
    "n_number_minus_infinity",
    "n_number_neg_int_starting_with_zero",
    "n_number_neg_real_without_int_part",
    "n_number_real_without_fractional_part",
    "n_number_starting_with_dot",
    "n_number_with_leading_zero",
    // names without quotes or in single ones, True
    "n_object_key_with_single_quotes",
    "n_object_single_quote",
    "n_object_unquoted_key",
    "n_string_single_quote",
    "n_structure_capitalized_True",
    // raw control characters in a text
    "n_string_unescaped_ctrl_char",
    "n_string_unescaped_newline",
    "n_string_unescaped_tab",
};

}  // namespace

TEST_CASE("lenient JSON: the public suite is read as strictly, or refused, but for the listed exceptions") {
  std::set<std::string> taken;
  for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_SOURCE "/tests/cases/json/parsing")) {
    const std::string name = entry.path().stem().string();
    auto content = read_file(entry.path().string(), 16 << 20);
    REQUIRE(content.ok());
    Told strict, lenient;
    LenientJson found;
    const bool good = read_json(bytes_of(content.value()), strict).ok();
    CHECK(read_lenient_json(bytes_of(content.value()), lenient, found).ok());
    INFO(name);
    if (good) CHECK(lenient.said == strict.said);
    if (name.starts_with("n_") && lenient.whole && found.documents > 0) taken.insert(name);
  }
  for (const std::string& name : taken)
    if (!exceptions.contains(name)) MESSAGE("read, though not listed: ", name);
  CHECK(taken == exceptions);
}

namespace {

std::string one_of(Rng& rng, std::initializer_list<const char*> words) {
  return *(words.begin() + rng.below(words.size()));
}
std::string some_text(Rng& rng) {
  std::string out = "\"";
  for (std::uint64_t n = rng.below(4); n > 0; --n)
    out += one_of(rng, {"a", "temperature", "\\n", "\\\"", "\\\\", "\\/", "\\u00e4", "\\u0000",
                        "\\uD83D\\uDE00", "\\ud83d", "{[,:]}", "'", " ", "\u00e4", "0123456789abcdef"});
  return out + "\"";
}
std::string some_json(Rng& rng, int depth) {
  const auto blanks = [&] { return one_of(rng, {"", "", "", " ", "\n", "\r\n\t"}); };
  const std::uint64_t kind = rng.below(depth > 5 ? 4 : 7);
  if (kind == 0) return blanks() + some_text(rng) + blanks();
  if (kind == 1) return blanks() + one_of(rng, {"true", "false", "null"}) + blanks();
  if (kind < 4)
    return blanks() + one_of(rng, {"0", "-0", "12", "-1.50", "1e5", "0.1E-07", "2e+3", "1234567890123"}) +
           blanks();
  std::string out;
  for (std::uint64_t n = rng.below(4); n > 0; --n) {
    const std::string name = kind == 4 ? "" : blanks() + some_text(rng) + blanks() + ":";
    out += name + some_json(rng, depth + 1) + (n > 1 ? "," : blanks());
  }
  return kind == 4 ? "[" + out + "]" : "{" + out + "}";
}

}  // namespace

TEST_CASE("lenient JSON: what the strict reader reads is told the same, whole or damaged") {
  Rng rng(seed());
  std::size_t good = 0;
  for (int round = 0; round < 5000 * effort(); ++round) {
    std::string json = some_json(rng, 0);
    if (rng.below(3) == 0)
      json.insert(rng.below(json.size() + 1), one_of(rng, {",", " ", "0", "\"", "e", ".", "]"}));
    if (rng.below(8) == 0) json.resize(rng.below(json.size() + 1));
    Told strict, lenient;
    LenientJson found;
    if (!read_json(bytes_of(json), strict).ok()) continue;
    ++good;
    CHECK(read_lenient_json(bytes_of(json), lenient, found).ok());
    CAPTURE(json);
    REQUIRE(lenient.said == strict.said);
    CHECK(lenient.whole);
    CHECK(found.documents == 1);
    CHECK_FALSE(found.latin1);
  }
  CHECK(good > 1000);
}

TEST_CASE("lenient JSON: texts and numbers at every place of eight bytes, and at the end") {
  for (std::size_t n = 0; n < 40; ++n) {
    const std::string name(n, 'x');
    CHECK(leniently("{\"" + name + "\":1}") == "{ key:" + name + " #1 }");
    CHECK(leniently("[\"" + name + "\\n" + name + "\"]") == "[ $" + name + "\n" + name + " ]");
    CHECK(leniently("[\"" + name) == "[ broken");
    CHECK(leniently("[\"" + name + "\\") == "[ broken");
    CHECK(leniently("[\"" + name + "\\\"") == "[ broken");
    CHECK(leniently("[" + std::string(n + 1, '1')) == "[ broken");
  }
}

TEST_CASE("lenient JSON: words, numbers and names as firmware spells them") {
  CHECK(leniently(R"({"a":nan,"b":-INF,"c":1.#QNAN,"d":True,"e":undefined})") ==
        "{ key:a null key:b null key:c null key:d true key:e null }");
  CHECK(leniently(R"([+1,.5,5.,007,0x1F,-.5e3,-0])") == "[ #1 #0.5 #5 #7 #31 #-0.5e3 #-0 ]");
  CHECK(leniently(R"({"a":--,"b":1.2.3,"c":12:30,"d":1})") ==
        "{ key:a ?-- key:b ?1.2.3 key:c ?12:30 key:d #1 }");
  CHECK(leniently(R"({t:21.5,'u':'it\'s',})") == "{ key:t #21.5 key:u $it's }");
  CHECK(leniently(R"({"h":,"t":1})") == "{ key:h null key:t #1 }");
  CHECK(leniently(R"([1,,2,])") == "[ #1 null #2 ]");
  CHECK(leniently(R"({"\udc00":{"a":[1,2]},"b":"\udc00","c":"\ud83d\ude00\u00b0\n"})") ==
        "{ skipped:\\udc00:2 key:b ?\\udc00 key:c $\xF0\x9F\x98\x80\u00b0\n }");
}

TEST_CASE("lenient JSON: what is nested too deeply costs itself, however deep it is") {
  for (const std::size_t deeper : {1, 2, 40, 1'000'000}) {
    const std::string open(deeper, '['), close(deeper, ']'), in(31, '['), out(31, ']');
    const std::string beside = "{\"a\":1,\"b\":" + in + open + "\"]\",{'}':1}" + close + out + ",\"c\":2}";
    const std::string told = leniently(beside);
    CHECK(told.starts_with("{ key:a #1 key:b [ [ "));
    CHECK(told.ends_with(text("[ ?", nested_too_deeply, " ] ",
                              "] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] ] key:c #2 }")));
    CHECK(leniently("[1," + in + open).ends_with("broken"));
  }
}

TEST_CASE("lenient JSON: what stands around and between documents") {
  CHECK(leniently("\xEF\xBB\xBF{\"t\":1}") == "{ key:t #1 }");
  CHECK(leniently(std::string_view("{\"t\":1}\0\0 \r\n", 11)) == "{ key:t #1 }");
  CHECK(leniently("{\"t\":1}\n{\"t\":2}\r\n\n") == "{ key:t #1 } { key:t #2 }");
  CHECK(leniently("\x1e{\"t\":1}\n\x1e{\"t\":2}\n") == "{ key:t #1 } { key:t #2 }");
  CHECK(leniently("\x02{\"t\":1}\x03\r\n\x02{\"t\":2}\x03") == "{ key:t #1 } { key:t #2 }");
  CHECK(leniently("{\"t\":1\x03,\"h\":2}") == "{ key:t ?1\x03 key:h #2 }");
  CHECK(leniently("[1][2],[3]") == "[ #1 ] [ #2 ] [ #3 ]");
  // A line that makes no sense costs itself.
  CHECK(leniently("{\"t\":1}\n{\"t\":2\n{\"t\":3}\n") == "{ key:t #1 } { key:t #2 broken { key:t #3 }");
  // an indented part is no document
  CHECK(leniently("[\n  {\"t\":1},\n  {\"t\" 2},\n  {\"t\":3}\n]\n") == "[ { key:t #1 } { broken");
  CHECK(leniently("") == "");
  CHECK(leniently("\n") == "");
  LenientJson found;
  CHECK(leniently("{\"u\":\"\xb0"
                  "C \u00fc\"}",
                  found) == "{ key:u $\u00b0C \u00fc }");
  CHECK(found.latin1);
}

TEST_CASE("lenient JSON: a number at the end of what was cut off is no number") {
  CHECK(leniently("{\"t\":12") == "{ key:t broken");
  CHECK(leniently("[1,12") == "[ #1 broken");
  CHECK(leniently("[1,12 ") == "[ #1 #12 broken");
  CHECK(leniently("12") == "#12");
}

TEST_CASE("lenient JSON: no bytes make it fall over, and it comes to an end") {
  Rng rng(seed());
  constexpr char letters[] = "{}[]\"':,\\ \n\0ntf0123456789.-+eEux\xb0\xc2\x1e";
  const std::string_view alphabet(letters, sizeof letters - 1);
  for (int round = 0; round < 20'000 * effort(); ++round) {
    std::string json;
    for (std::uint64_t n = rng.below(40); n > 0; --n) json += alphabet[rng.below(alphabet.size())];
    (void)leniently(json);
  }
  (void)leniently(std::string(100'000, '['));
  (void)leniently(std::string(100'000, '{'));
  (void)leniently(std::string(100'000, ']'));
}

TEST_CASE("lenient JSON: a comma in a number costs its own member, and invents no other") {
  CHECK(leniently(R"({"temp":21,5,"hum":45,2,"n":7})") == "{ key:temp ?21,5 key:hum ?45,2 key:n #7 }");
  CHECK(leniently(R"({"p":1,234.5})") == "{ key:p ?1,234.5 }");
  CHECK(leniently(R"({"p":-1,234,567.8 ,"b":[1,2],"c":{"d":0,5}})") ==
        "{ key:p ?-1,234,567.8 key:b [ #1 #2 ] key:c { key:d ?0,5 } }");
  CHECK(leniently(R"([{"a":1,5},[21,5]])") == "[ { key:a ?1,5 } [ #21 #5 ] ]");
  CHECK(leniently("21,5") == "?21,5");
  CHECK(leniently(R"({"a":1},{"a":2})") == "{ key:a #1 } { key:a #2 }");
}

}  // namespace lenient_json_test
