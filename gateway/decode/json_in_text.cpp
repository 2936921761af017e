// Of the walk through JSON: JSON that stands as a text in JSON ({"body": "{\\"t\\":1}"}), as gateways and
// clouds that take any payload pass it on. It is opened where a path leads on into it, or where it is all
// there is; once, not what stands as a text in it again. It may be as sloppy as a payload may, but it is one
// document, and whole. What is none, or too large for its places, stays a text.
#include "base/lenient_json.h"
#include "decode/json_walk.h"

namespace millrace {
namespace {

// How much there is in a text.
class Measure final : public LenientHandler {
 public:
  std::size_t values = 0, depth = 0;
  bool odd = false, whole = true;

  bool null() override { return ++values > 0; }
  bool boolean(bool) override { return ++values > 0; }
  bool number(std::string_view) override { return ++values > 0; }
  bool string(std::string_view) override { return ++values > 0; }
  bool key(std::string_view) override { return true; }
  bool begin_object() override { return enter(); }
  bool end_object() override { return --now_ < SIZE_MAX; }
  bool begin_array() override { return enter(); }
  bool end_array() override { return --now_ < SIZE_MAX; }
  bool unreadable(std::string_view) override { return odd = ++values > 0; }
  void skipped(std::string_view, std::size_t count, std::string_view) override { values += count; }
  void broken(const std::string&) override { whole = false; }

 private:
  bool enter() {
    depth = std::max(depth, ++now_);
    return true;
  }
  std::size_t now_ = 0;
};

// Tells the walk, and keeps what it views: it looks at texts until the whole payload ends.
class Passage final : public LenientHandler {
 public:
  Passage(JsonWalk& walk, std::forward_list<std::string>& kept) : walk_(walk), kept_(kept) {}

  bool null() override { return walk_.null(); }
  bool boolean(bool value) override { return walk_.boolean(value); }
  bool number(std::string_view spelling) override { return walk_.number(keep(spelling)); }
  bool string(std::string_view value) override { return walk_.string(keep(value)); }
  bool key(std::string_view name) override { return walk_.key(keep(name)); }
  bool begin_object() override { return walk_.begin_object(); }
  bool end_object() override { return walk_.end_object(); }
  bool begin_array() override { return walk_.begin_array(); }
  bool end_array() override { return walk_.end_array(); }
  bool unreadable(std::string_view token) override { return walk_.unreadable(keep(token)); }
  void skipped(std::string_view name, std::size_t values, std::string_view why) override {
    walk_.skipped(keep(name), values, why);
  }
  void broken(const std::string& why) override { walk_.broken(why); }  // never: it was measured

 private:
  std::string_view keep(std::string_view text) { return kept_.emplace_front(text); }
  JsonWalk& walk_;
  std::forward_list<std::string>& kept_;
};

// Of "[WARN] pump 2" the list is no value: it is a text that begins so.
bool read_text(std::string_view value, bool strict, LenientHandler& handler, LenientJson& found) {
  if (!strict) return read_lenient_json(bytes_of(value), handler, found).ok();
  found.documents = 1;
  return read_json(bytes_of(value), handler).ok();
}

bool is_json(std::string_view value, bool strict, Measure& measure) {
  LenientJson found;
  return read_text(value, strict, measure, found) && measure.whole && found.documents == 1 &&
         !(measure.odd && trim(value).front() == '[');
}

}  // namespace

bool JsonWalk::text_of_json(std::string_view value) {
  const PlanNode* node = node_ahead();
  const bool wanted_inside = node && (depth_ == 0 || !node->children.empty());
  const bool has_places = !in_a_text_ && place_ < in_text_places && (!also_ || also_ == &in_texts_);
  Measure measure;
  if (!wanted_inside || !has_places || !is_json(value, plan_.strict, measure) ||
      measure.values > in_text_values || measure.depth + depth_ > static_cast<std::size_t>(depth_max)) {
    // A later try may open it: what it holds is missing where it is.
    if (has_places) also_ = &in_texts_;
    return scalar(Scalar::string, true, value);
  }
  if (!node->slots.empty()) put(*node, {Scalar::string, false, place_, value});
  also_ = &in_texts_;
  const std::uint32_t behind = place_ + 1;
  place_ = in_text + place_ * in_text_values;
  in_a_text_ = true;
  Passage passage(*this, kept_);
  LenientJson found;
  const bool read = read_text(value, plan_.strict, passage, found);
  in_a_text_ = false;
  place_ = said_ = behind;
  says_more_ = true;
  return read;
}

// Before a message or a document ends: what texts between its first and its last value may hold belongs to
// it.
void JsonWalk::add_places_in_texts() {
  in_texts_.clear();
  if (message_place_ >= in_text || message_place_ == place_) return;  // it lies in a text itself, or is empty
  const auto inside = [](std::uint32_t place) {
    return in_text + std::min(place, in_text_places) * in_text_values;
  };
  in_texts_.push_back({inside(message_place_), inside(place_)});
}

}  // namespace millrace
