// `millrace status` for people: what the daemon answers, as a page. What is wrong comes first, with since
// when and what to do. Pure.
#pragma once

#include <string>

#include "cli/answers.h"

namespace millrace {

struct PageStyle {
  std::size_t width = 0;  // 0: lines are not cut
  bool colour = false;
};

std::string status_page(const DaemonAnswer& status, const PageStyle& style);

// 0: all is well. 1: something is wrong that heals by itself, or wants to be looked at. 2: somebody must act.
int status_code(const DaemonAnswer& status);

// "all is well", "2 things are wrong, and somebody must act", or that it is not ready.
std::string verdict_words(const DaemonAnswer& status);

// How a command is said to the gateway that answered: "millrace", or "millrace --instance NAME".
std::string command_for(const DaemonAnswer& status);

// A text of the daemon's: without what a terminal would obey.
std::string clean(const DaemonAnswer& answer);
// Of a device that an input turned away: who, from where, why and when.
std::string refusal_words(const DaemonAnswer& refused);
// Of a record: its metric and the tags behind it, which tell devices of one name apart; and its value, a
// window's mean.
std::string metric_words(const DaemonAnswer& record);
std::string value_words(const DaemonAnswer& record, std::size_t max);
// Of an uplink's lane: what its far side does not have, and how that came: "3 dead, 1,204 evicted"; or
// nothing.
std::string undelivered_words(const DaemonAnswer& lane);
// "3 min", or "-".
std::string span_or_dash(const DaemonAnswer& seconds);
std::string size_or_dash(const DaemonAnswer& bytes);

}  // namespace millrace
