// Goes through one JSON payload (or several documents in one) by a plan, and makes readings of it. Whoever
// reads the bytes calls the handler; the walk knows nothing of their form, so CBOR can come by the same way.
#pragma once

#include <forward_list>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/lenient_json.h"
#include "base/text.h"
#include "decode/json_plan.h"
#include "decode/payload_format.h"

namespace millrace {

class JsonWalk final : public LenientHandler {
 public:
  static constexpr int depth_max = 32;
  static constexpr const char* own_time_metric = "device_time";
  // Values of a JSON text in a text have places behind all others, so that they are the same whether it is
  // opened or not: so many a text, of the first so many places of a payload.
  static constexpr std::uint32_t in_text = 0x4000'0000, in_text_values = 1024, in_text_places = 1 << 20;
  static constexpr std::size_t few_names = 32;  // in a message: more are looked up by their digest

  JsonWalk(const JsonPlan& plan, const Payload& payload, std::vector<Record>& out, Unread& unread);

  bool null() override { return scalar(Scalar::no_value, false, {}); }
  bool boolean(bool value) override { return scalar(Scalar::truth, value, {}); }
  bool number(std::string_view spelling) override { return scalar(Scalar::number, false, spelling); }
  bool takes_double(double value) override;
  bool string(std::string_view value) override {
    return opens(value) ? text_of_json(value) : scalar(Scalar::string, false, value);
  }
  bool unreadable(std::string_view token) override { return scalar(Scalar::unreadable, false, token); }
  bool key(std::string_view name) override;
  void skipped(std::string_view name, std::size_t values, std::string_view why) override;
  bool begin_object() override { return enter(false); }
  bool end_object() override { return leave(); }
  bool begin_array() override { return enter(true); }
  bool end_array() override { return leave(); }

  // The bytes end or make no sense in the middle of a document. What was complete of it enters where all that
  // it needs (time, quality, names) had come; the rest is told.
  void broken(const std::string& why) override;
  std::uint32_t places() const { return place_; }  // values seen
  // Where the next value stands, of formats whose values lie at bytes or bits of the payload.
  void at(std::uint32_t place) { place_ = place; }
  // Values of the message that is open which lie elsewhere than between its first and its last; it is emptied
  // when an element of `each` begins, of other messages by whoever fills it.
  void also(ValueRuns* runs) { also_ = runs; }
  // Why the walk stopped, if it did: a limit.
  const Status& fault() const { return fault_; }

 private:
  struct Level {                               // set by enter(): 32 of them are not cleared for each payload
    const PlanNode* node;                      // wanted paths below here
    const PlanNode* child;                     // of the value that comes next
    bool array, in_message, message, special;  // special: the node is a parent, or asked for
    std::int64_t index;
    std::uint32_t place_from;
    std::size_t path_before;  // size of path_ outside
    const char* key;          // of the value that comes next
    std::size_t key_size;
  };
  // The readings of a message, and what they have in common.
  struct Message {
    std::size_t from, to;  // in out_
    std::uint32_t place_from, place_to;
    std::string_view key;  // of the element
    std::int64_t index;
    std::span<const Scalar> own;  // slots, but of metrics
    bool of_root = false;         // the readings beside the messages: their places lie anywhere
    const ValueRuns* also = nullptr;
  };
  // Of one that waits for what comes later in the document.
  struct Waiting {
    Message message;
    std::vector<Scalar> own;
    ValueRuns also;
  };

