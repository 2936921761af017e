#include "base/pattern.h"

#include <algorithm>
#include <memory>
#include <span>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::uint32_t last_point = 0x10FFFF;

// Takes a code point off `text`; a byte that is no UTF-8 stands for itself.
std::uint32_t take_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return ++at, first;
  const std::size_t size = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (size <= 1 || at + size > text.size()) return ++at, first;
  std::uint32_t point = first & (0xFFu >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return ++at, first;
    point = point << 6 | (byte(at + i) & 0x3F);
  }
  at += size;
  return point;
}

std::uint32_t lower_point(std::uint32_t point) { return point >= 'A' && point <= 'Z' ? point + 32 : point; }
bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '_'; }

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

Ranges class_of(char letter) {
  switch (lower(letter)) {
    case 'd': return {{'0', '9'}};
    case 'w': return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    default: return {{'\t', '\r'}, {' ', ' '}};
  }
}

// All that is not in `given`.
Ranges others(Ranges given) {
  std::sort(given.begin(), given.end());
  Ranges out;
  std::uint32_t next = 0;
  for (const auto& [from, to] : given) {
    if (from > next) out.emplace_back(next, from - 1);
    next = std::max(next, to + 1);
  }
  if (next <= last_point) out.emplace_back(next, last_point);
  return out;
}

struct Node {
  enum Kind {
    nothing,
    one,
    any,
    set,
    begin,
    end,
    word_edge,
    no_word_edge,
    row,
    either,
    repeat,
    group
  } kind = nothing;
  std::uint32_t point = 0;
  bool negated = false, lazy = false;
  Ranges ranges;
  int least = 0, most = 0;  // most -1: no end
  std::size_t group_at = 0;
  std::vector<std::unique_ptr<Node>> parts;
};
using NodePtr = std::unique_ptr<Node>;

NodePtr node_of(Node::Kind kind) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  return node;
}

}  // namespace

class PatternCompiler {
 public:
  explicit PatternCompiler(std::string_view source) : source_(source) {}

  Result<Pattern> compile() {
    if (source_.size() > Pattern::source_max)
      return Status{Code::invalid, text("a pattern has ", Pattern::source_max, " bytes at most")};
    take_flags();
    NodePtr all = either(0);
    if (why_.empty() && at_ < source_.size()) fail("a ) that nothing opened");
    if (why_.empty()) {
      emit_step(Pattern::Step::save, 0);
      emit(*all, 1);
      emit_step(Pattern::Step::save, 1);
      emit_step(Pattern::Step::match);
      pattern_.anchored_ = begins_at_front(*all);
    }
    if (why_.empty()) lay_out();
    if (!why_.empty()) return Status{Code::invalid, text("the pattern '", source_, "': ", why_)};
    return std::move(pattern_);
  }

 private:
  bool more() const { return at_ < source_.size(); }
  bool next_is(std::string_view what) const { return source_.substr(at_).starts_with(what); }
  bool take(std::string_view what) {
    if (!next_is(what)) return false;
    at_ += what.size();
    return true;
  }
  void fail(std::string_view why) {
    if (why_.empty()) why_ = text(why, " (at character ", at_ + 1, ")");
    at_ = source_.size();
  }

  void take_flags() {
    for (const auto& [flags, any_case, dot_all] :
         {std::tuple{"(?i)", true, false}, std::tuple{"(?s)", false, true}, std::tuple{"(?is)", true, true},
          std::tuple{"(?si)", true, true}}) {
      if (!take(flags)) continue;
      pattern_.any_case_ = any_case;
      pattern_.dot_all_ = dot_all;
      return;
    }
  }

  NodePtr either(int depth) {
    if (depth > Pattern::depth_max) fail("groups are nested too deeply");
    NodePtr out = node_of(Node::either);
    do out->parts.push_back(row(depth));
    while (take("|"));
    return out->parts.size() == 1 ? std::move(out->parts[0]) : std::move(out);
  }

