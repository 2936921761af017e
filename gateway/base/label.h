// The one door for text into a record: whatever names a device, a metric, a unit or a tag, and every text
// that is a value, passes here, wherever it came from (JSON, topics, MQTT properties, certificates, plain
// payloads, the configuration). What does not pass never becomes a record, so that every reader of a batch
// can rely on it:
//   names        UTF-8 (RFC 3629: no surrogates), no control characters (C0, DEL, C1), not empty, bounded
//   text values  UTF-8, no control characters but \t \n \r, bounded
// Bounds: device, metric, tag value and the name of a peer 256 bytes; unit and tag name 64; 32 tags, 2 KiB of
// them together; a text value 64 KiB. Fixed, not configured: state elsewhere (window keys, dictionaries of a
// batch) is sized by them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace millrace {

// identity: who a peer is (client id, user name, certificate subject), where it becomes more than a tag.
enum class Label : std::uint8_t { device, metric, unit, tag_name, tag_value, identity };

constexpr std::size_t label_bytes_max(Label label) {
  return label == Label::unit || label == Label::tag_name ? 64 : 256;
}
constexpr bool may_be_empty(Label label) { return label == Label::unit || label == Label::tag_value; }
constexpr std::size_t tags_max = 32;             // of a record
constexpr std::size_t tags_bytes_max = 2 << 10;  // names and values together
constexpr std::size_t text_value_bytes_max = 64 << 10;

// `invalid`, with which text it is, the rule it breaks and the limit: `the device's name "..." has a control
// character (U+0000 at byte 4)`. `of` says more where that helps: the tag's name, the member's path. Never
// longer than 500 bytes.
Status check_label(Label label, std::string_view given, std::string_view of = {});
Status check_text_value(std::string_view metric, std::string_view given);

}  // namespace millrace
