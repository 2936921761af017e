// The Kafka uplink's sending: batches become messages, reports become outcomes; with exactly_once a batch is
// a transaction.
#include <librdkafka/rdkafka.h>

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "uplink/kafka/kafka_errors.h"
#include "uplink/kafka/kafka_uplink.h"
#include "uplink/pace.h"

namespace millrace {
namespace {

constexpr int row_bits = 24;  // of a message's number: which row of which sending
constexpr int alone_for = 16;
constexpr std::size_t transaction_bytes_max = 2 << 20;
constexpr std::uint64_t marker_row = (std::uint64_t{1} << row_bits) - 1;

}  // namespace

// After a full batch: doubled while it takes no longer than what the shipper aims at, who sees to the link's
// part. A transaction is doubled while it waits for more than a tenth of its time for its end.
void KafkaUplink::adapt(const Sending& sending) {
  if (!growth_.is_full(sending.bytes)) return;
  const Duration all = loop_.now() - sending.begun;
  if (config_.exactly_once) {
    if ((loop_.now() - sending.delivered) * 10 > all) growth_.grow_to(transaction_bytes_max);
  } else if (all < Pace::longest) {
    growth_.grow();
  }
}

void KafkaUplink::send(Batch batch, std::function<void(Outcome)> done) {
  Sending& sending = sendings_.emplace_back();
  sending.id = next_sending_++;
  sending.begun = loop_.now();
  for (const Row& row : batch.rows) sending.bytes += row.columns->size();
  sending.errors.resize(batch.rows.size());
  sending.stored.resize(batch.rows.size());
  sending.batch = std::move(batch);
  sending.done = std::move(done);
  const std::uint64_t id = sending.id;
  const auto later = [this, alive = alive_](auto task) {
    loop_.post([alive, task] {
      if (*alive) task();
    });
  };
  if (!reconnect_.is_up() || !producer_) {
    return later([this, id] {
      const auto found =
          std::find_if(sendings_.begin(), sendings_.end(), [id](const Sending& s) { return s.id == id; });
      if (found == sendings_.end()) return;
      Sending failed = std::move(*found);
      sendings_.erase(found);
      failed.errors.assign(failed.errors.size(), RD_KAFKA_RESP_ERR__TRANSPORT);
      finish(std::move(failed));
    });
  }
  wait_for(sending);
  if (config_.exactly_once) {
    const KafkaAnswer begun = producer_->begin();
    if (!begun.ok()) {
      return later([this, words = begun.text] {
        if (reconnect_.is_up()) lost("cannot begin a transaction: " + words);
      });
    }
  }
  give_more();
  if (sendings_.size() == 1 && sendings_.front().flying == 0) later([this] { look_at_finished(); });
}

// Anew at each delivery: on a slow link a sending leaves in several requests.
void KafkaUplink::wait_for(Sending& sending) {
  sending.deadline = loop_.after(config_.send_timeout, [this] {
    for (Sending& open : sendings_) open.late = true;
    lost("no acknowledgement in time");
  });
}

void KafkaUplink::give_more() {
  for (Sending& sending : sendings_) {
    const bool first = &sending == &sendings_.front();
    if (alone_ > 0 && !first) return;
    if (first && sending.row == 0 && sending.given == 0) sending.alone = true;
    if (!first) {
      sendings_.front().alone = false;  // they share the way from here on
      sending.alone = false;
    }
    if (!give(sending)) return;
  }
}

// Hands the sending's messages to librdkafka; false when its queue is full, to be gone on with after
// deliveries.
bool KafkaUplink::give(Sending& sending) {
  while (!sending.all_given()) {
    const Row& row = sending.batch.rows[sending.row];
    int& worst = sending.errors[sending.row];
    if (sending.stored[sending.row]) {
      ++sending.row;
      continue;
    }
    if (worst == 0 && making_ != std::pair(sending.id, sending.row)) {
      making_ = {sending.id, sending.row};
      if (Status status = messages_.begin(row, sending.batch.replay); !status.ok()) {
        LOG_ERROR("uplink ", config_.name, ": row ", row.first, ": ", status.detail());
        worst = RD_KAFKA_RESP_ERR__BAD_MSG;
      }
      // Somebody else's turn came in between: what was given of this row is not given again.
      for (std::size_t i = 0; i < sending.given && worst == 0; ++i) (void)messages_.next(message_);
    }
    while (worst == 0 && messages_.next(message_)) {
      const int error = producer_->produce(message_, -1, sending.id << row_bits | sending.row);
      if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        messages_.back();
        return false;
      }
      ++sending.given;
      sending.asked = sending.asked || error == 0;
      if (error == 0) ++sending.flying;
      else worst = error;
    }
    ++sending.row;
    sending.given = 0;
  }
  if (config_.exactly_once && !sending.marker_sent) {
    sending.marker_sent = true;
    if (sending.batch.marker.empty()) return true;
    const KafkaMessage marker{
        config_.marker_topic, marker_key_, std::string(text_of(sending.batch.marker)), {}};
    const int error = producer_->produce(marker, marker_partition_, sending.id << row_bits | marker_row);
    if (error == 0) ++sending.flying;
    else
      for (int& row : sending.errors) row = error;
  }
  return true;
}

