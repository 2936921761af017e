// The way in for drivers whose peer is told "accepted" before the commit. What is put here survives the death
// of the process (not of the machine); the log takes it over, with the inbox's position in the same
// transaction.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "ingest/arrival.h"
#include "ingest/intake.h"
#include "record/fit_letter.h"

namespace millrace {

class Inbox {
 public:
  // Of a message that can never fit, so many bytes are kept at most.
  static constexpr std::size_t head_bytes = letter_head_bytes;

  virtual ~Inbox() = default;
  // Any thread. A copy; no system call unless the loop sleeps (of what is patient, not while it comes often);
  // never waits for the loop. Three answers: stored; no room now (`full`: nothing was stored, wait_room() and
  // try again); never, which is stored too, but as no more than its head and its size (Arrival::whole_bytes),
  // so that the peer may forget it and a person can see it in the dead lane. A recognised redelivery is
  // dropped and counted: ok, ticket of the first.
  virtual Result<Ticket> put(const Arrival& arrival) = 0;
  // How many bytes of topic and payload together put() takes whole from this input, however the rest of the
  // inbox looks.
  virtual std::size_t message_max(std::string_view input) const = 0;
  // Foreign threads only: waits until something is released, at most that long. False: the inbox is closed.
  virtual bool wait_room(Duration longest) = 0;
  // Foreign threads only. Woken by the log's writer thread. Not ok: not durable, do not acknowledge.
  virtual Status wait_durable(Ticket ticket) = 0;
  // Bytes it can hold. Any thread.
  virtual std::size_t capacity() const = 0;
  // How full it is, 0 to 1. Any thread.
  virtual double fill() const = 0;
  // Any thread. What proves that a message of this input came before proves it no more: the peer has begun
  // anew, or is another.
  virtual void forget_session(std::string_view input) = 0;
  // Any thread. The peer has released a QoS 2 message (PUBREL): what comes under its identifier is new.
  virtual void released(std::string_view input, std::uint16_t packet_id) = 0;
};

}  // namespace millrace
