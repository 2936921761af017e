// What an uplink puts on its link, counted for whoever pays by the byte: as TCP carries it, with TLS, heads
// and handshakes, without IP's and TCP's own heads. Every kind that can count it counts it here.
#pragma once

#include <string>

#include "base/metrics.h"
#include "net/counted_stream.h"

namespace millrace {

inline WireCount wire_count_of(const std::string& uplink, Metrics& metrics) {
  const Labels labels{{"uplink", uplink}};
  return {metrics.counter("millrace_uplink_wire_sent_bytes_total",
                          "Bytes sent as TCP carries them: TLS, heads, handshakes, what came again", labels),
          metrics.counter("millrace_uplink_wire_received_bytes_total", "Bytes received, likewise", labels)};
}

}  // namespace millrace
