// JSON payloads by path, and CBOR (RFC 8949) by the same (json_path.h). With `each`, every element of a list
// ("r[]", of the whole payload "[]") or member of a map ("sensors.*") is a message of its own; so is every
// document, where there are several in a payload.
//
// Without [metrics] every value of the message becomes a metric, named by its path, but what is time, quality
// or a name. Numbers become doubles (devices write 21 and 21.5 alike) unless the metric has a type, or unless
// a double could not hold them.
#include "decode/column_walk.h"
#include "decode/format_kind.h"
#include "decode/json_payload.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

class JsonFormat final : public PayloadFormat {
 public:
  explicit JsonFormat(std::unique_ptr<JsonPlan> plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    Status status = plan_->transpose ? read_columns(payload, walk, unread)
                                     : read_json_payload(payload.arrival.bytes, plan_->strict, walk, unread);
    if (!walk.fault().ok()) status = walk.fault();
    if (status.ok()) return status;
    out.resize(before);
    if (!plan_->transpose) unread.clear();
    return status;
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  // Lists beside each other.
  Status read_columns(const Payload& payload, JsonWalk& walk, Unread& unread) const {
    ColumnWalk columns(*plan_, walk, unread);
    Status status = read_json_payload(payload.arrival.bytes, plan_->strict, columns, unread);
    return columns.fault().ok() ? status : columns.fault();
  }

  std::unique_ptr<JsonPlan> plan_;
};

}  // namespace

extern const FormatKind json_format_kind;
const FormatKind json_format_kind =
    with_lists(by_paths(format_kind("json", "JSON by path", make_of_plan<JsonFormat, compile_json_plan>)));

}  // namespace millrace