  NodePtr row(int depth) {
    NodePtr out = node_of(Node::row);
    while (more() && source_[at_] != '|' && source_[at_] != ')') {
      NodePtr part = atom(depth);
      while (more() && why_.empty() && repeats(part)) {}
      out->parts.push_back(std::move(part));
    }
    return out;
  }

  // Whether a repetition stands here; then `part` is repeated.
  bool repeats(NodePtr& part) {
    int least = 0, most = -1;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (next_is("{") && at_ + 1 < source_.size() && is_digit(source_[at_ + 1])) {
      ++at_;
      least = number();
      most = least;
      if (take(",")) most = next_is("}") ? -1 : number();
      if (!take("}")) return fail("a { that is no repetition: \\{ is the sign itself"), false;
      if (most >= 0 && most < least) return fail("a repetition that ends before it begins"), false;
    } else {
      return false;
    }
    const bool bare = part->kind == Node::repeat || part->kind == Node::begin || part->kind == Node::end ||
                      part->kind == Node::word_edge || part->kind == Node::no_word_edge;
    if (bare) return fail("nothing that could be repeated stands before a repetition"), false;
    NodePtr out = node_of(Node::repeat);
    out->least = least;
    out->most = most;
    out->lazy = take("?");
    if (!out->lazy && next_is("+")) return fail("possessive repetition is not known here"), false;
    out->parts.push_back(std::move(part));
    part = std::move(out);
    return true;
  }

  int number() {
    int value = 0;
    if (!more() || !is_digit(source_[at_])) fail("a repetition without a number");
    for (; more() && is_digit(source_[at_]); ++at_)
      value = std::min(value * 10 + (source_[at_] - '0'), 1'000'000);
    if (value > Pattern::repeat_max) fail(text("a repetition is at most ", Pattern::repeat_max));
    return value;
  }

  NodePtr atom(int depth) {
    const char c = source_[at_];
    if (c == '(') return group(depth);
    if (c == '[') return bracket();
    if (c == '\\') return escape();
    if (c == '*' || c == '+' || c == '?') fail("nothing that could be repeated stands before a repetition");
    if (!more()) return node_of(Node::nothing);
    if (c == '.' || c == '^' || c == '$') {
      ++at_;
      return node_of(c == '.' ? Node::any : c == '^' ? Node::begin : Node::end);
    }
    NodePtr out = node_of(Node::one);
    out->point = take_point(source_, at_);
    return out;
  }

  NodePtr group(int depth) {
    ++at_;
    NodePtr out = node_of(Node::row);
    if (take("?P<") || (next_is("?<") && !next_is("?<=") && !next_is("?<!") && take("?<"))) {
      const std::size_t close = source_.find('>', at_);
      const std::string name(source_.substr(at_, close == std::string_view::npos ? 0 : close - at_));
      const bool good = !name.empty() && !is_digit(name[0]) && std::all_of(name.begin(), name.end(), is_word);
      if (!good) return fail("a group's name has letters, digits and _"), node_of(Node::nothing);
      if (named_depth_ > 0) return fail("a group with a name in another one"), node_of(Node::nothing);
      if (std::ranges::find(pattern_.names_, name) != pattern_.names_.end())
        return fail(text("two groups are called ", name)), node_of(Node::nothing);
      if (pattern_.names_.size() >= Pattern::groups_max)
        return fail(text("more than ", Pattern::groups_max, " groups with names")), node_of(Node::nothing);
      at_ = close + 1;
      out->kind = Node::group;
      out->group_at = pattern_.names_.size();
      pattern_.names_.push_back(name);
      ++named_depth_;
    } else if (!take("?:") && next_is("?")) {
      return fail("looking around, conditions and flags inside are not known here"), node_of(Node::nothing);
    }
    out->parts.push_back(either(depth + 1));
    if (out->kind == Node::group) --named_depth_;
    if (!take(")")) fail("a ( that nothing closes");
    return out;
  }

