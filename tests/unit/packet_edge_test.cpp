// Where MQTT packets end, however a stream of them is cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mqtt/packet.h"
#include "mqtt/packet_edge.h"

namespace packet_edge_test {
using namespace millrace;

TEST_CASE("packet edge: a wildcard is found wherever it stands in a topic, and nothing is taken for one") {
  CHECK_FALSE(mqtt::good_topic(""));
  for (std::size_t size = 1; size <= 40; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      for (int c = 1; c < 256; ++c) {
        std::string topic(size, 'a');
        topic[at] = static_cast<char>(c);
        if (mqtt::good_topic(topic) != (c != '+' && c != '#'))
          FAIL("character ", c, " at ", at, " of ", size);
      }
    }
  }
}

TEST_CASE("packet edge: it is between packets, however they are cut") {
  std::string stream;
  std::vector<std::size_t> edges{0};
  for (const std::size_t size : {0, 1, 120, 127, 128, 20'000, 3}) {
    mqtt::PublishWrite publish;
    publish.topic = "t";
    const std::string payload(size, 'x');
    publish.payload = bytes_of(payload);
    mqtt::put_publish(publish, 5, stream);
    edges.push_back(stream.size());
    mqtt::put_ping(mqtt::PacketType::pingreq, stream);
    edges.push_back(stream.size());
  }
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{1000}, stream.size()}) {
    mqtt::PacketEdge edge;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      CHECK(edge.at_edge() == (std::find(edges.begin(), edges.end(), at) != edges.end()));
      edge.passed(bytes_of(std::string_view(stream).substr(at, piece)));
    }
    CHECK(edge.at_edge());
  }
}

}  // namespace packet_edge_test
