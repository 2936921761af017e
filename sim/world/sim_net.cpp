#include "sim/world/sim_net.h"

#include "base/text.h"

namespace millrace::sim {
namespace {

constexpr Duration on_the_way = std::chrono::microseconds(300);

struct End {
  std::string unread;
  bool reading = false, closed = false, over = false, told = false;  // over: the other end says no more
  std::function<void(BytesView)> received;
  std::function<void(bool)> readable;
};

struct Wire {
  SimLoop& loop;
  std::string peer;
  End ends[2];
};

void deliver(const std::shared_ptr<Wire>& wire, int to) {
  End& end = wire->ends[to];
  if (end.closed || (end.unread.empty() && !end.over)) return;
  if (end.readable) return std::exchange(end.readable, nullptr)(!end.unread.empty());
  if (!end.reading || !end.received) return;
  const auto received = end.received;  // a copy: it may destroy its stream
  if (!end.unread.empty()) {
    const std::string bytes = std::exchange(end.unread, {});
    received(bytes_of(bytes));
  }
  if (end.over && !end.closed && end.reading && !std::exchange(end.told, true)) received({});
}

void deliver_later(const std::shared_ptr<Wire>& wire, int to) {
  wire->loop.later(on_the_way, [wire, to] { deliver(wire, to); });
}

class SimStream final : public Stream {
 public:
  SimStream(std::shared_ptr<Wire> wire, int me) : wire_(std::move(wire)), me_(me) {}
  ~SimStream() override {
    mine().closed = true;
    mine().received = nullptr;
    mine().readable = nullptr;
    end_output();
  }
  void read(std::function<void(BytesView)> received) override {
    mine().received = std::move(received);
    resume();
  }
  void when_readable(std::function<void(bool)> readable) override {
    mine().readable = std::move(readable);
    deliver_later(wire_, me_);
  }
  void pause() override { mine().reading = false; }
  void resume() override {
    mine().reading = true;
    deliver_later(wire_, me_);
  }
  void write(std::string bytes) override {
    wire_->loop.later(on_the_way, [wire = wire_, to = 1 - me_, bytes = std::move(bytes)] {
      wire->ends[to].unread += bytes;
      deliver(wire, to);
    });
  }
  std::size_t pending_bytes() const override { return 0; }
  void finish(std::function<void()> closed) override {
    end_output();
    wire_->loop.later(2 * on_the_way, [wire = wire_, me = me_, closed = std::move(closed)] {
      if (!wire->ends[me].closed) closed();
    });
  }
  std::optional<std::uint32_t> peer_uid() const override { return std::nullopt; }
  std::string peer_address() const override { return wire_->peer; }

 private:
  End& mine() { return wire_->ends[me_]; }
  void end_output() {
    wire_->loop.later(on_the_way, [wire = wire_, to = 1 - me_] {
      wire->ends[to].over = true;
      deliver(wire, to);
    });
  }

  std::shared_ptr<Wire> wire_;
  int me_;
};

class SimListener final : public Listener {
 public:
  explicit SimListener(std::function<void()> close) : close_(std::move(close)) {}
  ~SimListener() override { close_(); }
  std::uint16_t port() const override { return 1; }

 private:
  std::function<void()> close_;
};

}  // namespace

Result<std::unique_ptr<Listener>> SimNet::listen(const std::string& address, Accepted accepted) {
  if (!listening_->emplace(address, std::move(accepted)).second) {
    return Status{Code::io, text("bind ", address, ": in use")};
  }
  const auto close = [listening = listening_, address] { listening->erase(address); };
  return std::unique_ptr<Listener>(std::make_unique<SimListener>(close));
}

std::unique_ptr<Stream> SimNet::dial(const std::string& address) {
  if (!listening_->contains(address)) return nullptr;
  const std::uint64_t n = ++dialled_;
  auto wire = std::shared_ptr<Wire>(new Wire{loop_, text("192.0.2.", n % 250, ":", 1024 + n % 60000), {}});
  loop_.later(on_the_way, [listening = listening_, wire, address] {
    const auto found = listening->find(address);
    auto stream = std::make_unique<SimStream>(wire, 1);
    if (found == listening->end()) return;  // closes it
    const auto accepted = found->second;
    accepted(std::move(stream));
  });
  return std::make_unique<SimStream>(wire, 0);
}

}  // namespace millrace::sim
