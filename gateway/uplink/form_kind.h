// A form in which records leave: a file in uplink/forms and a line in the build; nothing else knows it.
// `format = "..."` of uplinks.kafka and of the dialects of uplinks.https that offer the choice takes its
// name. One record becomes one message, or one row of the log does. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "config/keys.h"
#include "log/log.h"
#include "record/record_proto.h"

namespace millrace {

struct FormKind : ChoiceKind {
  // Appends one record with its identity. Null where a message is a row.
  void (*record)(const Identity&, Lane, const Record&, std::string& out) = nullptr;
  // Appends a row, whose identity stands beside it. `corrupt`: it cannot be read, and is to be refused as it
  // is.
  Status (*row)(const Row&, std::string& out) = nullptr;
  // The same where nothing stands beside it (HTTPS): with its identity in it. Of every form of rows.
  Status (*row_alone)(std::string_view gateway, std::uint64_t epoch, const Row&, std::string& out) = nullptr;
  const char* schema = "";  // what readers tell it by, in one word
  // In a schema registry: under which name, of which type, the schema itself, and what stands in front of a
  // message to say which of the schema's it is. Null: it has no schema there, and `schema_registry` goes not
  // with it.
  struct Registered {
    const char *subject = nullptr, *type = nullptr, *schema = nullptr, *index = "";
  } registered;
  // The body of an HTTP request, messages one behind the other.
  struct Body {
    const char* type = "application/octet-stream";  // Content-Type
    // a message is text without a line's end, and ends a line; any other stands behind its length
    bool lines = false;
    bool json = false;  // it is JSON, and can be in a list
  } body;

  bool of_rows() const { return row != nullptr; }
};

inline constexpr Shape no_form_keys{};

constexpr FormKind form_kind(std::string_view name, const char* help) {
  FormKind kind;
  kind.name = name;
  kind.help = help;
  kind.shape = &no_form_keys;
  return kind;
}

// The forms that are built (FormKind), in the order of CMakeLists.txt.
const ChoiceKinds& built_forms();
// The one of this name, which is one of theirs: a key that takes it says so.
const FormKind& form_called(std::string_view name);

}  // namespace millrace
