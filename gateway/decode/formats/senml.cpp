// SenML packs (RFC 8428) as JSON or CBOR: base fields, times relative to the arrival, numbers, texts,
// booleans, data and sums. The name of a metric is the record's own ("n"); of a record without one the base
// name's. {.bn}, {.n}, {.name} can name the device: the base name without the sign at its end, the record's
// own name, both. A sum is a reading "NAME.sum". Fields that end with _ must be understood: none is, so a
// record that has one is refused.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "base/cbor.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/blob_text.h"
#include "decode/format_kind.h"
#include "decode/json_payload.h"
#include "decode/json_walk.h"
#include "decode/reading_value.h"
#include "decode/time_rule.h"

namespace millrace {
namespace {

constexpr std::int64_t version_max = 10;
constexpr double relative_below = 268435456;  // 2^28 (RFC 8428, 4.5.3)

// The labels of RFC 8428, table 1.
enum Field { bn, bt, bu, bv, bs, bver, n, u, v, vs, vb, vd, s, t, ut, fields };
constexpr std::string_view labels[] = {"bn", "bt", "bu", "bv", "bs", "bver", "n", "u",
                                       "v",  "vs", "vb", "vd", "s",  "t",    "ut"};

// A label, none of which is longer than four characters, with its length as one number.
constexpr std::uint64_t packed(std::string_view label) {
  std::uint64_t out = label.size();
  for (const char c : label) out = out << 8 | static_cast<unsigned char>(c);
  return out;
}
constexpr std::array<std::uint64_t, fields> packed_labels = [] {
  std::array<std::uint64_t, fields> out{};
  for (std::size_t i = 0; i < fields; ++i) out[i] = packed(labels[i]);
  return out;
}();
// `fields`: it is none.
Field field_of(std::string_view label) {
  if (label.size() > 4) return fields;
  const auto known = std::ranges::find(packed_labels, packed(label));
  return static_cast<Field>(known - packed_labels.begin());
}

// Their numbers in CBOR (RFC 8428, table 4).
std::string_view word_of(std::string_view label) {
  static constexpr std::pair<std::string_view, Field> numbers[] = {
      {"-1", bver}, {"-2", bn}, {"-3", bt}, {"-4", bu}, {"-5", bv}, {"-6", bs}, {"0", n}, {"1", u},
      {"2", v},     {"3", vs},  {"4", vb},  {"5", s},   {"6", t},   {"7", ut},  {"8", vd}};
  for (const auto& [number, field] : numbers) {
    if (number == label) return labels[field];
  }
  return label;
}

class Pack final : public LenientHandler {
 public:
  Pack(const Payload& payload, const TimeRule& rule, const Template* device, bool cbor,
       std::vector<Record>& out, Unread& unread)
      : payload_(payload),
        rule_(rule),
        device_(device),
        cbor_(cbor),
        out_(out),
        unread_(unread),
        first_(out.size()) {}

  bool null() override { return value({Scalar::no_value}); }
  bool boolean(bool flag) override { return value({Scalar::truth, flag}); }
  bool number(std::string_view spelling) override { return value({Scalar::number, false, 0, spelling}); }
  bool string(std::string_view text) override { return value({Scalar::string, false, 0, text}); }
  // In CBOR "vd" is of these, and no text is.
  bool octets(std::string_view as_hex) override {
    if (depth_ == 2 && label_ != labels[vd]) return unreadable(as_hex);
    return value({Scalar::string, true, 0, as_hex});
  }
  bool unreadable(std::string_view token) override { return value({Scalar::unreadable, false, 0, token}); }
  bool key(std::string_view name) override {
    if (depth_ != 2) return true;
    label_ = cbor_ ? word_of(name) : name;
    field_ = field_of(label_);
    if (in_pack_ && label_.ends_with('_')) must_ = label_;  // whatever its value is
    return true;
  }
  bool begin_object() override {
    if (++depth_ == 2 && in_pack_) {
      for (Scalar& field : now_) field.kind = Scalar::none;
      record_place_ = place_;
      must_.clear();
    }
    return true;
  }
  bool end_object() override { return depth_-- != 2 || !in_pack_ || resolve(); }
  bool begin_array() override {
    if (++depth_ != 1) return true;
    in_pack_ = true;
    bases_ = {};  // of a pack, not of the one that follows in the same payload
    of_base_.reset();
    return true;
  }
  bool end_array() override {
    if (--depth_ == 0) end_pack();
    return true;
  }
  void skipped(std::string_view name, std::size_t values, std::string_view why) override {
    unread_.refuse({place_, place_ + static_cast<std::uint32_t>(values)}, name, why);
    place_ += static_cast<std::uint32_t>(values);
  }
  void broken(const std::string& why) override {
    unread_.refuse({place_, place_ + 1}, "", why);
    ++place_;
    depth_ = 0;
    end_pack();
  }
  const Status& fault() const { return fault_; }