void KafkaUplink::on_delivered(std::uint64_t message, int error) {
  const std::uint64_t id = message >> row_bits, row = message & marker_row;
  const auto sending =
      std::find_if(sendings_.begin(), sendings_.end(), [id](const Sending& s) { return s.id == id; });
  if (sending == sendings_.end()) return;
  --sending->flying;
  if (error == 0) {
    sending->moved = true;
    return;
  }
  const auto note = [error](int& worst) {
    if (outweighs(verdict_of_kafka(error), verdict_of_kafka(worst))) worst = error;
  };
  if (row == marker_row) std::for_each(sending->errors.begin(), sending->errors.end(), note);
  else note(sending->errors.at(row));
}

// After deliveries: there may be room for more, and sendings that have all their reports are done, in order.
void KafkaUplink::look_at_finished() {
  if (!producer_ || ending_) return;
  for (Sending& sending : sendings_) {
    if (std::exchange(sending.moved, false)) wait_for(sending);
  }
  give_more();
  while (!sendings_.empty() && !ending_) {
    Sending& first = sendings_.front();
    if (!first.all_given() || first.flying > 0) return;
    if (config_.exactly_once) return end_transaction(first);
    if (!give_alone(first)) return;
    adapt(first);
    Sending finished = std::move(first);
    sendings_.pop_front();
    finish(std::move(finished));
    if (!producer_) return;
    give_more();
  }
}

// A sending that was refused in company is given once more, alone. False while that is to come.
bool KafkaUplink::give_alone(Sending& sending) {
  const bool refused = std::any_of(sending.errors.begin(), sending.errors.end(),
                                   [](int error) { return verdict_of_kafka(error) == Verdict::refused; });
  if (refused) alone_ = alone_for;
  else if (alone_ > 0) --alone_;
  if (!refused || sending.alone) return true;
  if (std::any_of(sendings_.begin(), sendings_.end(), [](const Sending& other) { return other.flying > 0; }))
    return false;
  for (std::size_t i = 0; i < sending.errors.size(); ++i) sending.stored[i] = sending.errors[i] == 0;
  sending.errors.assign(sending.errors.size(), 0);
  sending.row = 0;
  making_ = {};
  sending.alone = true;
  (void)give(sending);
  return sending.all_given() && sending.flying == 0;
}

void KafkaUplink::end_transaction(Sending& sending) {
  ending_ = true;
  sending.delivered = loop_.now();
  const bool good =
      std::all_of(sending.errors.begin(), sending.errors.end(), [](int error) { return error == 0; });
  on_worker<std::pair<KafkaAnswer, bool>>(
      [producer = producer_, good, timeout = config_.transaction_timeout](std::pair<KafkaAnswer, bool>& out) {
        auto& [answer, committed] = out;
        committed = good;
        if (good) {
          answer = producer->commit(timeout);
          for (int again = 0; again < 3 && !answer.ok() && answer.retriable; ++again)
            answer = producer->commit(timeout);
          if (answer.ok() || !answer.must_abort) return;
        }
        committed = false;
        const KafkaAnswer why = answer;
        answer = producer->abort(timeout);
        if (answer.ok()) answer.text = why.text;
      },
      [this](const std::pair<KafkaAnswer, bool>& out) { on_ended(out.first, out.second); });
}

// Committed; or aborted, and then none of it is there; or nobody knows, and only the marker does.
void KafkaUplink::on_ended(const KafkaAnswer& answer, bool committed) {
  ending_ = false;
  if (!answer.ok())
    return lost("the outcome of a transaction is not known, the marker will tell: " + answer.text);
  Sending sending = std::move(sendings_.front());
  sendings_.pop_front();
  if (committed && !sending.batch.marker.empty()) marker_ = sending.batch.marker;
  adapt(sending);
  if (!committed) {
    // The verdict of the worst row is about all of them: the shipper halves what is refused until it stands
    // alone.
    int worst = 0;
    for (const int error : sending.errors) {
      if (outweighs(verdict_of_kafka(error), verdict_of_kafka(worst))) worst = error;
    }
    if (worst == 0) worst = RD_KAFKA_RESP_ERR__STATE;
    sending.errors.assign(sending.errors.size(), worst);
  }
  finish(std::move(sending));
  look_at_finished();
}

void KafkaUplink::finish(Sending sending) {
  Outcome outcome;
  outcome.late = sending.late;
  outcome.unasked = !sending.asked;
  // A transaction is stored as a whole, or not at all.
  outcome.some = !config_.exactly_once && std::ranges::count(sending.errors, 0) > 0;
  for (std::uint32_t i = 0; i < sending.errors.size(); ++i) {
    const int error = sending.errors[i];
    if (error == 0) continue;
    outcome.open.push_back(i);
    if (outweighs(verdict_of_kafka(error), outcome.verdict)) {
      outcome.verdict = verdict_of_kafka(error);
      outcome.reason = kafka_error_text(error);
    }
  }
  sending.done(outcome);
}

void KafkaUplink::fail_sendings() {
  std::deque<Sending> failed;
  failed.swap(sendings_);
  for (Sending& sending : failed) {
    // What the far side has told us about stays as it said; the rest is to be sent again.
    const bool nothing_known = config_.exactly_once || !sending.all_given() || sending.flying > 0;
    if (nothing_known) sending.errors.assign(sending.errors.size(), RD_KAFKA_RESP_ERR__TRANSPORT);
    finish(std::move(sending));
  }
}

}  // namespace millrace
