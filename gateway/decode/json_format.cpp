#include "decode/json_format.h"

#include "base/cbor.h"
#include "base/lenient_json.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

// CBOR is another spelling of the same values: the same plan, the same paths.
class CborFormat final : public PayloadFormat {
 public:
  explicit CborFormat(std::unique_ptr<JsonPlan> plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    std::size_t documents = 0;
    const Status status = read_cbor(payload.arrival.bytes, walk, documents);
    if (status.ok() && walk.fault().ok()) return status;
    out.resize(before);
    return walk.fault().ok() ? status : walk.fault();
  }

 private:
  std::unique_ptr<JsonPlan> plan_;
};

class JsonFormat final : public PayloadFormat {
 public:
  explicit JsonFormat(std::unique_ptr<JsonPlan> plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    Status status = read_json(payload.arrival.bytes, walk);
    if (status.ok()) return status;
    out.resize(before);
    unread.clear();
    if (!walk.fault().ok()) return walk.fault();
    return plan_->strict ? status : decode_leniently(payload, out, unread);
  }

 private:
  // Only what the standard refuses comes here: the common case pays nothing for it.
  Status decode_leniently(const Payload& payload, std::vector<Record>& out, Unread& unread) const {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    LenientJson found;
    Status status = read_lenient_json(payload.arrival.bytes, walk, found);
    unread.latin1 = found.latin1;
    if (found.documents == 0) ++unread.no_value;
    if (walk.fault().ok() && status.ok()) return status;
    out.resize(before);
    return walk.fault().ok() ? status : walk.fault();
  }

  std::unique_ptr<JsonPlan> plan_;
};

}  // namespace

Result<std::unique_ptr<PayloadFormat>> make_json_format(const RouteConfig& route,
    const TopicPattern& pattern) {
  auto plan = compile_json_plan(route, pattern);
  if (!plan.ok()) return plan.status();
  if (route.format == "cbor") return std::unique_ptr<PayloadFormat>(std::make_unique<CborFormat>(std::move(plan).value()));
  return std::unique_ptr<PayloadFormat>(std::make_unique<JsonFormat>(std::move(plan).value()));
}

}  // namespace millrace
