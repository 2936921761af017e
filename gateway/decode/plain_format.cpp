#include "decode/plain_format.h"

#include <charconv>
#include <cmath>

#include "base/text.h"
#include "base/utf8.h"
#include "decode/json_format.h"

namespace millrace {
namespace {

class PlainFormat final : public PayloadFormat {
 public:
  explicit PlainFormat(MetricConfig metric) : metric_(std::move(metric)) {}

  Status decode(const Arrival& arrival, const Record& prototype, std::vector<Record>& out) const override {
    std::string_view value = trim(text_of(arrival.bytes));
    if (value.empty()) return {Code::invalid, "an empty payload is no value"};
    Record record = prototype;
    record.metric = metric_.name;
    record.unit = metric_.unit;
    if (value.starts_with('+')) value.remove_prefix(1);
    double number = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = parsed.ptr == value.data() + value.size();
    if (metric_.integer) {
      std::int64_t integer = 0;
      const auto exact = std::from_chars(value.data(), value.data() + value.size(), integer);
      if (exact.ec != std::errc{} || exact.ptr != value.data() + value.size()) {
        return {Code::invalid, text("not a whole number: \"", shown(value, 40), "\"")};
      }
      record.value = integer;
    } else if (parsed.ec == std::errc::result_out_of_range && whole) {
      return {Code::invalid, text("does not fit a double: \"", shown(value, 40), "\"")};
    } else if (parsed.ec == std::errc{} && whole && std::isfinite(number)) {
      record.value = number;
    } else if (value == "true" || value == "false") {
      record.value = value == "true";
    } else {
      return {Code::invalid, text("not a value: \"", shown(value, 40), "\"")};
    }
    out.push_back(std::move(record));
    return {};
  }

 private:
  MetricConfig metric_;
};

}  // namespace

Result<std::unique_ptr<PayloadFormat>> make_plain_format(const RouteConfig& route) {
  if (Status status = check_names(route.metrics.at(0)); !status.ok()) return status;
  return std::unique_ptr<PayloadFormat>(std::make_unique<PlainFormat>(route.metrics.at(0)));
}

Result<std::unique_ptr<PayloadFormat>> make_format(const RouteConfig& route) {
  return route.format == "plain" ? make_plain_format(route) : make_json_format(route);
}

}  // namespace millrace
