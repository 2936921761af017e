// uplinks.sample: all of a kind of uplink in one file: here one that writes how many rows it was given into a
// file.
#include <fstream>

#include "base/text.h"
#include "config/toml.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

struct SampleUplinkConfig : ShippingConfig {
  std::string file;
  bool loud = false;
};
using C = SampleUplinkConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"tally\""),
    K::key<&C::file>("file", "Where the tally is written").required().like("\"/tmp/tally\""),
    K::key<&C::loud>("loud", "With an exclamation mark"),
    K::key<&C::batches_in_flight>("window", "").within(1, batches_in_flight_max),
    K::base<ShippingConfig>(shipping_shape),
};
constexpr Shape shape = shape_of<C>(keys);

class SampleUplink final : public Uplink {
 public:
  SampleUplink(Loop& loop, C config) : loop_(loop), config_(std::move(config)) {}

  Limits limits() const override { return {config_.batches_in_flight, config_.batch_size}; }
  Status start(StateChanged changed) override {
    loop_.post([changed = std::move(changed)] { changed({true, {}, false}); });
    return {};
  }
  void send(Batch batch, std::function<void(Outcome)> done) override {
    rows_ += batch.rows.size();
    std::ofstream(config_.file) << rows_ << (config_.loud ? "!" : "") << '\n';
    loop_.post([done = std::move(done)] { done({}); });
  }
  void stop(std::function<void()> done) override { loop_.post(std::move(done)); }

 private:
  Loop& loop_;
  const C config_;
  std::size_t rows_ = 0;
};

UplinkPlan plan_of(const SampleUplinkConfig& c, const std::string&) {
  UplinkPlan plan = plan_shipping(c);
  plan.claims = {"file " + c.file};
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<SampleUplink>(parts.loop, c);
  };
  return plan;
}

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>("sample", "A tally in a file", shape);
  kind.plan = typed<plan_of>;
  return kind;
}

}  // namespace

extern const UplinkKind sample_uplink_kind;
const UplinkKind sample_uplink_kind = make_kind();

}  // namespace millrace