  NodePtr escape() {
    ++at_;
    if (!more()) return fail("a \\ at the end"), node_of(Node::nothing);
    const char c = source_[at_];
    if (c == 'b' || c == 'B') return ++at_, node_of(c == 'b' ? Node::word_edge : Node::no_word_edge);
    NodePtr out = node_of(Node::set);
    if (std::string_view("dDwWsS").find(c) != std::string_view::npos) {
      ++at_;
      out->ranges = class_of(c);
      out->negated = !(c >= 'a');
      return out;
    }
    out->kind = Node::one;
    out->point = escaped_point();
    return out;
  }

  // Behind a \.
  std::uint32_t escaped_point() {
    const char c = source_[at_];
    if (!is_letter(c) && !is_digit(c)) return take_point(source_, at_);
    ++at_;
    switch (c) {
      case 't': return '\t';
      case 'n': return '\n';
      case 'r': return '\r';
      case 'f': return '\f';
      case 'v': return '\v';
      case '0': return 0;
      case 'x': break;
      default: return fail(text("\\", c, " is not known here")), 0;
    }
    std::uint32_t point = 0;
    for (int i = 0; i < 2; ++i, ++at_) {
      const char digit = more() ? lower(source_[at_]) : ' ';
      if (!is_digit(digit) && !(digit >= 'a' && digit <= 'f'))
        return fail("\\x is followed by two digits in hex"), 0;
      point = point * 16 + static_cast<std::uint32_t>(is_digit(digit) ? digit - '0' : digit - 'a' + 10);
    }
    return point;
  }

