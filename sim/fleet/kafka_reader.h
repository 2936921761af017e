// Reads topics of a Kafka from where they end now, committed messages only, and hands each to the loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "loop/loop.h"

namespace millrace::sim {

class KafkaReader {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;
  using Take = std::function<void(const Bytes& value, const Headers& headers)>;

  KafkaReader(Loop& loop, std::string servers, std::vector<std::string> topics, Take take);
  ~KafkaReader();
  // `ready` runs once every partition is being read; until then topics that are missing are waited for.
  void start(std::function<void()> ready);

 private:
  void read();  // on its thread

  Loop& loop_;
  const std::string servers_;
  const std::vector<std::string> topics_;
  const Take take_;
  std::function<void()> ready_;
  std::atomic<bool> stopping_{false};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::thread thread_;
};

}  // namespace millrace::sim
