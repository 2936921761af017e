// What to ask for at a time. Rows of a device that are polled as often and lie near each other are read
// together: at most 125 registers or 2000 bits a request (Modbus Application Protocol 1.1b3, 6.1 to 6.4),
// over at most `gap` registers that nobody wants. A value is never cut in two, nor from its power of ten.
// Where a device refuses a block (some refuse addresses that hold nothing), it is split: first without gaps,
// then in halves, down to the one row that it refuses. Pure.
#pragma once

#include <optional>
#include <vector>

#include "drivers/modbus/points.h"
#include "drivers/modbus/reply.h"

namespace millrace {

struct Block {
  Span span;
  Duration interval{0};
  bool operator==(const Block&) const = default;
};

struct PlanLimits {
  std::uint16_t registers_max = 125, bits_max = 2000;
  std::uint16_t gap = 16;  // registers; of bits 16 times as many
};
inline PlanLimits limits_of(const Slave& slave, const ModbusInputConfig& config) {
  return {slave.registers_max, static_cast<std::uint16_t>(config.coils_max), slave.gap};
}

std::vector<Block> plan_blocks(const Points& points, const PlanLimits& limits);
// The pieces of a block that was refused; none: it is one value.
std::vector<Block> split_block(const Points& points, const Block& block, const PlanLimits& limits);

// The answer to a read that went unanswered may still come, and RTU has no transaction number: what is asked
// next must have an answer of another length. `late`: lengths of data that may still come. The span that
// reads all of `span` and more, or where there is no room for that, less; `span` itself where its length is
// not among them. Nothing: every length that the limits allow is.
std::optional<Span> distinct_span(const Span& span, const std::vector<std::size_t>& late,
                                  const PlanLimits& limits);

}  // namespace millrace