 private:
  void end_pack() {
    in_pack_ = false;
    std::ranges::move(own_times_, std::back_inserter(out_));
    own_times_.clear();
  }

  bool value(Scalar scalar) {
    scalar.place = place_++;
    if (!in_pack_ || depth_ != 2) {
      if (depth_ <= 1) unread_.refuse({scalar.place, place_}, "", "not a SenML record");
      return true;
    }
    if (field_ != fields) now_[field_] = scalar;
    return true;
  }

  bool resolve() {
    std::string why = take_bases();
    if (why.empty()) why = make_readings();
    if (!fault_.ok()) return false;
    if (!why.empty()) unread_.refuse({record_place_, place_}, text("record ", record_), why);
    ++record_;
    return true;
  }

  std::string take_bases() {
    for (const Field field : {bn, bt, bu, bv, bs, bver}) {
      Scalar& given = now_[field];
      if (given.kind == Scalar::none) continue;
      if (given.kind != (field == bn || field == bu ? Scalar::string : Scalar::number))
        return text("\"", labels[field], "\" has the wrong type");
      if (field == bt) of_base_.reset();
      bases_[field] = given.text;
    }
    const std::string& version = bases_[bver];
    if (!version.empty() && (real_of(version).value_or(99) > static_cast<double>(version_max)))
      return text("SenML version ", shown(version, 20), " is not known");
    return must_.empty() ? std::string() : text("\"", shown(must_, 40), "\" must be understood, and is not");
  }

  static std::optional<double> real_of(std::string_view spelling) {
    double real = 0;
    const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), real);
    return parsed.ec == std::errc{} && parsed.ptr == spelling.data() + spelling.size() ? std::optional(real)
                                                                                       : std::nullopt;
  }

  // A number and its base. Without a base nothing is added, so that nothing is rounded.
  static std::string sum_of(std::string_view base, std::string_view own) {
    if (base.empty() || own.empty()) return std::string(base.empty() ? own : base);
    std::int64_t a = 0, b = 0;
    const auto whole = [](std::string_view text, std::int64_t& out) {
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
      return parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
    };
    std::int64_t both = 0;
    if (whole(base, a) && whole(own, b) && !__builtin_add_overflow(a, b, &both)) return text(both);
    return text(real_of(base).value_or(0) + real_of(own).value_or(0));
  }

