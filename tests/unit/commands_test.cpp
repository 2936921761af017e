// Commands as rows: what is read, refused and told of them; answers of a daemon as a tree.
#include <doctest/doctest.h>

#include "cli/answers.h"
#include "cli/command.h"
#include "cli/command_line.h"
#include "cli/command_text.h"

namespace commands_test {
using namespace millrace;

namespace {

struct Pick {
  std::string lane, file;
  std::uint64_t most = 5;
  double rate = 0;
  Duration wait{};
  bool loud = false;
};
Pick picked;
int pick(const Pick& c) {
  picked = c;
  return 7;
}

using O = OptionsOf<Pick>;
constexpr Option rows[] = {
    O::option<&Pick::lane>("lane", "LANE", "Which lane_or_two").one_of("alarm|raw"),
    O::option<&Pick::most>("most", "N", "How many").short_form('n').within(1, 10),
    O::option<&Pick::rate>("rate", "N", "How fast"),
    O::option<&Pick::wait>("wait", "TIME", "How long"),
    O::flag<&Pick::loud>("loud", "Aloud"),
    O::operand<&Pick::file>("[FILE]").offers(Offer::files),
};
constexpr CommandKind pick_kind = command_kind<Pick, pick>("log pick", "Pick some", rows, "And *more*.");

std::string wrong(const Option& row, const char* said) {
  Pick values;
  return row.take(row, &values, said);
}

}  // namespace

TEST_CASE("commands: options reach their struct") {
  const char* said[] = {"millrace", "log", "pick",         "--lane=raw", "-n",  "3",
                        "--rate",   "0.5", "--wait=200ms", "--loud",     "a.db"};
  CHECK(run_command(static_cast<int>(std::size(said)), const_cast<char**>(said), {&pick_kind}) == 7);
  CHECK(picked.lane == "raw");
  CHECK(picked.most == 3);
  CHECK(picked.rate == 0.5);
  CHECK(picked.wait == std::chrono::milliseconds(200));
  CHECK(picked.loud);
  CHECK(picked.file == "a.db");
}

TEST_CASE("commands: what an option cannot be is told with what it can") {
  CHECK(wrong(rows[0], "rav") == "--lane: there is no \"rav\"; did you mean raw?");
  CHECK(wrong(rows[0], "qqqqqqqqqqqq") == "--lane: there is no \"qqqqqqqqqqqq\"; there are alarm, raw");
  CHECK(wrong(rows[1], "0") == "--most: \"0\" is not a number from 1 to 10");
  CHECK(wrong(rows[1], "11") != "");
  CHECK(wrong(rows[1], "3x") != "");
  CHECK(wrong(rows[1], "99999999999999999999999") != "");
  CHECK(wrong(rows[2], "-1") == "--rate: \"-1\" is not a positive number");
  CHECK(wrong(rows[2], "") != "");
  CHECK(wrong(rows[2], "inf") != "");
  CHECK(wrong(rows[3], "soon") == "--wait: \"soon\" is not a duration, like 5min");
  CHECK(wrong(rows[1], "10") == "");
}

TEST_CASE("commands: overview, manual and completion are made of the rows") {
  const Commands all{&pick_kind};
  CHECK(overview_of(all).find("\n  log pick [FILE]       Pick some\n") != std::string::npos);
  const std::string manual = manual_of(all);
  CHECK(manual.starts_with(
      "*log pick* [*--lane* _lane_] [*--most* _n_] [*--rate* _n_] [*--wait* _time_] [*--loud*] [_file_]\n\tPick some. And *more*.\n"));
  CHECK(manual.find("\n\t*--lane* _lane_\n\t\tWhich lane\\_or\\_two\n") != std::string::npos);
  const std::string completion = completion_of(all);
  CHECK(completion.find("\"log pick --lane\") words=\"alarm raw\" ;;") != std::string::npos);
  CHECK(completion.find("\"log pick --most\"|\"log pick -n\") : ;;") != std::string::npos);
  CHECK(completion.find("log) command=\"$first $second\"; [ \"$COMP_CWORD\" != 2 ] || words=\"pick\" ;;") !=
        std::string::npos);
}

TEST_CASE("answers: a tree that is asked by name, and reads as nothing where nothing is") {
  const auto read = DaemonAnswer::read(
      R"({"a":[{"n":1},{"n":2.5,"s":"x]}\"error\":"}],"b":true,"c":null,"big":18446744073709551615,"neg":-3})");
  REQUIRE(read.ok());
  const DaemonAnswer& answer = read.value();
  REQUIRE(answer["a"].items().size() == 2);
  CHECK(answer["a"].items()[1]["n"].number() == 2.5);
  CHECK(answer["a"].items()[1]["s"].text() == "x]}\"error\":");
  CHECK(answer["b"].truth());
  CHECK(!answer["c"].there());
  CHECK(answer["big"].whole() == UINT64_MAX);
  CHECK(answer["neg"].whole() == 0);
  CHECK(answer["neg"].number() == -3);
  CHECK(answer["no"]["such"]["thing"].number() == 0);
  CHECK(answer["no"].items().empty());
  CHECK(answer["no"].text().empty());
  CHECK(!DaemonAnswer::read(R"({"a":[1,2)").ok());
  CHECK(!DaemonAnswer::read("").ok());
}

}  // namespace commands_test
