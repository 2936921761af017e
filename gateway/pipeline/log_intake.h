// The intake (ingest/intake.h) as the log gives it: what drivers on the loop offer is decoded at once and
// gathered into one set, which joins the open group at commit() without passing through the inbox; whoever
// waits is told when it is fsynced. On the loop.
#pragma once

#include <map>
#include <memory>

#include "loop/loop.h"
#include "pipeline/decoding.h"
#include "pipeline/known_inputs.h"
#include "pipeline/pressure.h"

namespace millrace {

class LogIntake final : public Intake {
 public:
  LogIntake(Loop& loop, Log& log, KnownInputs& inputs, Decoding& decoding, const Pressure& pressure)
      : loop_(loop), log_(log), inputs_(inputs), decoding_(decoding), pressure_(pressure) {}

  Handle attach(Peer peer) override;
  bool offer(const Arrival& arrival) override;
  void note_duplicate(std::string_view input) override;
  void report(Record event) override;
  Status put_state(std::string name, Bytes bytes) override;
  std::optional<Bytes> state(std::string_view name) const override;
  std::vector<std::string> states(std::string_view prefix) const override;
  Ticket commit(std::optional<Duration> within) override;
  std::size_t room() const override { return pressure_.pressed() ? 0 : log_.room(); }

  // The log may have room again: who was told busy hears of it.
  void on_room();

 private:
  void tell_peers(bool durable);

  Loop& loop_;
  Log& log_;
  KnownInputs& inputs_;
  Decoding& decoding_;
  const Pressure& pressure_;
  std::map<std::uint64_t, std::shared_ptr<const Peer>> peers_;
  std::uint64_t next_id_ = 1;       // of peers
  WriteSet offered_;                // since the last commit()
  std::size_t records_before_ = 0;  // that the last commit() took
  Ticket ticket_ = 0, durable_through_ = 0;
  Ticket failed_ = UINT64_MAX;  // the first one whose commit failed
  bool accepted_ = false;       // the log took the first offer since the last commit()
  bool busy_ = false, telling_ = false;
};

}  // namespace millrace
