// A sentence of NMEA 0183 (IEC 61162-1): what stands around it, its address, its checksum. Views into the
// line.
#pragma once

#include <string_view>

namespace millrace {

struct Sentence {
  bool ok = false;                // it is one, and its checksum, where it has one, is right
  bool summed = false;            // it has a checksum
  bool encapsulated = false;      // begins with '!'
  std::string_view talker, type;  // "GP", "RMC"; "P", "GRME" of a proprietary one
  std::string_view fields;        // behind the address' comma, without the checksum
  std::string_view whole;         // without a tag block and the end of the line
};

// `line`: from '$', '!' or the '\' of a tag block (NMEA 4.10, which has a checksum of its own).
Sentence split_sentence(std::string_view line);

}  // namespace millrace