  static bool opens(std::string_view text) {
    if (!text.empty() && text.front() <= ' ') text = trim(text);
    return !text.empty() && (text.front() == '{' || text.front() == '[');
  }
  const PlanNode* next_node();
  const PlanNode* node_ahead() const;
  bool text_of_json(std::string_view value);
  void add_places_in_texts();
  bool enter(bool array);
  bool leave();
  void begin_message();
  void begin_odd_message();
  void begin_document();
  void forget(JsonPlan::Scope scope);
  bool scalar(Scalar::Kind kind, bool flag, std::string_view value);
  bool bare(const PlanNode* node, const Scalar& scalar);
  void put(const PlanNode& node, const Scalar& scalar);
  bool wanted(std::uint32_t place) const {
    return (only_.empty() || has_value(only_, place)) && (left_.empty() || has_value(left_, place));
  }
  bool is_left() const;
  void take_back();
  bool add(const PlanMetric& metric, const Scalar& scalar);
  bool add_by_path(const Scalar& scalar);
  bool add_element(const Scalar& scalar);
  bool add_unnamed(std::string_view name, const Scalar& scalar);
  bool make(const ValueSpec& spec, const Scalar& scalar);
  void make_odd(const PlanMetric* metric, const Scalar& scalar);
  void first_came(const PlanMetric& metric);
  void note_came(const PlanMetric& metric) const;
  void refuse(const PlanMetric* metric, const Scalar& scalar, std::string_view why);
  ValueRun run_of(const Scalar& scalar) const;
  void refuse_unopened(const Scalar& scalar);
  void add_missing(const PlanMetric& metric);
  bool end_message();
  bool holds(const std::vector<PlanCondition>& conditions);
  bool is_only_named() const;
  void note_header();
  void end_headers();
  bool has_no_value() const;
  void pass_message();
  bool pass_document();
  void begin_special(const PlanNode& node);
  void name_element(std::size_t in);
  void put_nothing(const PlanNode& node);
  void put_inside(const PlanNode& node, ValueRun inside);
  void end_parent();
  void end_document();
  bool end_odd_document();
  void finish_waiting();
  void make_readings(bool of_root);
  bool finish(const Message& message, std::string& why);
  void refuse_message(const Message& message, std::string_view why);
  void refuse_also(const ValueRuns* also);
  void refuse_whole(ValueRun run, std::string_view name, std::string_view why, const ValueRuns* also);
  void refuse_beside(ValueRun run, const ValueRuns* also);
  static std::optional<std::uint32_t> place_beside(ValueRun run, const ValueRuns* also);
  bool gives_beside(ValueRun run, const ValueRuns* also) const;
  bool gives_beside_root() const;
  static bool says_nothing(const Scalar& scalar);
  void look_for_elements(const Level& level, bool empty);
  void look_for_elements(const PlanNode& node, const Scalar& scalar);
  void go_astray(ValueRun run, const char* why);
  void end_elements();
  void note_awaited(std::span<const Scalar> own);
  void note_absent(std::size_t number);
  Scalar time_of(std::span<const Scalar> own, std::string& both) const;
  bool date(const Scalar& scalar, std::optional<WallTime>& time, bool& believed, std::string& why) const;
  void keep_own_time(const Message& message);
  bool name_them(const Message& message, std::string& why);
  bool complete(std::span<const Scalar> own) const;
  std::string element_name() const;
  bool fail(std::string message);
  void replace_earlier();
  void find_earlier();

  const JsonPlan& plan_;
  const Payload& payload_;
  const std::span<const ValueRun> only_, left_;
  std::vector<Record>& out_;
  Unread& unread_;
  const std::size_t first_;
  std::uint32_t place_ = 0;

  std::size_t message_from_;
  std::uint32_t message_place_ = 0;
  std::size_t message_known_ = 0;  // refusals and values without value before it
  std::size_t message_refusals_ = 0;
  std::int64_t element_ = -1;  // of `each`, in this document
  std::string_view element_key_;
  std::int64_t element_index_ = 0;
  bool in_message_ = false, cut_ = false;
  bool message_named_ = false;                 // another path names its place
  bool nothing_there_ = false;                 // what was to hold its values is null or empty
  bool others_there_ = false;                  // what was to hold some of them has something else
  std::uint32_t said_ = 0;                     // behind the last value that says something
  bool says_more_ = false;                     // the message, than when it was
  Unread::Mark message_mark_, document_mark_;  // where there are conditions
  std::size_t document_from_ = 0, document_left_ = 0;
  std::vector<const PlanMetric*> came_;  // in this document, where its root decides
  ValueRuns* also_ = nullptr;
  ValueRuns in_texts_;  // what `also_` is for payloads with texts that were opened
  bool in_a_text_ = false;
  std::forward_list<std::string> kept_;  // of texts that were opened: what is viewed
  // Objects and lists of the document where one value is wanted.
  ValueRuns insides_;
  // What `each` leads to: where something of another kind is, and which; and what came.
  ValueRuns astray_;
  const char* astray_why_ = nullptr;
  bool elements_came_ = false, elements_none_ = false;
  // Messages of the document that another path names, and nothing else was wanted of; whether one is of a
  // list.
  ValueRuns headers_;
  bool header_in_list_ = false;

  Level levels_[depth_max];
  std::size_t depth_ = 0;
  Scalar few_slots_[8];
  std::vector<Scalar> many_slots_;
  std::span<Scalar> slots_;
  std::vector<Waiting> waiting_;
  std::vector<Record> own_times_;  // what devices said that was not believed
  std::size_t parent_from_ = 0;    // in waiting_
  std::uint32_t document_place_ = 0;

  std::string path_, name_;  // of what we are in; of a reading, where it takes more than its key
  // a bit each, by digest: whether a name may have been there in this message
  std::uint64_t names_seen_ = 0;
  // of a large message: digest -> record
  std::unique_ptr<std::unordered_map<std::uint64_t, std::size_t>> names_;
  double unspelled_ = 0;                     // of a number without a text
  std::uint64_t steps_ = payload_steps_max;  // what patterns may still cost
  Status fault_;
};

}  // namespace millrace
