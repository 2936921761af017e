// An MQTT broker on the loopback that says what a test tells it to: what real brokers cannot be made to do.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/text.h"
#include "loop/uv_loop.h"
#include "mqtt/packet.h"

namespace millrace::mqtt {

// Answers each packet by `answer`, whose bytes go out in pieces of `piece`.
struct ScriptedBroker {
  explicit ScriptedBroker(UvLoop& l) : loop(l) {
    auto made = loop.listen("127.0.0.1:0", [this](std::unique_ptr<Stream> accepted) {
      stream = std::move(accepted);
      framer = std::make_unique<Framer>(std::size_t{1} << 20);
      stream->read([this](BytesView chunk) {
        if (chunk.empty()) {
          closed = true;
          return;
        }
        framer->push(chunk);
        Packet packet;
        while (framer->next(packet) == Framer::Next::packet) {
          heard.push_back(packet.type);
          say(answer(packet));
        }
      });
    });
    REQUIRE(made.ok());
    listener = std::move(made).value();
  }
  void say(const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += piece) stream->write(bytes.substr(at, piece));
  }
  std::string url() const { return text("mqtt://localhost:", listener->port()); }

  UvLoop& loop;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Framer> framer;
  std::function<std::string(const Packet&)> answer;
  std::vector<PacketType> heard;
  std::size_t piece = SIZE_MAX;
  bool closed = false;
};

}  // namespace millrace::mqtt