  NodePtr bracket() {
    ++at_;
    NodePtr out = node_of(Node::set);
    out->negated = take("^");
    for (bool first = true; more() && (first || source_[at_] != ']'); first = false) {
      std::uint32_t from = 0, to = 0;
      if (!point_in_bracket(from, out->ranges)) continue;
      to = from;
      if (next_is("-") && !next_is("-]")) {
        ++at_;
        if (!more() || !point_in_bracket(to, out->ranges))
          return fail("a range in [ ] that ends in a class"), std::move(out);
        if (to < from) return fail("a range in [ ] that ends before it begins"), std::move(out);
      }
      out->ranges.emplace_back(from, to);
    }
    if (!take("]")) fail("a [ that nothing closes");
    if (pattern_.any_case_) add_other_case(out->ranges);
    return out;
  }
  // False: it was a class, and its ranges are added.
  bool point_in_bracket(std::uint32_t& point, Ranges& ranges) {
    if (!take("\\")) return point = take_point(source_, at_), true;
    if (!more()) return fail("a \\ at the end"), true;
    const char c = source_[at_];
    if (std::string_view("dDwWsS").find(c) == std::string_view::npos) return point = escaped_point(), true;
    ++at_;
    const Ranges added = c >= 'a' ? class_of(c) : others(class_of(c));
    ranges.insert(ranges.end(), added.begin(), added.end());
    return false;
  }
  // Text is looked at in small letters then.
  static void add_other_case(Ranges& ranges) {
    const std::size_t size = ranges.size();
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint32_t from = std::max<std::uint32_t>(ranges[i].first, 'A'),
                          to = std::min<std::uint32_t>(ranges[i].second, 'Z');
      if (from <= to) ranges.emplace_back(from + 32, to + 32);
    }
  }

  // ---- the program
  std::uint32_t emit_step(Pattern::Step::Kind kind, std::uint32_t x = 0, std::uint32_t y = 0) {
    if (pattern_.steps_.size() >= Pattern::program_max) {
      why_ = "it is too large: fewer or shorter repetitions";
      return 0;
    }
    pattern_.steps_.push_back({kind, false, x, y});
    return static_cast<std::uint32_t>(pattern_.steps_.size() - 1);
  }
  std::uint32_t here() const { return static_cast<std::uint32_t>(pattern_.steps_.size()); }
  void lead(std::uint32_t split, bool lazy, std::uint32_t in, std::uint32_t past) {
    if (split >= pattern_.steps_.size()) return;
    pattern_.steps_[split].x = lazy ? past : in;
    pattern_.steps_[split].y = lazy ? in : past;
  }

  // `times`: how often it is written, with the repetitions around it.
  void emit(const Node& node, std::int64_t times) {
    if (!why_.empty()) return;
    using S = Pattern::Step;
    switch (node.kind) {
      case Node::nothing: return;
      case Node::one: emit_step(S::one, pattern_.any_case_ ? lower_point(node.point) : node.point); return;
      case Node::any: emit_step(S::any); return;
      case Node::begin: emit_step(S::begin); return;
      case Node::end: emit_step(S::end); return;
      case Node::word_edge: emit_step(S::word_edge); return;
      case Node::no_word_edge: emit_step(S::no_word_edge); return;
      case Node::set: {
        const auto from = static_cast<std::uint32_t>(pattern_.ranges_.size());
        pattern_.ranges_.insert(pattern_.ranges_.end(), node.ranges.begin(), node.ranges.end());
        const std::uint32_t at = emit_step(S::set, from, static_cast<std::uint32_t>(pattern_.ranges_.size()));
        if (why_.empty()) pattern_.steps_[at].negated = node.negated;
        return;
      }
      case Node::row:
        for (const NodePtr& part : node.parts) emit(*part, times);
        return;
      case Node::group: {
        const auto slot = static_cast<std::uint32_t>(2 + 2 * node.group_at);
        emit_step(S::save, slot);
        emit(*node.parts[0], times);
        emit_step(S::save, slot + 1);
        return;
      }
      case Node::either: return emit_either(node, times);
      case Node::repeat: return emit_repeat(node, times);
    }
  }

  void emit_either(const Node& node, std::int64_t times) {
    std::vector<std::uint32_t> jumps;
    for (std::size_t i = 0; i < node.parts.size() && why_.empty(); ++i) {
      const bool last = i + 1 == node.parts.size();
      const std::uint32_t split = last ? 0 : emit_step(Pattern::Step::split);
      const std::uint32_t in = here();
      emit(*node.parts[i], times);
      if (last) break;
      jumps.push_back(emit_step(Pattern::Step::jump));
      lead(split, false, in, here());
    }
    for (const std::uint32_t jump : jumps) pattern_.steps_[jump].x = here();
  }

  void emit_repeat(const Node& node, std::int64_t times) {
    const std::int64_t copies = times * std::max(1, std::max(node.least, node.most));
    if (copies > 100'000) why_ = "it is too large: fewer or shorter repetitions";
    for (int i = 0; i < node.least && why_.empty(); ++i) emit(*node.parts[0], copies);
    if (node.most < 0) {
      const std::uint32_t split = emit_step(Pattern::Step::split), in = here();
      emit(*node.parts[0], copies);
      emit_step(Pattern::Step::jump, split);
      return lead(split, node.lazy, in, here());
    }
    std::vector<std::uint32_t> splits;
    for (int i = node.least; i < node.most && why_.empty(); ++i) {
      splits.push_back(emit_step(Pattern::Step::split));
      emit(*node.parts[0], copies);
    }
    for (const std::uint32_t split : splits) lead(split, node.lazy, split + 1, here());
  }

  // Every thread begins at the front, or goes on behind a sign that it took.
  void lay_out() {
    pattern_.ways_.resize(pattern_.steps_.size());
    lay_out(0);
    for (std::uint32_t i = 0; i < here(); ++i) {
      const Pattern::Step::Kind kind = pattern_.steps_[i].kind;
      if (kind == Pattern::Step::one || kind == Pattern::Step::any || kind == Pattern::Step::set)
        lay_out(i + 1);
    }
  }
  // In the order and at the cost of PatternRun::follow().
  void lay_out(std::uint32_t from) {
    using S = Pattern::Step;
    const std::size_t ways_before = pattern_.all_ways_.size(), saves_before = pattern_.saves_.size();
    struct Pending {
      std::uint32_t at;
      bool back;  // out of a save
    };
    std::vector<Pending> pending{{from, false}};
    std::vector<std::uint32_t> saves;
    std::vector<bool> seen(pattern_.steps_.size());
    Pattern::Ways ways;
    bool few = true;
    while (few && !pending.empty()) {
      const Pending now = pending.back();
      pending.pop_back();
      if (now.back) {
        saves.pop_back();
        continue;
      }
      if (seen[now.at]) continue;
      seen[now.at] = true;
      ++ways.cost;
      const S& step = pattern_.steps_[now.at];
      switch (step.kind) {
        case S::jump: pending.push_back({step.x, false}); break;
        case S::split:
          pending.push_back({step.y, false});
          pending.push_back({step.x, false});
          break;
        case S::save:
          saves.push_back(step.x);
          pending.push_back({0, true});
          pending.push_back({now.at + 1, false});
          break;
        case S::begin:
          few = from == 0 && pattern_.anchored_;  // it is looked at in front of the text only
          pending.push_back({now.at + 1, false});
          break;
        case S::end:
        case S::word_edge:
        case S::no_word_edge: few = false; break;
        default:
          few = pattern_.all_ways_.size() - ways_before < Pattern::ways_max &&
                saves.size() <= Pattern::saves_max;
          pattern_.all_ways_.push_back({now.at, static_cast<std::uint32_t>(pattern_.saves_.size()),
                                        static_cast<std::uint32_t>(pattern_.saves_.size() + saves.size())});
          pattern_.saves_.insert(pattern_.saves_.end(), saves.begin(), saves.end());
      }
    }
    if (!few) {
      pattern_.all_ways_.resize(ways_before);
      pattern_.saves_.resize(saves_before);
      return;
    }
    ways.from = static_cast<std::uint32_t>(ways_before);
    ways.to = static_cast<std::uint32_t>(pattern_.all_ways_.size());
    pattern_.ways_[from] = ways;
  }

  static bool begins_at_front(const Node& node) {
    return node.kind == Node::begin || ((node.kind == Node::row || node.kind == Node::group) &&
                                        !node.parts.empty() && begins_at_front(*node.parts[0]));
  }

  std::string_view source_;
  std::size_t at_ = 0;
  int named_depth_ = 0;
  std::string why_;
  Pattern pattern_;
};

