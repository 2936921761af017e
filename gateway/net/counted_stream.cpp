#include "net/counted_stream.h"

#include <string>
#include <utility>

namespace millrace {
namespace {

class CountedStream final : public Stream {
 public:
  CountedStream(std::unique_ptr<Stream> inner, const WireCount& count)
      : inner_(std::move(inner)), count_(count) {}
  ~CountedStream() override { note(); }

  void read(std::function<void(BytesView)> received) override {
    received_ = std::move(received);
    inner_->read([this](BytesView bytes) {
      count_.received.add(bytes.size());
      note();
      const auto received = received_;  // a copy: it may destroy the Stream
      received(bytes);
    });
  }
  void when_readable(std::function<void(bool)> readable) override {
    inner_->when_readable(std::move(readable));
  }
  void pause() override { inner_->pause(); }
  void resume() override { inner_->resume(); }
  void write(std::string bytes) override {
    written_ += bytes.size();
    inner_->write(std::move(bytes));
    note();
  }
  std::size_t pending_bytes() const override { return inner_->pending_bytes(); }
  std::size_t unacknowledged_bytes() const override { return inner_->unacknowledged_bytes(); }
  std::optional<std::size_t> unread_bytes() const override { return inner_->unread_bytes(); }
  void finish(std::function<void()> closed) override { inner_->finish(std::move(closed)); }
  std::optional<std::uint32_t> peer_uid() const override { return inner_->peer_uid(); }
  std::string peer_address() const override { return inner_->peer_address(); }

 private:
  void note() {
    const std::uint64_t sent = written_ - inner_->pending_bytes();
    count_.sent.add(sent - noted_);
    noted_ = sent;
  }

  std::unique_ptr<Stream> inner_;
  const WireCount count_;
  std::function<void(BytesView)> received_;
  std::uint64_t written_ = 0, noted_ = 0;
};

}  // namespace

std::unique_ptr<Stream> counted(std::unique_ptr<Stream> inner, const WireCount& count) {
  return std::make_unique<CountedStream>(std::move(inner), count);
}

}  // namespace millrace