  struct Dated {
    std::string why;               // of a time that is none
    std::optional<WallTime> time;  // nothing: that of the arrival
    bool of_arrival = false;       // it is relative to that
    std::string unbelieved;        // what the device said, where that is not believed
  };
  // Nearly all records of a pack have no time but the base's, which is read once.
  const Dated& date() {
    if (now_[t].kind != Scalar::none) return own_ = dated();
    if (!of_base_) of_base_ = dated();
    return *of_base_;
  }
  Dated dated() const {
    const Scalar& own = now_[t];
    if (own.kind != Scalar::none && own.kind != Scalar::number) return {"\"t\" is no number", {}};
    if (bases_[bt].empty() && own.kind == Scalar::none) return {};
    const std::string spelling = sum_of(bases_[bt], own.kind == Scalar::none ? std::string_view() : own.text);
    const auto seconds = real_of(spelling);
    if (!seconds) return {text("not a time: ", shown(spelling, 40)), {}};
    if (*seconds < relative_below) {
      const WallTime at{payload_.arrival.received.us +
                        static_cast<std::int64_t>(std::llround(std::max(*seconds, -1e11) * 1e6))};
      if (!is_within_bounds(at)) return {};
      return {"", at, true, ""};
    }
    const auto now = payload_.arrival.clock_trusted ? std::optional(payload_.arrival.received) : std::nullopt;
    const TimeFound found = read_time(spelling, true, rule_, now);
    if (found.kind == TimeFound::refused) return {text("not a time: ", shown(spelling, 40)), {}};
    if (found.kind == TimeFound::time) return {"", found.at};
    return {"", {}, false, spelling};
  }

  // Beside the readings from `from` on, as of other formats; once where more of the pack has the same.
  void keep_own_time(const std::string& unbelieved, std::size_t from) {
    if (unbelieved.empty() || from == out_.size() || !payload_.arrival.only.empty()) return;
    if (out_.size() + own_times_.size() - first_ >= Payload::records_max) return;
    for (std::size_t i = from; i < out_.size(); ++i) {
      if (out_[i].metric == JsonWalk::own_time_metric) return;
    }
    Record own = out_[from];
    own.metric = JsonWalk::own_time_metric;
    own.unit.clear();
    std::string unit, why;
    if (make_value(ValueSpec{}, own.metric, {Scalar::number, false, 0, unbelieved}, own.value, unit, why) !=
        Made::value)
      own.value = unbelieved;
    const bool again =
        !own_times_.empty() && own_times_.back().device == own.device && own_times_.back().value == own.value;
    if (!again) own_times_.push_back(std::move(own));
  }

  std::string make_readings() {
    const std::size_t from = out_.size();
    dated_ = nullptr;
    std::string why = make_dated_readings();
    if (dated_) keep_own_time(dated_->unbelieved, from);
    return why;
  }

  std::string make_dated_readings() {
    const Scalar* values[] = {&now_[v], &now_[vs], &now_[vb], &now_[vd]};
    const auto there = std::count_if(std::begin(values), std::end(values),
                                     [](const Scalar* one) { return one->kind != Scalar::none; });
    if (there > 1) return "more than one value";
    if (there == 0 && now_[s].kind == Scalar::none && (bases_[bv].empty() || now_[n].kind == Scalar::none)) {
      return bases_[bv].empty() && bases_[bs].empty() && now_[n].kind != Scalar::none
                 ? "no value in it"
                 : std::string();  // base fields alone
    }
    if (now_[n].kind != Scalar::none && now_[n].kind != Scalar::string) return "\"n\" is no text";
    if (std::string why = begin_reading(out_.emplace_back(payload_.prototype)); !why.empty())
      return refuse(std::move(why));
    const Scalar& sum = now_[s];
    if (sum.kind == Scalar::none) return put_value();
    if (there > 0) {
      Record of_sum = out_.back();
      if (std::string why = put_value(); !why.empty()) {  // it costs itself, not the sum
        const Scalar& value = **std::find_if(std::begin(values), std::end(values),
                                             [](const Scalar* one) { return one->kind != Scalar::none; });
        unread_.refuse({value.place, value.place + 1}, text("record ", record_), why);
      }
      out_.push_back(std::move(of_sum));
    }
    if (sum.kind == Scalar::no_value) ++unread_.no_value;
    if (sum.kind == Scalar::no_value) return refuse({});
    if (sum.kind != Scalar::number) {
      unread_.refuse({sum.place, sum.place + 1}, text("record ", record_), "\"s\" is no number");
      return refuse({});
    }
    out_.back().metric += ".sum";
    return put({Scalar::number, false, sum.place, keep(sum_of(bases_[bs], sum.text))});
  }