Result<Pattern> Pattern::parse(std::string_view source) { return PatternCompiler(source).compile(); }

// One search. A thread is a place in the program and where its groups began and ended; there is one a place
// at most, in the order in which Perl would try them. While all of them go back to one that took the last
// sign, as nearly always, what they know is one, and where they wait is laid out: nothing is copied.
class PatternRun {
 public:
  PatternRun(const Pattern& pattern, std::string_view text, std::uint64_t& steps)
      : pattern_(pattern), text_(text), steps_(steps), width_(2 + 2 * pattern.names_.size()) {}

  Pattern::Found run(std::vector<std::string_view>& groups) {
    for (std::size_t at = 0;;) {
      // A match that began earlier wins over any that begins here.
      if (!matched_ && (at == 0 || !pattern_.anchored_)) begin_threads(at);
      if (now_.empty() && !ways_ && (matched_ || pattern_.anchored_)) break;
      if (steps_ == 0) return Pattern::Found::too_long;
      if (at >= text_.size()) {
        step(at, at, 0);
        break;
      }
      const std::size_t before = at;
      const std::uint32_t point = take_point(text_, at);
      step(before, at, pattern_.any_case_ ? lower_point(point) : point);
    }
    if (steps_ == 0) return Pattern::Found::too_long;
    if (!matched_) return Pattern::Found::no;
    groups.clear();
    for (std::size_t slot = 2; slot < width_; slot += 2) {
      const bool part = best_[slot] != none && best_[slot + 1] != none;
      groups.push_back(part ? text_.substr(best_[slot], best_[slot + 1] - best_[slot]) : std::string_view());
    }
    return Pattern::Found::yes;
  }

