#include "cli/answers.h"

#include <cstdlib>

#include "base/json.h"

namespace millrace {

class DaemonAnswerReader final : public JsonHandler {
 public:
  explicit DaemonAnswerReader(DaemonAnswer& root) : root_(root) {}

  bool null() override { return put(DaemonAnswer::Type::null, {}); }
  bool boolean(bool value) override { return put(DaemonAnswer::Type::boolean, value ? "true" : "false"); }
  bool number(std::string_view spelling) override { return put(DaemonAnswer::Type::number, spelling); }
  bool string(std::string_view value) override { return put(DaemonAnswer::Type::text, value); }
  bool key(std::string_view name) override {
    key_ = name;
    return true;
  }
  bool begin_object() override { return open(DaemonAnswer::Type::object); }
  bool end_object() override { return close(); }
  bool begin_array() override { return open(DaemonAnswer::Type::array); }
  bool end_array() override { return close(); }

 private:
  // A place for the next value. What holds it stays where it is as long as it is open: only the innermost
  // grows.
  DaemonAnswer& place() {
    if (open_.empty()) return root_;
    DaemonAnswer& into = *open_.back();
    if (into.type_ == DaemonAnswer::Type::array) return into.items_.emplace_back();
    return into.members_.emplace_back(std::move(key_), DaemonAnswer()).second;
  }
  bool put(DaemonAnswer::Type type, std::string_view text) {
    DaemonAnswer& answer = place();
    answer.type_ = type;
    answer.text_ = text;
    return true;
  }
  bool open(DaemonAnswer::Type type) {
    DaemonAnswer& answer = place();
    answer.type_ = type;
    open_.push_back(&answer);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  DaemonAnswer& root_;
  std::vector<DaemonAnswer*> open_;
  std::string key_;
};

Result<DaemonAnswer> DaemonAnswer::read(std::string_view json) {
  DaemonAnswer root;
  DaemonAnswerReader reader(root);
  if (Status status = read_json(bytes_of(json), reader); !status.ok()) return status;
  return root;
}

const DaemonAnswer& DaemonAnswer::operator[](std::string_view name) const {
  static const DaemonAnswer nothing;
  for (const auto& [key, value] : members_) {
    if (key == name) return value;
  }
  return nothing;
}

double DaemonAnswer::number() const {
  return type_ == Type::number ? std::strtod(text_.c_str(), nullptr) : 0;
}

std::uint64_t DaemonAnswer::whole() const {
  return type_ == Type::number && text_.front() != '-' ? std::strtoull(text_.c_str(), nullptr, 10) : 0;
}

}  // namespace millrace
