#include "drivers/modbus/modbus_trial.h"

#include "base/text.h"
#include "base/utf8.h"
#include "drivers/modbus/asker.h"
#include "drivers/modbus/poll_plan.h"
#include "drivers/modbus/reply_decoder.h"

namespace millrace {
namespace {

constexpr std::size_t values_shown = 40;  // of a device

std::string value_words(const Record& record) {
  std::string words = "?";
  if (const auto* number = std::get_if<double>(&record.value)) words = text(*number);
  else if (const auto* integer = std::get_if<std::int64_t>(&record.value)) words = text(*integer);
  else if (const auto* flag = std::get_if<bool>(&record.value)) words = text(*flag);
  else if (const auto* string = std::get_if<std::string>(&record.value))
    words = text('"', shown(*string, 60), '"');
  if (!record.unit.empty()) words += " " + record.unit;
  if (record.quality == Quality::bad) words += " (out of range)";
  return words;
}

struct Tally {
  std::string values, wrong;
  std::size_t shown = 0, more = 0;
  Duration took{0};
};

// What one block says. False: the device, or the bus, is silent or gone.
bool poll_block(const Slave& slave, const Block& block, const PlanLimits& limits, const ReplyDecoder& decoder,
                Asker& asker, Tally& tally, int depth = 0) {
  const Reply outcome = asker.ask_afresh({slave.unit, slave.timeout, limits}, block.span);
  tally.took = tally.took + outcome.took;
  const std::string where = place_words(block.span.table, block.span.first, block.span.count);
  if (outcome.answer == Answer::exception) {
    const bool address =
        outcome.exception == Exception::illegal_address || outcome.exception == Exception::illegal_value;
    const auto pieces =
        address && depth < 12 ? split_block(*slave.points, block, limits) : std::vector<Block>{};
    for (const Block& piece : pieces) {
      if (!poll_block(slave, piece, limits, decoder, asker, tally, depth + 1)) return false;
    }
    if (pieces.empty())
      tally.wrong +=
          text(tally.wrong.empty() ? "" : "; ", where, ": exception ",
               int{static_cast<std::uint8_t>(outcome.exception)}, ", ", exception_words(outcome.exception));
    return true;
  }
  if (outcome.answer != Answer::data) {
    tally.wrong += text(tally.wrong.empty() ? "" : "; ", where, ": ",
                        outcome.answer == Answer::silent    ? "no answer"
                        : outcome.echoed                    ? echo_words
                        : outcome.answer == Answer::damaged ? "a damaged answer"
                                                            : outcome.words);
    return false;
  }
  Arrival arrival;
  const std::string channel = channel_of({block.span, block.interval, slave.name});
  const Bytes pdu = reply_pdu(block.span, outcome.data);
  arrival.channel = channel;
  arrival.bytes = pdu;
  std::vector<Record> records;
  Unread unread;
  if (Status status = decoder.decode(arrival, records, unread); !status.ok() || unread.any())
    tally.wrong += text(tally.wrong.empty() ? "" : "; ", status.ok() ? unread.reason() : status.detail());
  for (const Record& record : records) {
    if (tally.shown == values_shown) ++tally.more;
    else tally.values += text(tally.shown++ > 0 ? ", " : "", record.metric, " = ", value_words(record));
  }
  return true;
}

}  // namespace

void try_modbus_online(const ModbusInputConfig& config, bool beside, std::vector<Trial>& trials) {
  const std::string bus =
      text("input ", config.name, ": ", config.over_tcp() ? config.server : config.device);
  if (beside) {
    trials.push_back({Trial::State::unsure, bus, "not tried: the running daemon holds it"});
    return;
  }
  const SystemClock clock;
  const auto never = std::make_shared<std::atomic<bool>>(false);
  const auto line = make_line(clock, config, never);
  if (Status status = line->open(); !status.ok()) {
    trials.push_back({Trial::State::bad, bus, status.detail()});
    return;
  }
  trials.push_back({Trial::State::good, bus,
                    config.tls.enabled  ? "connects, and its certificate is good"
                    : config.over_tcp() ? "connects"
                                        : "opens, and takes the speed"});
  const auto slaves = slaves_of(config);
  const ReplyDecoder decoder(slaves);
  Asker asker(clock, *line, 0, random_from_kernel(), never);
  asker.opened(config.timeout);
  for (const Slave& slave : slaves) {
    Tally tally;
    const PlanLimits limits = limits_of(slave, config);
    const std::string what = text("input ", config.name, ": ", slave.name, " (unit ", int{slave.unit}, ")");
    for (const Block& block : plan_blocks(*slave.points, limits)) {
      if (!line->is_open()) {
        if (Status status = line->open(); !status.ok()) {
          tally.wrong += text(tally.wrong.empty() ? "" : "; ", status.detail());
          break;
        }
      }
      if (!poll_block(slave, block, limits, decoder, asker, tally)) break;
    }
    std::string words = tally.values;
    if (tally.more > 0) words += text(" and ", tally.more, " more");
    if (!tally.wrong.empty()) words += text(words.empty() ? "" : "; ", tally.wrong);
    trials.push_back({tally.wrong.empty() ? Trial::State::good : Trial::State::bad, what,
                      text(words, " (", format_duration(tally.took), ")")});
  }
}

}  // namespace millrace
