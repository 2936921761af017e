#include "drivers/modbus/reply_decoder.h"

#include <algorithm>

#include "base/text.h"
#include "drivers/modbus/registers.h"

namespace millrace {
namespace {

// Every row has a place of its own in a reply, whatever the rows beside it are: a register has 17, its bits
// and the whole.
std::uint32_t place_in(const Span& span, const Point& point) {
  const std::uint32_t at = std::uint32_t{point.address} - span.first;
  if (is_bit_table(span.table)) return at;
  return at * 17 + (point.type == PointType::bits ? point.bit : 16);
}

// The rows that lie whole in the span, of the group that was polled; of all groups where a reload has left
// none like it.
std::vector<const Point*> rows_in(const Points& points, const Asked& asked) {
  std::vector<const Point*> rows;
  const Span& span = asked.span;
  rows.reserve(std::min<std::size_t>(span.count, points.size()));
  const auto key = [](const Point& p) { return std::pair(p.table, p.address); };
  auto at = std::lower_bound(points.begin(), points.end(), std::pair(span.table, span.first),
                             [&](const Point& p, const auto& from) { return key(p) < from; });
  for (; at != points.end() && at->table == span.table && at->address < span.end(); ++at) {
    if (at->read_first() >= span.first && at->read_end() <= span.end()) rows.push_back(&*at);
  }
  const auto of_group = [&](const Point* p) { return to_ms(p->interval) == to_ms(asked.interval); };
  if (std::any_of(rows.begin(), rows.end(), of_group))
    std::erase_if(rows, [&](const Point* p) { return !of_group(p); });
  return rows;
}

Reading read(const Point& point, const Span& span, BytesView data, Record& record, std::string& why) {
  const std::size_t at = point.address - span.first;
  if (!is_bit_table(span.table)) {
    const BytesView power =
        point.power_at ? data.subspan(2u * (*point.power_at - span.first), 2) : BytesView{};
    return read_point(point, data.subspan(2 * at, 2u * point.count), power, record.value, record.quality,
                      why);
  }
  record.value = (static_cast<unsigned>(data[at / 8]) >> at % 8 & 1) != 0;
  return Reading::value;
}

}  // namespace

ReplyDecoder::ReplyDecoder(std::vector<Slave> slaves, std::shared_ptr<const ReportRules> rules)
    : slaves_(std::move(slaves)), rules_(std::move(rules)) {
  for (const Slave& slave : slaves_) by_name_.emplace(slave.name, &slave);
}

Status ReplyDecoder::decode(const Arrival& arrival, std::vector<Record>& out, Unread& unread) const {
  const auto asked = parse_channel(arrival.channel);
  if (!asked) return {Code::invalid, "not a channel of this input: TABLE/FIRST+COUNT/INTERVALms/DEVICE"};
  const auto slave = by_name_.find(asked->device);
  if (slave == by_name_.end())
    return {Code::invalid, text("no device of the configuration is called \"", asked->device, "\"")};
  Exception exception = Exception::none;
  const auto data = data_of(asked->span, arrival.bytes, exception);
  if (!data.ok()) return data.status();
  const auto rows = rows_in(*slave->second->points, *asked);
  if (rows.empty()) return {Code::invalid, text("no register of \"", asked->device, "\" lies in it")};
  const std::size_t before = out.size();
  for (const Point* point : rows) {
    const std::uint32_t place = place_in(asked->span, *point);
    if (!arrival.only.empty() && !has_value(arrival.only, place)) continue;
    Record record;
    record.device = slave->second->name;
    record.metric = point->name;
    record.unit = point->unit;
    record.tags = slave->second->tags;
    record.time = arrival.received;
    record.trust = arrival.clock_trusted ? TimeTrust::gateway : TimeTrust::unsynced;
    std::string why;
    Reading reading = Reading::value;
    if (exception != Exception::none) record.quality = Quality::bad;
    else reading = read(*point, asked->span, data.value(), record, why);
    if (reading == Reading::value) out.push_back(std::move(record));
    else if (reading == Reading::no_value) ++unread.no_value;
    else unread.refuse({place, place + 1}, {}, why);
  }
  if (rules_) unread.ruled.push_back({rules_.get(), before, out.size()});
  tidy_runs(unread.missing);
  if (!unread.any() || out.size() > before) return {};
  return {Code::invalid, unread.reason()};
}

}  // namespace millrace
