// inputs.sample: all of a kind of input in one file: here a driver that reads one word, over and over.
#include "base/text.h"
#include "config/toml.h"
#include "ingest/input_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

struct SampleInputConfig {
  std::string name;
  std::string word = "tick";
  std::string mood = "calm";
  Duration every = 1s;
  RouteConfig route;
};
using C = SampleInputConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"one\""),
    K::key<&C::word>("word", "What is read"),
    K::choice<&C::mood>("mood", "calm|hasty", "How it is read"),
    K::key<&C::every>("every", "Between two of it").within(10ms, 1h),
    K::table<&C::route>("route", route_shape, "How the word is read").said_first(),
};
void settle(Section& section, SampleInputConfig& c) {
  if (c.word.empty()) section.error("word", "a word has letters");
}
constexpr Shape shape = shape_of<C, settle>(keys);

class SampleDriver final : public Driver {
 public:
  SampleDriver(const SouthParts& parts, C config)
      : loop_(parts.loop), inbox_(parts.inbox), trust_(parts.trust), config_(std::move(config)) {}

  const std::string& name() const override { return config_.name; }
  Status start() override {
    read();
    return {};
  }
  void pause() override { timer_.reset(); }
  void resume() override { read(); }
  void stop(std::function<void()> done) override {
    timer_.reset();
    loop_.post(std::move(done));
  }
  std::string health() const override { return config_.mood; }
  bool healthy() const override { return true; }

 private:
  void read() {
    Arrival arrival;
    arrival.input = config_.name;
    arrival.bytes = bytes_of(config_.word);
    arrival.clock_trusted = trust_.trusted();
    arrival.received = loop_.wall();
    arrival.received_monotonic = loop_.now();
    (void)inbox_.put(arrival);  // a full inbox costs a tick
    timer_ = loop_.after(config_.every, [this] { read(); });
  }

  Loop& loop_;
  Inbox& inbox_;
  const ClockTrust& trust_;
  const C config_;
  std::unique_ptr<Timer> timer_;
};

InputPlan plan_of(const SampleInputConfig& c) {
  InputPlan plan;
  plan.routes = {c.route};
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<SampleDriver>(parts, c);
  };
  return plan;
}

constexpr InputKind make_kind() {
  InputKind kind = kind_of<InputKind, C>("sample", "A word, over and over", shape);
  kind.plan = typed<plan_of>;
  return kind;
}

}  // namespace

extern const InputKind sample_input_kind;
const InputKind sample_input_kind = make_kind();

}  // namespace millrace