 private:
  static constexpr std::size_t none = SIZE_MAX;
  struct Thread {
    std::uint32_t at;
    std::size_t slots;  // where its groups stand in the pool
  };
  struct Threads : std::vector<Thread> {
    std::vector<std::size_t> pool;
  };
  struct Pending {
    std::uint32_t at;
    std::size_t slot, before;  // slot != none: puts back what a group was, on the way out
  };

  void begin_threads(std::size_t at) {
    if (steps_ == 0) return;
    if (ways_) spread();
    if (now_.empty()) {
      slots_.assign(width_, none);
      if (go_on(0, at)) return;
      ++generation_, now_.pool.clear();
    }
    slots_.assign(width_, none);
    follow(0, at, now_);
  }

  // All threads come from one, which goes on at `from` and knows slots_. False: that is not laid out.
  bool go_on(std::uint32_t from, std::size_t at) {
    if (pattern_.ways_[from].cost == 0) return false;
    ways_ = &pattern_.ways_[from];
    ways_from_ = from;
    ways_at_ = at;
    spend(ways_->cost);
    return true;
  }
  std::span<const Pattern::Way> ways() const {
    return std::span(pattern_.all_ways_).subspan(ways_->from, ways_->to - ways_->from);
  }
  void save(const Pattern::Way& way, std::vector<std::size_t>& slots) const {
    for (std::uint32_t i = way.saves_from; i < way.saves_to; ++i) slots[pattern_.saves_[i]] = ways_at_;
  }
  // They no longer do: each by itself, for what has been paid.
  void spread() {
    steps_ += ways_->cost;
    ways_ = nullptr;
    ++generation_;
    now_.clear();
    now_.pool.clear();
    follow(ways_from_, ways_at_, now_);
  }

  void spend(std::uint64_t steps) { steps_ -= std::min(steps, steps_); }
  bool spend() {
    if (steps_ == 0) return false;
    --steps_;
    return true;
  }

  // Adds to `list` where a thread at `from` can wait for a sign, in order; slots_ is what it knows.
  void follow(std::uint32_t from, std::size_t at, Threads& list) {
    if (seen_.empty()) seen_.assign(pattern_.steps_.size(), 0);
    pending_.assign(1, {from, none, 0});
    while (!pending_.empty()) {
      const Pending now = pending_.back();
      pending_.pop_back();
      if (now.slot != none) {
        slots_[now.slot] = now.before;
        continue;
      }
      if (seen_[now.at] == generation_ || !spend()) continue;
      seen_[now.at] = generation_;
      const Pattern::Step& step = pattern_.steps_[now.at];
      using S = Pattern::Step;
      switch (step.kind) {
        case S::jump: pending_.push_back({step.x, none, 0}); break;
        case S::split:
          pending_.push_back({step.y, none, 0});
          pending_.push_back({step.x, none, 0});
          break;
        case S::save:
          pending_.push_back({0, step.x, slots_[step.x]});
          slots_[step.x] = at;
          pending_.push_back({now.at + 1, none, 0});
          break;
        case S::begin:
        case S::end:
        case S::word_edge:
        case S::no_word_edge:
          if (holds(step.kind, at)) pending_.push_back({now.at + 1, none, 0});
          break;
        default:
          list.push_back({now.at, list.pool.size()});
          list.pool.insert(list.pool.end(), slots_.begin(), slots_.end());
      }
    }
  }

  bool holds(Pattern::Step::Kind kind, std::size_t at) const {
    if (kind == Pattern::Step::begin) return at == 0;
    if (kind == Pattern::Step::end)
      return at == text_.size() || (at + 1 == text_.size() && text_[at] == '\n');
    const bool before = at > 0 && is_word(text_[at - 1]), behind = at < text_.size() && is_word(text_[at]);
    return (before != behind) == (kind == Pattern::Step::word_edge);
  }

