#include "letters.h"

#include "base/text.h"
#include "base/utf8.h"
#include "record/batch.h"
#include "record/fit_letter.h"
#include "record/record_proto.h"

namespace millrace {

void retry_letter(SqliteLog& log, Uplinks& uplinks, Pipeline& pipeline, Range struck,
                  const Record& record_of_letter, std::function<void(Status)> done) {
  const auto& letter = std::get<DeadDetail>(record_of_letter.detail->body);
  const auto strike = [&log, struck, done](WriteSet set) {
    set.struck = {struck};
    set.urgent = true;
    log.commit(std::move(set), done);
  };
  if (letter.from_uplink()) {
    UplinkPart* uplink = uplinks.find(letter.consumer);
    if (!uplink && uplinks.contains(letter.consumer))
      return done({Code::unavailable,
                   text("the uplink \"", shown(letter.consumer), "\" is being started anew; try again")});
    if (!uplink)
      return done(
          {Code::invalid, text("the uplink \"", shown(letter.consumer), "\" is not in the configuration")});
    if (Status status = whole_letter(letter); !status.ok()) return done(status);
    auto record = decode_record(letter.payload);
    if (!record.ok()) return done(record.status());
    BatchBuilder builder;
    builder.add(record.value());
    EncodedBatch batch = builder.encode(0, 0);
    Row row;
    for (const Lane lane : all_lanes) {
      if (letter.channel == lane_name(lane)) row.lane = lane;
    }
    row.first = letter.number;
    row.count = 1;
    row.zstd = batch.zstd;
    row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
    uplink->shipper().send_again(std::move(row), [strike, done](const Outcome& outcome) {
      if (!outcome.skipped.empty())
        return done({Code::invalid, "the far side has no form for it: the uplink passes it over"});
      if (outcome.verdict == Verdict::acknowledged) return strike({});
      done({Code::unavailable, text(verdict_name(outcome.verdict), ": ", outcome.reason)});
    });
    return;
  }
  if (log.stats().blocked)  // as inputs do
    return done({Code::unavailable, "the log is full: what the payload gives has no room; try again later"});
  WriteSet set;
  if (Status status = pipeline.decode_again(record_of_letter, set); !status.ok()) return done(status);
  strike(std::move(set));
}

}  // namespace millrace
