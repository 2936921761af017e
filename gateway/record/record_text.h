// Records as text for people and other programs: a JSON object a line, or a line of CSV (RFC 4180).
#pragma once

#include <string>

#include "record/record.h"

namespace millrace {

// With its number and lane; no line end.
std::string record_as_json(Sequence number, Lane lane, const Record& record);
// As it is forwarded: with its identity.
std::string record_as_json(const std::string& gateway, std::uint64_t epoch, Sequence sequence, Lane lane,
                           const Record& record);
// number,lane,kind,time,device,metric,value,unit,quality,time_trust,tags,detail
std::string record_as_csv(Sequence number, Lane lane, const Record& record);
std::string csv_header();
// Bytes as text, what is not printable ASCII as \xNN; at most `max` of them.
std::string printable(const Bytes& bytes, std::size_t max);

}  // namespace millrace
