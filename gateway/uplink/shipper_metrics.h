// What a shipper counts, under its uplink's name.
#pragma once

#include <string>

#include "base/metrics.h"

namespace millrace {

struct ShipperMetrics {
  Counter &records_sent, &bytes_sent, &retries, &refused, &expired, &skipped, &corrected;
  Gauge &up, &on_duty, &backlog, &eta, &breaker, &blocked, &size_limit, &waits_for_clock;
  Histogram& round_trip;

  ShipperMetrics(Metrics& metrics, const std::string& uplink)
      : records_sent(counter(metrics, "records", "Records acknowledged by the far side", uplink)),
        bytes_sent(counter(metrics, "bytes", "Payload bytes acknowledged by the far side", uplink)),
        retries(counter(metrics, "retries", "Batches that must be sent again", uplink)),
        refused(counter(metrics, "refused_records",
                        "Records the far side will never take, kept in the dead lane", uplink)),
        expired(counter(metrics, "expired_records", "Records older than max_age, not sent", uplink)),
        skipped(counter(metrics, "skipped_records",
                        "Records that the far side has no form for by nature, passed over", uplink)),
        corrected(counter(metrics, "corrected_records",
                          "Records stamped before the clock was set, corrected before they were sent",
                          uplink)),
        up(gauge(metrics, "up", "Whether the far side can be reached", uplink)),
        on_duty(gauge(metrics, "on_duty",
                      "Whether this one sends: 0 for a standby that waits, and for whom its standby sends",
                      uplink)),
        backlog(gauge(metrics, "backlog_records", "Records not yet acknowledged", uplink)),
        eta(gauge(metrics, "drain_eta_seconds",
                  "Until the backlog is gone at the present rates; +Inf when it grows", uplink)),
        breaker(gauge(metrics, "breaker_open", "Whether the circuit breaker holds sending back", uplink)),
        blocked(
            gauge(metrics, "blocked",
                  "Whether somebody must act: a certificate, a password, a missing topic; status says why",
                  uplink)),
        size_limit(gauge(metrics, "size_limit_bytes",
                         "The smallest record the far side refused, where a size limit is suspected; 0: none",
                         uplink)),
        waits_for_clock(gauge(metrics, "waits_for_clock",
                              "Whether records wait for a clock that is trusted (gateway.clock_wait)",
                              uplink)),
        round_trip(metrics.histogram("millrace_uplink_round_trip_seconds",
                                     "From sending a batch to its acknowledgement", {{"uplink", uplink}})) {}

 private:
  static Counter& counter(Metrics& metrics, const std::string& what, const char* help,
                          const std::string& uplink) {
    return metrics.counter("millrace_uplink_" + what + "_total", help, {{"uplink", uplink}});
  }
  static Gauge& gauge(Metrics& metrics, const std::string& what, const char* help,
                      const std::string& uplink) {
    return metrics.gauge("millrace_uplink_" + what, help, {{"uplink", uplink}});
  }
};

}  // namespace millrace
