#include "decode/text_payload.h"

#include "base/text.h"
#include "base/utf16.h"
#include "base/utf8.h"

namespace millrace {

Result<std::string_view> text_of_payload(const Payload& payload, const char* format, bool strict,
                                         std::string& converted, Unread& unread) {
  std::string_view all = without_mark(text_of(payload.arrival.bytes));
  if (!strict && read_utf16(all, converted)) all = converted;
  while (!all.empty() && std::string_view("\0\r\n", 3).find(all.back()) != std::string_view::npos)
    all.remove_suffix(1);
  if (find_fault(all, Controls::all).kind != TextFault::not_utf8) return all;
  if (strict) return Status{Code::invalid, text(format, ": not UTF-8")};
  unread.latin1 = true;
  converted = utf8_of_latin1(all);
  return std::string_view(converted);
}

Status end_of_walk(const JsonWalk& walk, std::vector<Record>& out, std::size_t before, Unread& unread) {
  if (walk.fault().ok()) return {};
  out.resize(before);
  unread.clear();
  return walk.fault();
}

}  // namespace millrace
