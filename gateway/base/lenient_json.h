// JSON as sloppy firmware writes it. What RFC 8259 allows is told as read_json() tells it, and as fast, so
// that no payload has to be read twice. What is read beyond it:
//   a byte order mark; NUL, blanks, STX and ETX, record separators (RFC 7464) around a document; several
//     documents, a line each or not
//   nan, inf, infinity, none, undefined and the like as bare words: no value. True, FALSE
//   +1, .5, 5., 007, 0x1F; a comma too many; names without quotes, texts in '; raw control characters
//   text that is not UTF-8: UTF-16 where it begins with its mark; else bytes that are none are read as
//   ISO 8859-1, and said
// A bare word that is none of these, half of a surrogate pair or a \ that means nothing costs its own member;
// so do 21,5 outside of a list, for nobody knows what the comma means, and what is nested too deeply.
// Where brackets do not fit, or the bytes end too early, the document ends: the handler is told, and what
// follows in a new line is read on.
#pragma once

#include <string>

#include "base/json.h"

namespace millrace {

struct LenientJson {
  bool latin1 = false;  // some bytes were not UTF-8
  std::size_t documents = 0;
};

// What the handler beside JsonHandler's is told of. It goes on where that returns true.
class LenientHandler : public JsonHandler {
 public:
  virtual bool unreadable(std::string_view token) = 0;  // a value that is none
  // Octets, of which JSON has none: a text as far as the handler does not care.
  virtual bool octets(std::string_view as_hex) { return string(as_hex); }
  // Values of a member whose name cannot be: they are not told one by one.
  virtual void skipped(std::string_view name, std::size_t values, std::string_view why) = 0;
  virtual void broken(const std::string& why) = 0;  // the document ends here
  // A number that came as a double, or as an integer that is one. False: nothing was told, and it is wanted
  // spelled, as number().
  virtual bool takes_double(double) { return false; }
};

// nan, inf, infinity, null, none, nil, undefined, n/a in any case and with a sign, and what C libraries
// print: nan(ind), 1.#QNAN.
bool says_no_value(std::string_view word);

// Not ok: the handler stopped. Text is valid until the call returns.
Status read_lenient_json(BytesView bytes, LenientHandler& handler, LenientJson& found);

}  // namespace millrace
