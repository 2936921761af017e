// NMEA 0183 (IEC 61162-1): sentences to readings with names and units. Positions, courses, winds, depths, temperatures and
// transducers are read; every other sentence, AIS and what is a maker's own among them, is passed on whole, as a text.
#pragma once

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_nmea_format(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