  // All but its value.
  std::string begin_reading(Record& record) {
    dated_ = &date();
    if (!dated_->why.empty()) return dated_->why;
    if (dated_->time) {
      record.time = *dated_->time;
      if (!dated_->of_arrival) record.trust = TimeTrust::device;
    }
    if (std::string why = name(record); !why.empty()) return why;
    record.unit = now_[u].kind == Scalar::string ? now_[u].text : std::string_view(bases_[bu]);
    Status status = check_label(Label::unit, record.unit, record.metric);
    return status.ok() ? std::string() : status.detail();
  }

  // What follows is of the reading that was begun: it gets its value, or is taken back.
  std::string refuse(std::string why) {
    out_.pop_back();
    return why;
  }

  std::string put_value() {
    if (now_[vd].kind != Scalar::none) {
      Bytes bytes;
      const bool of_its_kind = now_[vd].kind == Scalar::string && now_[vd].flag == cbor_;
      if (!of_its_kind ||
          !(cbor_ ? bytes_of_hex(now_[vd].text, bytes) : bytes_of_base64(now_[vd].text, bytes)))
        return refuse("\"vd\" is no data");
      if (!wanted(now_[vd].place)) return refuse({});
      out_.back().value = std::move(bytes);
      return {};
    }
    if (now_[vs].kind != Scalar::none)
      return now_[vs].kind == Scalar::string ? put(now_[vs]) : refuse("\"vs\" is no text");
    if (now_[vb].kind != Scalar::none)
      return now_[vb].kind == Scalar::truth ? put(now_[vb]) : refuse("\"vb\" is neither true nor false");
    Scalar number = now_[v];
    if (number.kind == Scalar::no_value) {
      ++unread_.no_value;
      return refuse({});
    }
    if (number.kind != Scalar::none && number.kind != Scalar::number) return refuse("\"v\" is no number");
    number.place = number.kind == Scalar::none ? record_place_ : number.place;
    if (number.kind == Scalar::none) number.text = bases_[bv];
    else if (!bases_[bv].empty()) number.text = keep(sum_of(bases_[bv], number.text));
    number.kind = Scalar::number;
    return put(number);
  }

  bool wanted(std::uint32_t place) const {
    return payload_.arrival.only.empty() || has_value(payload_.arrival.only, place);
  }
  std::string_view keep(std::string text) { return kept_ = std::move(text); }

  // What cannot be read of a record's two values (its own, and a sum) costs itself.
  std::string put(const Scalar& scalar) {
    static const ValueSpec as_it_comes;
    if (!wanted(scalar.place)) return refuse({});
    if (out_.size() - first_ > Payload::records_max) {
      fault_ = {Code::invalid, text("more values than the ", Payload::records_max, " a payload may have")};
      return refuse({});
    }
    Record& record = out_.back();
    std::string why;
    if (make_value(as_it_comes, record.metric, scalar, record.value, record.unit, why) == Made::value)
      return {};
    out_.pop_back();
    if (!why.empty()) unread_.refuse({scalar.place, scalar.place + 1}, text("record ", record_), why);
    return {};
  }

  std::string name(Record& record) const {
    const std::string_view own = now_[n].kind == Scalar::string ? now_[n].text : std::string_view();
    std::string_view base = bases_[bn];
    while (!base.empty() && std::string_view(":/._-").find(base.back()) != std::string_view::npos)
      base.remove_suffix(1);
    record.metric = own.empty() ? base : own;
    if (Status status = check_label(Label::metric, record.metric); !status.ok()) return status.detail();
    if (!device_) return {};
    const std::string whole = bases_[bn] + std::string(own);
    std::vector<std::string_view> members;
    for (const std::string& member : device_->members())
      members.push_back(member == "bn" ? base : member == "n" ? own : std::string_view(whole));
    device_->render(payload_.levels, payload_.arrival.input, record.device, members);
    Status status = check_label(Label::device, record.device);
    return status.ok() ? std::string() : status.detail();
  }

