// The way in for drivers on the loop whose peer hears "accepted" after the commit: what is offered joins the
// log's open group and is told durable once that group is fsynced. Nothing of it survives the process before
// that, so that a payload never comes twice: from here after a crash, and again from its sender. Small
// durable values of the driver (what a session has stored already) move in the same commit as the payloads
// they speak of. On the loop.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/handle.h"
#include "base/status.h"
#include "base/time.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

using Ticket = std::uint64_t;

class Intake {
 public:
  // How a driver hears back. All calls come on the loop, never inside the driver's own.
  struct Peer {
    std::function<void(Ticket through)> durable;  // everything up to `through` is fsynced; once a group
    std::function<void()> room;                   // after `busy`: offer() may be tried again
  };

  virtual ~Intake() = default;
  // Until the handle goes: then nothing of `peer` is called any more, also while others are being told.
  virtual Handle attach(Peer peer) = 0;

  // Decoded at once; the arrival is not looked at later. What cannot be decoded, or is too large
  // (`whole_bytes`), is taken all the same: it is kept in the dead lane. False: there is no room, nothing was
  // taken; stop reading until room().
  virtual bool offer(const Arrival& arrival) = 0;
  // A payload that the driver recognised as taken before: for the ledger.
  virtual void note_duplicate(std::string_view input) = 0;
  // An event of the driver's own (a device came or went), for the alarm lane.
  virtual void report(Record event) = 0;
  // A durable value under a name of the driver's choice, unique among all inputs; empty bytes remove it.
  // `full` when there is no room for it in the log's state: the value before stands, and the log has told the
  // operator. Removing is never refused.
  virtual Status put_state(std::string name, Bytes bytes) = 0;
  // As of the last put_state(), committed or not.
  virtual std::optional<Bytes> state(std::string_view name) const = 0;
  // The names of all durable values that begin with `prefix`.
  virtual std::vector<std::string> states(std::string_view prefix) const = 0;

  // Hands what was offered since the last call to the log, as one. The ticket covers all of it. With `within`
  // somebody waits for it: the group is closed that soon (0: at once).
  virtual Ticket commit(std::optional<Duration> within) = 0;

  // Bytes that may be offered before it would say busy, about.
  virtual std::size_t room() const = 0;
};

}  // namespace millrace
