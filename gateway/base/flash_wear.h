// What the flash under a folder says of its own life: eMMC tells it in sysfs (JEDEC JESD84-B51,
// sections 7.4.24 and 7.4.25, as the kernel shows it), in steps of a tenth. SD cards and most others say
// nothing. Looked at seldom.
#pragma once

#include <optional>
#include <string>

namespace millrace {

struct FlashWear {
  std::string device;               // "mmcblk0"; empty: the folder lies on no block device
  std::optional<int> used_percent;  // 10 to 100; 110: beyond its life
};

// `sys`: where sysfs is, for tests.
FlashWear flash_wear(const std::string& folder, const std::string& sys = "/sys");
// Of a block device by its numbers.
FlashWear flash_wear_of(unsigned major, unsigned minor, const std::string& sys);

}  // namespace millrace