  const Payload& payload_;
  const TimeRule& rule_;
  const Template* device_;
  const bool cbor_;
  std::vector<Record>& out_;
  Unread& unread_;
  const std::size_t first_;
  std::size_t depth_ = 0, record_ = 0;
  bool in_pack_ = false;
  std::uint32_t place_ = 0, record_place_ = 0;
  std::string_view label_;
  Field field_ = fields;
  std::string must_, kept_;
  Scalar now_[fields];
  Dated own_;
  std::optional<Dated> of_base_;             // since the base time came
  const Dated* dated_ = nullptr;             // of them that of the record in work
  std::vector<Record> own_times_;            // what the device said that was not believed
  std::array<std::string, bver + 1> bases_;  // by field
  Status fault_;
};

class SenmlFormat final : public PayloadFormat {
 public:
  SenmlFormat(TimeRule rule, Template device, bool cbor, bool strict)
      : rule_(std::move(rule)), device_(std::move(device)), cbor_(cbor), strict_(strict) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    const Template* device = device_.members().empty() ? nullptr : &device_;
    Pack pack(payload, rule_, device, cbor_, out, unread);
    const Status status = read(payload, pack, unread);
    if (status.ok()) return status;
    out.resize(before);
    if (!cbor_) unread.clear();
    return pack.fault().ok() ? status : pack.fault();
  }

 private:
  Status read(const Payload& payload, Pack& pack, Unread& unread) const {
    if (cbor_) {
      std::size_t documents = 0;
      return read_cbor(payload.arrival.bytes, pack, documents);
    }
    return read_json_payload(payload.arrival.bytes, strict_, pack, unread);
  }

  TimeRule rule_;
  Template device_;
  bool cbor_, strict_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  for (const auto& [key, given] :
       {std::pair{"each", !route.each.empty()}, std::pair{"time", !route.time.empty()},
        std::pair{"time_format", route.time_format != "auto"},
        std::pair{"time_zone", !route.time_zone.empty()}, std::pair{"time_missing", route.time_needed},
        std::pair{"quality", !route.quality.empty()},
        std::pair{"quality_format", route.quality_format != "auto"},
        std::pair{"separator", route.separator != ","}, std::pair{"decimal", route.decimal != "."},
        std::pair{"metrics", !route.metrics.empty()}}) {
    if (given)
      return Status{Code::invalid,
                    text("\"", key, "\" is not for format = \"", route.format, "\": the pack says it")};
  }
  RouteConfig of_pack = route;
  of_pack.time_format = "s";
  auto rule = time_rule_of(of_pack);
  if (!rule.ok()) return rule.status();
  auto device = Template::parse(route.device, pattern, route.publisher_known);
  if (!device.ok()) return device.status();
  for (const std::string& member : device.value().members()) {
    if (member != "bn" && member != "n" && member != "name")
      return Status{Code::invalid,
                    text("device: of SenML there are {.bn}, {.n} and {.name}, not {.", member, "}")};
  }
  for (const auto& [tag, value] : route.fixed_tags) {
    if (auto made = Template::parse(value, pattern, route.publisher_known);
        made.ok() && !made.value().members().empty()) {
      return Status{Code::invalid,
                    text("tag \"", tag, "\": of SenML only the device can be named by the pack")};
    }
  }
  return std::unique_ptr<PayloadFormat>(std::make_unique<SenmlFormat>(
      std::move(rule).value(), std::move(device).value(), route.format == "senml_cbor", route.strict));
}

}  // namespace

extern const FormatKind senml_format_kind, senml_cbor_format_kind;
const FormatKind senml_format_kind = format_kind("senml", "SenML packs in JSON", make);
const FormatKind senml_cbor_format_kind = format_kind("senml_cbor", "SenML packs in CBOR", make);

}  // namespace millrace
