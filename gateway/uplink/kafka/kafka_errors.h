// What an error of librdkafka or of a Kafka broker means for the records it was about: one table for all of
// them.
#pragma once

#include <string>

#include "uplink/uplink.h"

namespace millrace {

// `error`: rd_kafka_resp_err_t, 0 for none. What nobody has classified is retryable: nothing is lost by
// trying again.
Verdict verdict_of_kafka(int error);
// Whether the table has a row for it.
bool kafka_error_is_classified(int error);
// Whether a newer producer has our transactional id, or the broker gave up our transaction: only a new
// producer goes on.
bool kafka_error_is_fencing(int error);
// "MSG_SIZE_TOO_LARGE: Broker: Message size too large".
std::string kafka_error_text(int error);

}  // namespace millrace
