// CBOR (RFC 8949) is another spelling of the values of JSON: the same plan, the same paths (json.cpp).
#include "base/cbor.h"

#include "decode/column_walk.h"
#include "decode/format_kind.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

class CborFormat final : public PayloadFormat {
 public:
  explicit CborFormat(std::unique_ptr<JsonPlan> plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    Status status = plan_->transpose ? read_columns(payload, walk, unread) : read(payload, walk);
    if (!walk.fault().ok()) status = walk.fault();
    if (!status.ok()) out.resize(before);
    return status;
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  static Status read(const Payload& payload, LenientHandler& handler) {
    std::size_t documents = 0;
    return read_cbor(payload.arrival.bytes, handler, documents);
  }
  // Lists beside each other.
  Status read_columns(const Payload& payload, JsonWalk& walk, Unread& unread) const {
    ColumnWalk columns(*plan_, walk, unread);
    Status status = read(payload, columns);
    return columns.fault().ok() ? status : columns.fault();
  }

  std::unique_ptr<JsonPlan> plan_;
};

}  // namespace

extern const FormatKind cbor_format_kind;
const FormatKind cbor_format_kind = with_lists(by_paths(
    format_kind("cbor", "CBOR by the same paths as JSON", make_of_plan<CborFormat, compile_json_plan>)));

}  // namespace millrace
