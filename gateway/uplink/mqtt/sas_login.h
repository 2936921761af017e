// Logins of Azure IoT Hub by a device's symmetric key: a shared access signature (Microsoft's documentation,
// "Control access to IoT Hub with shared access signatures") that is good for a while, and is made anew
// before it is over. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "base/time.h"

namespace millrace {

// "SharedAccessSignature sr=RESOURCE&sig=...&se=UNTIL". `resource`: "HUB/devices/DEVICE"; `key`: base64, as
// the portal shows it. `invalid`: it is no key.
Result<std::string> sas_login(std::string_view resource, std::string_view key, WallTime until);

}  // namespace millrace
