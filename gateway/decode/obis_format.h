// Telegrams of meters (IEC 62056-21; P1 ports as DSMR and its neighbours have them) to readings: names of the common OBIS
// codes (IEC 62056-61) with the meter's own units, all others by their code.
#pragma once

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_obis_format(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
