// A span of time as people say it, rounded: "0.4 s", "40 s", "12 min", "3 days". What is to be read again by
// a program or a configuration is format_duration()'s (base/text.h).
#pragma once

#include <string>

namespace millrace {

std::string span_words(double seconds);

}  // namespace millrace
