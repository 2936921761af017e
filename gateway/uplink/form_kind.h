// A form in which records leave by Kafka: a file in uplink/forms and a line in the build; nothing else knows
// it. `format = "..."` of uplinks.kafka takes its name. One record becomes one message, or one row of the log
// does. Pure.
//
// The dialects of uplinks.https that offer the choice have three of their own (forms.h): a message of theirs
// has no headers beside it, so that a batch is an Envelope there, and each form has a content type. A form
// here is none there.
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
  const char* schema = "";  // what readers tell it by, in one word
  // In a schema registry: under which name, of which type, the schema itself, and what stands in front of a
  // message to say which of the schema's it is. Null: it has no schema there, and `schema_registry` goes not
  // with it.
  struct Registered {
    const char *subject = nullptr, *type = nullptr, *schema = nullptr, *index = "";
  } registered;

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
