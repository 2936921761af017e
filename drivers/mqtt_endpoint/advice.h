// What a person does about a device that was turned away, by why it was.
#pragma once

#include <string>
#include <string_view>

#include "drivers/mqtt_endpoint/endpoint_config.h"

namespace millrace {

std::string advice_on(std::string_view why, const EndpointConfig& config);

}  // namespace millrace