  bool takes(const Pattern::Step& step, std::uint32_t point) const {
    using S = Pattern::Step;
    if (step.kind == S::one) return step.x == point;
    if (step.kind == S::any) return pattern_.dot_all_ || point != '\n';
    bool in = false;
    for (std::uint32_t i = step.x; i < step.y && !in; ++i)
      in = pattern_.ranges_[i].first <= point && point <= pattern_.ranges_[i].second;
    return in != step.negated;
  }

  // All threads over the sign at `before`; at the end of the text (`at` is `before`) there is none.
  void step(std::size_t before, std::size_t at, std::uint32_t point) {
    if (ways_ && step_together(before, at, point)) return;
    if (ways_) spread();
    over_.clear();
    for (const Thread& thread : now_) {
      if (!spend()) break;
      const Pattern::Step& one = pattern_.steps_[thread.at];
      if (one.kind == Pattern::Step::match) {
        matched_ = true;
        best_.assign(slots_of(thread), slots_of(thread) + static_cast<std::ptrdiff_t>(width_));
        break;  // those behind it would have been tried later
      }
      if (at != before && takes(one, point)) over_.push_back(thread);
    }
    next_.clear();
    next_.pool.clear();
    ++generation_;
    for (const Thread& thread : over_) {
      slots_.assign(slots_of(thread), slots_of(thread) + static_cast<std::ptrdiff_t>(width_));
      const bool alone = over_.size() == 1 && (matched_ || pattern_.anchored_);  // no other will begin
      if (alone && go_on(thread.at + 1, at)) break;
      follow(thread.at + 1, at, next_);
    }
    std::swap(now_, next_);
  }
  std::vector<std::size_t>::const_iterator slots_of(const Thread& thread) const {
    return now_.pool.begin() + static_cast<std::ptrdiff_t>(thread.slots);
  }

  // ... that come from one. False: nothing is done, and they are to be spread.
  bool step_together(std::size_t before, std::size_t at, std::uint32_t point) {
    const Pattern::Way* over = nullptr;
    const Pattern::Way* match = nullptr;
    std::uint64_t tried = 0;
    for (const Pattern::Way& way : ways()) {
      ++tried;
      const Pattern::Step& one = pattern_.steps_[way.at];
      if (one.kind == Pattern::Step::match) {
        match = &way;
        break;
      }
      if (at == before || !takes(one, point)) continue;
      if (over || pattern_.ways_[way.at + 1].cost == 0) return false;
      over = &way;
    }
    spend(tried);
    if (match) {
      matched_ = true;
      best_ = slots_;
      save(*match, best_);
    }
    ways_ = nullptr;
    if (!over) return true;
    save(*over, slots_);
    return go_on(over->at + 1, at);
  }

  const Pattern& pattern_;
  const std::string_view text_;
  std::uint64_t& steps_;
  const std::size_t width_;
  Threads now_, next_;
  std::vector<Thread> over_;
  const Pattern::Ways* ways_ = nullptr;  // where all threads wait, at `ways_at_`; then now_ is empty
  std::uint32_t ways_from_ = 0;
  std::size_t ways_at_ = 0;
  std::vector<std::uint64_t> seen_;
  std::uint64_t generation_ = 0;
  std::vector<std::size_t> slots_, best_;
  std::vector<Pending> pending_;
  bool matched_ = false;
};

Pattern::Found Pattern::find(std::string_view text, std::vector<std::string_view>& groups,
                             std::uint64_t& steps) const {
  // What it takes to begin: many small texts are not for nothing.
  const std::uint64_t begin = 20 + steps_.size() / 16;
  if (steps <= begin) {
    steps = 0;
    return Found::too_long;
  }
  steps -= begin;
  return PatternRun(*this, text, steps).run(groups);
}

}  // namespace millrace
