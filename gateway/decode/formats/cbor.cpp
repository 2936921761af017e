// CBOR (RFC 8949) is another spelling of the values of JSON: the same plan, the same paths (json.cpp).
#include "base/cbor.h"

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
    std::size_t documents = 0;
    const Status status = read_cbor(payload.arrival.bytes, walk, documents);
    if (status.ok() && walk.fault().ok()) return status;
    out.resize(before);
    return walk.fault().ok() ? status : walk.fault();
  }

 private:
  std::unique_ptr<JsonPlan> plan_;
};

}  // namespace

extern const FormatKind cbor_format_kind;
const FormatKind cbor_format_kind = format_kind("cbor", "CBOR by the same paths as JSON", make_of_plan<CborFormat, compile_json_plan>);

}  // namespace millrace
