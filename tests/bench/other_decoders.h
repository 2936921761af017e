// Decoders of others, to stand beside ours in the same run: each goes through payloads and touches every
// value, and makes nothing of them. simdjson (its walk on demand) for JSON and SenML, libcbor for CBOR,
// libcsv for CSV, libprotobuf for Sparkplug.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace millrace::others {

// How many values there were, without names; 0: it could not read one of them.
std::size_t json(const std::vector<std::string>& payloads);
std::size_t cbor(const std::vector<std::string>& payloads);
std::size_t csv(const std::vector<std::string>& payloads);
std::size_t sparkplug(const std::vector<std::string>& payloads);

}  // namespace millrace::others
