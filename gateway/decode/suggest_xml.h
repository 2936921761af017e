// Of suggest.cpp: XML, whose elements with a text become groups of a pattern. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace::suggested {

// The keys of format = "text" that read the elements of `value`, in their order; empty: it is no XML, or none
// of them has a text.
std::string keys_of_xml(std::string_view value);

}  // namespace millrace::suggested
