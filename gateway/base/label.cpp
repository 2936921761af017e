#include "base/label.h"

#include <cstdio>

#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr const char* names[] = {"the device's name", "the metric's name", "the unit",
                                 "the tag's name",    "the tag's value",   "the name"};

Status refuse(std::string_view what, std::string_view of, std::string_view given, std::string_view why) {
  const std::string whose = of.empty() ? std::string() : text(" of \"", shown(of, 48), "\"");
  return {Code::invalid, text(what, whose, " \"", shown(given, 32), "\" ", why)};
}

std::string in_words(const TextFault& fault) {
  if (fault.kind == TextFault::not_utf8) return text("is not UTF-8 (byte ", fault.at, ")");
  char code[16];
  std::snprintf(code, sizeof code, "U+%04X", static_cast<unsigned>(fault.character));
  return text("has a control character (", code, " at byte ", fault.at, ")");
}

}  // namespace

Status check_label(Label label, std::string_view given, std::string_view of) {
  const std::size_t max = label_bytes_max(label);
  if (!given.empty() && given.size() <= max && plain_ascii(given)) return {};
  const char* what = names[static_cast<int>(label)];
  if (given.size() > max)
    return refuse(what, of, given,
                  text("is too long: ", given.size(), " bytes, at most ", max, " are taken"));
  if (given.empty() && !may_be_empty(label)) return refuse(what, of, given, "is empty");
  const TextFault fault = find_fault(given, Controls::none);
  return fault.kind == TextFault::ok ? Status{} : refuse(what, of, given, in_words(fault));
}

Status check_text_value(std::string_view metric, std::string_view given) {
  if (given.size() > text_value_bytes_max) {
    return refuse(
        "the text", metric, given,
        text("is too long: ", given.size(), " bytes, at most ", text_value_bytes_max, " are taken"));
  }
  const TextFault fault = find_fault(given, Controls::line_breaks);
  return fault.kind == TextFault::ok ? Status{} : refuse("the text", metric, given, in_words(fault));
}

}  // namespace millrace
