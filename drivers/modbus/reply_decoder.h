// From replies to records: a PDU on a channel (reply.h) by the rows of its device. An exception gives a
// reading without a value, of quality bad, for each row that was asked: a gap that is seen. Pure; the same
// decoder serves the live stream, what the inbox held over a crash, and dead letters.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "decode/unread.h"
#include "drivers/modbus/points.h"
#include "drivers/modbus/reply.h"
#include "ingest/arrival.h"

namespace millrace {

class ReplyDecoder {
 public:
  explicit ReplyDecoder(std::vector<Slave> slaves, std::shared_ptr<const ReportRules> rules = nullptr);
  ReplyDecoder(const ReplyDecoder&) = delete;
  ReplyDecoder(ReplyDecoder&&) = default;

  // As Router::decode: what of it can be read is appended to `out`, what cannot is in `unread`. `invalid`:
  // nothing of it.
  Status decode(const Arrival& arrival, std::vector<Record>& out, Unread& unread) const;

 private:
  std::vector<Slave> slaves_;
  std::shared_ptr<const ReportRules> rules_;
  std::map<std::string, const Slave*, std::less<>> by_name_;
};

}  // namespace millrace
