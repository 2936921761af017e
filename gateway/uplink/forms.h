// The forms in which records leave by HTTPS: one by one as protobuf (message Record) or JSON, each with its
// identity; or as the columnar batch they lie in. Kafka's are kinds (form_kind.h). And, for every uplink, the
// records of a row. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "log/log.h"
#include "record/record_proto.h"

namespace millrace {

enum class Form : std::uint8_t { record, json, batch };
inline constexpr const char* form_words = "record|json|batch";
Form form_of(std::string_view word);

// The records of a row, in the order of their numbers. `corrupt`: it cannot be read, and is to be refused as
// it is; `out` is empty then.
Status records_of(const Row& row, std::vector<Record>& out);
// Appends one record in `form`, which is none of batches.
void append_record(Form form, const Identity& identity, Lane lane, const Record& record, std::string& out);

}  // namespace millrace
