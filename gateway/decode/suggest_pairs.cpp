#include "decode/suggest_pairs.h"

#include <algorithm>

#include "decode/pair_line.h"
#include "decode/reading_value.h"
#include "decode/suggest.h"

namespace millrace::suggested {
namespace {

constexpr char pair_separators[] = {'\n', '&', ';', ',', '|', '\t', ' '};

bool looks_like_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         (is_letter(name.front()) || std::string_view("_+*").find(name.front()) != std::string_view::npos) &&
         name.find_first_of(",;&|=\"<>{}") == std::string_view::npos;
}

// What has no name of its own (pair_line.h).
bool is_by_place(std::string_view name) { return !name.empty() && std::ranges::all_of(name, is_digit); }

// Whether there are pairs in the value of one: another separator stands between them.
bool holds_pairs(std::string_view value) {
  return std::ranges::any_of(pair_separators, [value](char separator) {
    PairLine line(separator);
    if (line.take(value, 0, value.size())) return false;
    return std::ranges::any_of(line.pairs().subspan(1),
                               [](const PairLine::Pair& pair) { return looks_like_name(pair.name); });
  });
}

struct Member {
  std::string name, value;
  bool quoted;
};

// Adds what is new in `given`; false: it is no pairs, or not with this separator between them.
bool find_members(std::string_view given, char separator, std::vector<Member>& members) {
  PairLine line(separator);
  bool any = false;
  for (const std::string_view message : separator == '\n' ? std::vector{given} : split(given, '\n')) {
    if (trim(message).empty()) continue;
    if (line.take(message, 0, message.size())) return false;
    for (const PairLine::Pair& pair : line.pairs()) {
      const bool by_place = is_by_place(pair.name);
      if (pair.why || (!by_place && !looks_like_name(pair.name))) return false;
      if (!pair.quoted && holds_pairs(pair.value)) return false;
      any = any || !by_place;
      if (std::ranges::find(members, pair.name, &Member::name) == members.end() &&
          members.size() <= Suggestion::metrics_max)
        members.push_back({std::string(pair.name), std::string(pair.value), pair.quoted});
    }
  }
  return any;
}

void tell_member(TreeBuilder& tree, const Member& member, char decimal) {
  (void)tree.key(member.name);
  const auto number = member.quoted ? std::nullopt : number_in_text(member.value, decimal);
  if (member.value.empty()) (void)tree.null();
  else if (member.value == "true" || member.value == "false") (void)tree.boolean(member.value == "true");
  else if (!number || is_identifier(member.name, member.value)) (void)tree.string(member.value);
  else if (number->unit.empty()) (void)tree.number(number->number);
  else (void)tree.string(text(number->number, " ", number->unit));
}

std::string as_written(char separator) {
  return separator == '\n' ? "\\n" : separator == '\t' ? "\\t" : std::string(1, separator);
}

}  // namespace

std::string keys_of_pairs(std::string_view value, const std::vector<std::string_view>& payloads,
                          bool needs_device, bool alone, TreeBuilder& tree) {
  for (const char separator : pair_separators) {
    std::vector<Member> members;
    if (!find_members(value, separator, members)) continue;
    for (const std::string_view one : payloads) (void)find_members(one, separator, members);
    const auto names =
        std::ranges::count_if(members, [](const Member& one) { return !is_by_place(one.name); });
    if (names < 2 && !alone) continue;
    const bool comma = std::ranges::any_of(members, [](const Member& one) {
      return !one.quoted && number_in_text(one.value, ',') && !number_in_text(one.value, '.');
    });
    std::string out = "format = \"pairs\"\n";
    if (separator != ',') out += text("separator = \"", as_written(separator), "\"\n");
    if (comma) out += "decimal = \",\" # two values would be a text\n";
    const bool headed = needs_device && members[0].name == "1" && is_letter(members[0].value[0]);
    if (headed) out += "device = \"{.1}\"\n";
    (void)tree.begin_object();
    for (const Member& member : members) {
      if (!headed || &member != &members[0]) tell_member(tree, member, comma ? ',' : '.');
    }
    (void)tree.end_object();
    return out;
  }
  return {};
}

}  // namespace millrace::suggested
