// What an endpoint counts, under its input's name.
#pragma once

#include <string>

#include "base/metrics.h"

namespace millrace {

struct EndpointMetrics {
  Gauge &up, &connections, &connections_allowed, &strangers, &sessions, &memory_bytes, &unreleased;
  Counter &connects, &refused, &over_limit, &faults, &publishes, &redelivered, &denied, &events_left_out;
  Counter &too_large, &quota, &sessions_refused, &sessions_dropped;
  Histogram& ack_seconds;

  EndpointMetrics(Metrics& metrics, const std::string& input)
      : up(metrics.gauge("millrace_input_up", "Whether the input is connected", {{"input", input}})),
        connections(gauge(metrics, "connections", "Devices connected", input)),
        connections_allowed(gauge(metrics, "connections_allowed",
                                  "Connections there may be: connections_max, or what the descriptors leave",
                                  input)),
        strangers(
            gauge(metrics, "strangers", "Connections whose device has not said or proved who it is", input)),
        sessions(gauge(metrics, "sessions", "Sessions kept, of connected devices and others", input)),
        memory_bytes(gauge(metrics, "memory_bytes",
                           "What all connections hold: beginnings of packets, answers, aliases, wills",
                           input)),
        unreleased(gauge(metrics, "unreleased_messages",
                         "QoS 2 messages stored whose connected client has not sent PUBREL", input)),
        connects(counter(metrics, "connects", "Connections that were let in", input)),
        refused(counter(metrics, "refused",
                        "Connections that were refused: credentials, versions, client identifiers", input)),
        over_limit(counter(metrics, "over_limit", "Connections closed because there were too many", input)),
        faults(
            counter(metrics, "faults", "Connections ended for what they sent, or for their silence", input)),
        publishes(counter(metrics, "publishes", "Messages taken", input)),
        redelivered(counter(metrics, "redelivered",
                            "Messages that were stored already and are acknowledged again", input)),
        denied(counter(metrics, "denied", "Messages to topics their publisher may not publish to", input)),
        events_left_out(counter(metrics, "events_left_out",
                                "Comings and goings beyond a client's share of events, or that of the "
                                "address new ones come from: told by the number with the next one",
                                input)),
        too_large(counter(metrics, "too_large",
                          "Messages larger than packet_max, of which the dead lane has the head", input)),
        quota(counter(metrics, "quota", "Messages refused because the log is full", input)),
        sessions_refused(
            counter(metrics, "sessions_refused", "Sessions not kept because there are too many", input)),
        sessions_dropped(counter(metrics, "sessions_dropped",
                                 "Sessions ended at start because sessions_max is lower than before", input)),
        ack_seconds(metrics.histogram(
            "millrace_endpoint_ack_seconds",
            "From a message to the commit that lets it be acknowledged, the first of each read",
            {{"input", input}})) {}

 private:
  static Counter& counter(Metrics& metrics, const std::string& what, const char* help,
                          const std::string& input) {
    return metrics.counter("millrace_endpoint_" + what + "_total", help, {{"input", input}});
  }
  static Gauge& gauge(Metrics& metrics, const std::string& what, const char* help, const std::string& input) {
    return metrics.gauge("millrace_endpoint_" + what, help, {{"input", input}});
  }
};

}  // namespace millrace
