// Slow decoders of payloads, written against the standards and not against ours: what they find in a payload
// is what a route without [metrics] must make of it. They know the strict languages only; where a payload
// leaves these they say how far it was sure. For tests.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::reference {

__extension__ typedef __int128 Wide;

// What must be read (by metric: the value as readings_of() says it), and metrics of which nothing is said,
// because they have something that a record cannot hold exactly or that came behind a fault.
struct Expected {
  std::map<std::string, std::string> sure;
  std::set<std::string> open;
  bool whole = true;  // the payload is of the language from its first byte to its last

  void put(const std::string& metric, const std::optional<std::string>& value);
  void forget(const std::string& metric) { sure.erase(metric), open.insert(metric); }
};

// RFC 8259 and the naming rule of docs/payloads.md. A value is sure once what stands behind it is.
Expected of_json(std::string_view payload);
// RFC 8949; what stands before a fault is sure.
Expected of_cbor(std::string_view payload);
// RFC 8428. In JSON what stands before a fault is sure, in CBOR nothing comes behind one.
Expected of_senml(std::string_view payload);
Expected of_senml_cbor(std::string_view payload);
// RFC 4180, with a first line that names the columns.
Expected of_csv(std::string_view payload);

// A cell of a table, or what a pattern took, as the reading `name`.
void put_cell(Expected& out, const std::string& name, const std::string& cell);
// RFC 4648, in either alphabet, blanks passed over; and pairs of digits. False: it is none.
bool from_base64(std::string_view given, std::string& out);
bool from_hex(std::string_view given, std::string& out);
// "a.b", with quotes where the rule of names asks for them.
std::string step(const std::string& path, const std::string& name);
bool utf8(std::string_view text);
bool has_control(std::string_view text, bool lines_are_good);

// As readings_of() says it; nothing: no reading, or none that can be foretold.
std::optional<std::string> number(std::string_view spelling);
std::optional<std::string> as_text(std::string_view text);
// Numbers that a lenient reader may find in a text: of each run of characters between signs and blanks.
std::set<std::string> numbers_in(std::string_view payload);

}  // namespace millrace::reference
