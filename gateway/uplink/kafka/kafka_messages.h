// From rows of the log to Kafka messages: topic, key, value and headers, each value in the form that is asked
// for. Pure.
//
// Headers: `identity` is GATEWAY/EPOCH/SEQUENCE (of the first record where a message is a row, and `count`
// follow without a gap), `lane`, `schema` names the form of the value, `replay` is there where the record was
// delayed. A value that is a record carries its identity itself too.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "log/log.h"
#include "record/record.h"
#include "uplink/form_kind.h"
#include "uplink/name_template.h"

namespace millrace {

// What Kafka takes as a topic's name: 1 to 249 of a-z A-Z 0-9 . _ -; others become _.
void make_topic_name(std::string& name);

struct KafkaMessage {
  std::string topic, key, value;
  std::vector<std::pair<std::string_view, std::string>> headers;
};

// Makes the messages of rows one after another, into the same KafkaMessage.
class KafkaMessages {
 public:
  KafkaMessages(const FormKind& form, NameTemplate topic, NameTemplate key, std::string gateway,
                std::uint64_t epoch)
      : form_(&form),
        topic_(std::move(topic)),
        key_(std::move(key)),
        gateway_(std::move(gateway)),
        epoch_(epoch) {}

  // In front of each value: the Confluent wire format.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  // Begins with a row. `corrupt` when it cannot be decoded: that is then refused as it is.
  Status begin(const Row& row, bool replay);
  // The next message of the row, false when there is none left.
  bool next(KafkaMessage& out);
  // The last one again: it could not be sent yet.
  void back() { --at_; }

 private:
  static std::string window_key(const WindowDetail& window, const Record& record);

  const FormKind* form_;
  NameTemplate topic_, key_;
  std::string gateway_, prefix_;
  std::uint64_t epoch_;
  Row row_;
  bool replay_ = false;
  std::vector<Record> records_;
  std::string whole_;  // of a message that is a row
  std::size_t at_ = 0, count_ = 0;
};

}  // namespace millrace
