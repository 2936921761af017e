// The time certificates and TLS session tickets are judged by: the latest of what the wall clock says, the
// build, and the newest time that is known to have been. A box that boots in 1970 neither refuses everybody
// nor believes what expired long ago. One policy for all TLS of the process; whoever judges a certificate
// asks here. Any thread.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

WallTime certificate_time(WallTime wall);

// It is this late at least. Said again and again by who watches the clock, who also takes it back once a
// clock that is trusted says less: a clock that was years ahead for an hour must not make every certificate
// an expired one.
void set_certificate_floor(WallTime known);

// For who has TLS of its own (librdkafka): whether a certificate in DER is good at `now`, by its dates alone.
enum class CertificateDates : std::uint8_t { good, not_yet, expired, unreadable };
CertificateDates certificate_dates(BytesView der, WallTime now);

}  // namespace millrace
