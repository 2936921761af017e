#include "uplink/https/dialect.h"

#include "base/ascii.h"
#include "base/text.h"
#include "record/record_text.h"

namespace millrace {

Status append_item(const FormKind& form, const DialectParts& parts, const DialectItem& item,
                   std::string& out) {
  if (form.of_rows()) return form.row_alone(parts.gateway, parts.epoch, *item.row, out);
  form.record({parts.gateway, parts.epoch, item.sequence}, item.lane, *item.record, out);
  return {};
}

Verdict verdict_of_status(int status) {
  switch (status) {
    case 400:                             // bad request
    case 422: return Verdict::refused;    // unprocessable content
    case 413: return Verdict::refused;    // content too large
    case 408:                             // request timeout
    case 421:                             // misdirected request: another connection may be right
    case 425:                             // too early
    case 429: return Verdict::retryable;  // too many requests
    case 501:                             // not implemented
    case 505: return Verdict::blocked;    // HTTP version not supported
    default: break;
  }
  // A redirect is never followed: it is another server, or a captive portal. The rest of 4xx is about rights
  // and names.
  return status >= 300 && status < 500 ? Verdict::blocked : Verdict::retryable;
}

std::string words_of(const HttpReply& reply) {
  std::string words = text("HTTP ", reply.status);
  if (const auto where = reply.header("location"); reply.status / 100 == 3 && !where.empty())
    words += text(" to ", printable(to_bytes(where), 200), " (redirects are not followed)");
  if (is_page(reply)) return words + ", with a page for people: a proxy or a captive portal?";
  const std::string_view body = trim(reply.body);
  if (!body.empty()) words += ": " + printable(to_bytes(body.substr(0, 300)), 300);
  return words;
}

bool is_page(const HttpReply& reply) {
  return lower(reply.header("content-type")).starts_with("text/html") || trim(reply.body).starts_with("<!") ||
         lower(trim(reply.body).substr(0, 5)) == "<html";
}

DialectOutcome not_believed(const HttpReply& reply) {
  return {Verdict::retryable, {}, text("not believed: ", words_of(reply))};
}

DialectOutcome outcome_of_status(const HttpReply& reply) {
  DialectOutcome outcome;
  outcome.verdict = verdict_of_status(reply.status);
  outcome.reason = words_of(reply);
  outcome.too_large = reply.status == 413;
  outcome.doubtful = outcome.verdict == Verdict::refused && !outcome.too_large;
  if (is_page(reply) && outcome.verdict == Verdict::refused && !outcome.too_large)
    outcome.verdict = Verdict::retryable;
  return outcome;
}

}  // namespace millrace
