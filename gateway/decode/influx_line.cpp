#include "decode/influx_line.h"

#include <algorithm>

namespace millrace {

const char* InfluxLine::take(std::string_view all, std::size_t& at) {
  all_ = all;
  at_ = at;
  const char* why = take_parts();
  const std::size_t end = std::min(all.find('\n', at_), all.size());
  at = std::min(end + 1, all.size());
  return why;
}

std::optional<bool> InfluxLine::truth_of(std::string_view value) {
  for (const std::string_view yes : {"t", "T", "true", "True", "TRUE"}) {
    if (value == yes) return true;
  }
  for (const std::string_view no : {"f", "F", "false", "False", "FALSE"}) {
    if (value == no) return false;
  }
  return std::nullopt;
}

// A fault leaves at_ in front of the line break behind which the next line begins.
const char* InfluxLine::take_parts() {
  tags_.used = fields_.used = 0;
  time_ = {};
  take_word(measurement_, ", ");
  if (measurement_.text().empty()) return "it has no measurement";
  const char* why = take_tags();
  if (!why) why = take_fields();
  return why ? why : take_time();
}

const char* InfluxLine::take_tags() {
  while (!ends() && all_[at_] == ',') {
    if (tags_.used == pairs_max) return "it has too many tags";
    ++at_;
    Pair& tag = tags_.add();
    take_word(tag.name, ",= ");
    if (tag.name.text().empty()) return "a tag has no name";
    if (ends() || all_[at_] != '=') return "a tag has no value";
    tag.at = ++at_;
    take_word(tag.value, ", ");
  }
  return nullptr;
}

const char* InfluxLine::take_fields() {
  pass_blanks();
  if (ends()) return "it has no field";
  for (bool more = true; more;) {
    if (fields_.used == pairs_max) return "it has too many fields";
    Pair& field = fields_.add();
    take_word(field.name, ",= ");
    if (field.name.text().empty()) return "a field has no name";
    if (ends() || all_[at_] != '=') return "a field has no value";
    field.at = ++at_;
    field.quoted = !ends() && all_[at_] == '"';
    if (field.quoted) {
      if (const char* why = take_text(field.value)) return why;
    } else {
      take_word(field.value, ", ");
    }
    more = !ends() && all_[at_] == ',';
    if (more) ++at_;
  }
  return nullptr;
}

const char* InfluxLine::take_time() {
  pass_blanks();
  time_at_ = at_;
  while (!ends() && all_[at_] != ' ') ++at_;
  time_ = all_.substr(time_at_, at_ - time_at_);
  pass_blanks();
  return ends() ? nullptr : "something stands behind its time";
}

bool InfluxLine::ends() const {
  if (at_ >= all_.size() || all_[at_] == '\n') return true;
  return all_[at_] == '\r' && (at_ + 1 == all_.size() || all_[at_ + 1] == '\n');
}

void InfluxLine::pass_blanks() {
  while (!ends() && all_[at_] == ' ') ++at_;
}

// Up to one of `stops`, which in it have a backslash in front. Any other backslash is itself.
void InfluxLine::take_word(Word& word, std::string_view stops) {
  const std::size_t begin = at_;
  std::size_t copied = begin;
  word.escaped = false;
  for (; !ends() && stops.find(all_[at_]) == std::string_view::npos; ++at_) {
    const bool escape = all_[at_] == '\\' && at_ + 1 < all_.size() &&
                        (all_[at_ + 1] == '=' || stops.find(all_[at_ + 1]) != std::string_view::npos);
    if (!escape) continue;
    if (!word.escaped) word.own.clear();
    word.escaped = true;
    word.own += all_.substr(copied, at_ - copied);
    copied = ++at_;
  }
  word.plain = all_.substr(begin, at_ - begin);
  if (word.escaped) word.own += all_.substr(copied, at_ - copied);
}

// In quotes; \" and \\ are escapes in it. A fault leaves at_ at its first quote.
const char* InfluxLine::take_text(Word& word) {
  const std::size_t begin = at_ + 1;
  std::size_t at = begin, copied = begin;
  word.escaped = false;
  for (; at < all_.size() && all_[at] != '"'; ++at) {
    const bool escape =
        all_[at] == '\\' && at + 1 < all_.size() && (all_[at + 1] == '"' || all_[at + 1] == '\\');
    if (!escape) continue;
    if (!word.escaped) word.own.clear();
    word.escaped = true;
    word.own += all_.substr(copied, at - copied);
    copied = ++at;
  }
  if (at == all_.size()) return "a text's quote has no end";
  word.plain = all_.substr(begin, at - begin);
  if (word.escaped) word.own += all_.substr(copied, at - copied);
  const std::size_t quote = at_;
  at_ = at + 1;
  if (ends() || all_[at_] == ',' || all_[at_] == ' ') return nullptr;
  at_ = quote;
  return "something stands behind a text's quote";
}

}  // namespace millrace
