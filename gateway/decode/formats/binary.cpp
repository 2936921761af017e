// Raw bytes by a layout (decode/layout.h): the payload itself, also as hex or base64 text, or bytes that
// stand in a member of a JSON payload (LoRaWAN: ChirpStack's `data`, TTN's `uplink_message.frm_payload`).
// Fields are members of the message; those in a member of JSON are members of that member. Without [metrics]
// each field is a reading by its name, but what is time, quality or a name, and of the JSON around it nothing
// is. With `repeat` the layout comes again every so many bytes, and each is a message.
#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/blob_text.h"
#include "decode/format_kind.h"
#include "decode/json_payload.h"
#include "decode/layout.h"
#include "decode/path_follower.h"

namespace millrace {
namespace {

struct BinaryConfig {
  std::string inside;
  std::string encoding = "auto";
  std::string byte_order = "big";
  std::int64_t skip = 0, repeat = 0;
  std::vector<FieldConfig> fields;
};
using C = BinaryConfig;
using K = KeysOf<C>;
constexpr Key keys[] = {
    K::key<&C::inside>("inside", "The bytes are a text in this member of a JSON payload")
        .like("\"uplink_message.frm_payload\""),
    K::choice<&C::encoding>("encoding", "auto|raw|hex|base64",
                            "How the bytes come; auto: of a payload raw, of a member of JSON base64"),
    K::choice<&C::byte_order>("byte_order", "big|little|BADC|CDAB",
                              "Of numbers of more than a byte; CDAB: big, with words of 16 bits swapped"),
    K::key<&C::skip>("skip", "Bytes in front of the first field").within(0, 65'535),
    K::key<&C::repeat>("repeat", "The layout comes again every so many bytes; 0: once").within(0, 65'535),
    K::entries<&C::fields>("fields", field_shape,
                           "What stands where; each is a reading of its name, unless there are metrics")
        .like("{ temperature = { at = 0, type = \"i16\", scale = 0.01, unit = \"C\", no_value = -32768 }, "
              "alarm = { at = 2, type = \"bits\", bit = 7 } }"),
};
constexpr Shape shape = shape_of<C>(keys);

enum class Encoding : std::uint8_t { raw, hex, base64 };

// A text without what is around it: blanks, a byte order mark, the NUL at the end of a C string.
std::string_view unframed(std::string_view given) {
  given = without_mark(given);
  while (given.ends_with('\0')) given.remove_suffix(1);
  return trim(given);
}

// Of what came as `given`, which is hex or base64. False: it is no such text.
bool decoded(Encoding encoding, std::string_view given, Bytes& out) {
  return encoding == Encoding::hex ? bytes_of_hex(given, out) : bytes_of_base64(given, out);
}

// Between a reader of JSON and the walk: the text at a path becomes an object of fields.
class BlobWalk final : public LenientHandler {
 public:
  // Blobs have places of their own, behind all of the JSON's: this bit, which blob, where in it.
  static constexpr std::uint32_t blobs = 0x8000'0000, blob_max = 2000, blob_bytes_max = 32'768;
  static constexpr unsigned blob_shift = 20;

  BlobWalk(const std::vector<PathStep>& path, const Layout& layout, Encoding encoding, std::size_t skip,
           JsonWalk& walk, Unread& unread)
      : path_(path), layout_(layout), encoding_(encoding), skip_(skip), walk_(walk), unread_(unread) {
    walk_.also(&also_);
  }

  bool null() override {
    reserve();
    if (path_.value()) ++unread_.no_value;
    return walk_.null();
  }
  bool boolean(bool value) override {
    return tell([&] { return walk_.boolean(value); });
  }
  bool number(std::string_view spelling) override {
    return tell([&] { return walk_.number(spelling); });
  }
  bool unreadable(std::string_view token) override {
    return tell([&] { return walk_.unreadable(token); });
  }
  bool string(std::string_view value) override {
    reserve();
    if (path_.value()) return blob(value);
    return walk_.string(value);
  }
  bool key(std::string_view name) override {
    path_.key(name);
    return walk_.key(name);
  }
  bool begin_object() override { return enter(false) && walk_.begin_object(); }
  bool end_object() override { return leave() && walk_.end_object(); }
  bool begin_array() override { return enter(true) && walk_.begin_array(); }
  bool end_array() override { return leave() && walk_.end_array(); }
  void skipped(std::string_view name, std::size_t values, std::string_view why) override {
    walk_.skipped(name, values, why);
  }
  void broken(const std::string& why) override {
    path_.clear();
    walk_.broken(why);
  }

 private:
  template <typename Tell>
  bool tell(Tell tell) {
    reserve();
    (void)path_.value();
    return tell();
  }
  // A message without a blob has the places of one, which a later try may find elsewhere in it.
  void reserve() {
    if (!also_.empty() || count_ + (unused_ ? 1 : 0) >= blob_max) return;
    if (std::exchange(unused_, true)) ++count_;
    also_.push_back(run_of(count_));
  }
  static ValueRun run_of(std::uint32_t blob) {
    const std::uint32_t from = blobs | blob << blob_shift;
    return {from, from + (1u << blob_shift)};
  }
  bool enter(bool array) {
    if (path_.depth() == 0) also_.clear();
    (void)path_.value();
    path_.enter(array);
    return true;
  }
  bool leave() {
    path_.leave();
    return true;
  }

  bool blob(std::string_view given) {
    const std::uint32_t place = walk_.places();
    const bool room = count_ < blob_max;
    const char* why = !decoded(encoding_, given, bytes_)
                          ? (encoding_ == Encoding::hex ? "no hex: " : "no base64: ")
                      : bytes_.size() > blob_bytes_max ? "too many bytes: "
                      : !room                          ? "more blobs than a payload may have: "
                                                       : nullptr;
    // A bad one has its places, too: a later try may read it. And it is a member or an element as any other.
    const ValueRun run = run_of(room ? count_++ : blob_max);
    const std::uint32_t from = run.from;
    unused_ = false;
    if (room) also_.push_back(run);
    const bool on = walk_.begin_object();
    if (on && why) {
      (void)walk_.key("");  // there is something, and no condition takes it for nothing
      unread_.refuse({place, place + 1}, "", text(why, shown(given, 40)));
      if (room) unread_.missing.push_back(run);
    } else if (on && bytes_.size() <= skip_) {
      ++unread_.no_value;
    } else if (on) {
      layout_.tell(BytesView(bytes_).subspan(std::min(skip_, bytes_.size())),
                   from + static_cast<std::uint32_t>(skip_ * 16), walk_, unread_, texts_.emplace_back());
    }
    walk_.at(place + 1);
    return on && walk_.end_object();
  }

  PathFollower path_;
  const Layout& layout_;
  const Encoding encoding_;
  const std::size_t skip_;
  JsonWalk& walk_;
  Unread& unread_;
  Bytes bytes_;
  // of each blob: a message may wait for the end of the payload
  std::vector<std::vector<std::string>> texts_;
  ValueRuns also_;
  std::uint32_t count_ = 0;
  bool unused_ = false;  // a blob's places are reserved, and none came
};

class BinaryFormat final : public PayloadFormat {
 public:
  BinaryFormat(const C& config, std::vector<PathStep> inside, Layout layout, std::unique_ptr<JsonPlan> plan)
      : plan_(std::move(plan)),
        layout_(std::move(layout)),
        inside_(std::move(inside)),
        skip_(static_cast<std::size_t>(config.skip)),
        repeat_(static_cast<std::size_t>(config.repeat)) {
    encoding_ = config.encoding == "hex"                      ? Encoding::hex
                : config.encoding == "base64"                 ? Encoding::base64
                : config.encoding == "raw" || inside_.empty() ? Encoding::raw
                                                              : Encoding::base64;
  }

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::size_t before = out.size();
    JsonWalk walk(*plan_, payload, out, unread);
    Status status = inside_.empty() ? decode_bytes(payload.arrival.bytes, walk, unread)
                                    : decode_inside(payload, walk, unread);
    if (!walk.fault().ok()) status = walk.fault();
    if (!status.ok()) {
      out.resize(before);
      unread.clear();
    }
    return status;
  }

  RouteJudge* judge() const override { return plan_->judge.get(); }

 private:
  Status decode_bytes(BytesView bytes, JsonWalk& walk, Unread& unread) const {
    Bytes made;
    if (encoding_ != Encoding::raw) {
      if (!decoded(encoding_, unframed(text_of(bytes)), made))
        return {Code::invalid,
                encoding_ == Encoding::hex ? "the payload is no hex" : "the payload is no base64"};
      bytes = made;
    }
    if (bytes.size() > Layout::bytes_max * 16)
      return {Code::invalid, text("more than ", Layout::bytes_max * 16, " bytes")};
    std::vector<std::string> texts;
    const std::size_t step = repeat_ == 0 ? SIZE_MAX : repeat_;
    for (std::size_t from = skip_; from < bytes.size() && walk.fault().ok();
         from += std::min(step, bytes.size() - from)) {
      const BytesView part = bytes.subspan(from, std::min(step, bytes.size() - from));
      const auto place = static_cast<std::uint32_t>(from * 16),
                 end = static_cast<std::uint32_t>((from + part.size()) * 16);
      walk.at(place);
      if (repeat_ > 0 && part.size() < repeat_) {
        walk.skipped("", end - place, text(part.size(), " bytes are left, of ", repeat_));
        break;
      }
      (void)walk.begin_object();
      layout_.tell(part, place, walk, unread, texts);
      walk.at(end);
      (void)walk.end_object();
    }
    if (bytes.size() <= skip_) ++unread.no_value;
    return {};
  }

  Status decode_inside(const Payload& payload, JsonWalk& walk, Unread& unread) const {
    BlobWalk blobs(inside_, layout_, encoding_, skip_, walk, unread);
    return read_json_payload(payload.arrival.bytes, plan_->strict, blobs, unread);
  }

  std::unique_ptr<JsonPlan> plan_;
  Layout layout_;
  std::vector<PathStep> inside_;
  std::size_t skip_, repeat_;
  Encoding encoding_ = Encoding::raw;
};

// Whether a field only says the time, the quality or a name.
bool is_beside(const RouteConfig& route, const std::string& path) {
  if (route.time == path || route.time_of_day == path || route.quality == path) return true;
  const auto names = [&](const std::string& made) {
    return made.find(text("{.", path, "}")) != std::string::npos;
  };
  return names(route.device) ||
         std::ranges::any_of(route.fixed_tags, [&](const auto& tag) { return names(tag.second); });
}

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& given, const TopicPattern& topic) {
  const C config = keys_of<C>(given);
  RouteConfig route = given;
  auto layout = Layout::make(config.fields, config.byte_order);
  if (!layout.ok()) return layout.status();
  if (config.inside.empty() && !route.each.empty())
    return Status{Code::invalid, "each is for lists: bytes have `repeat`"};
  if (!config.inside.empty() && config.repeat > 0)
    return Status{Code::invalid, "repeat is of payloads that are bytes, not of those inside of JSON"};
  if (!config.inside.empty() && config.encoding == "raw")
    return Status{Code::invalid, "bytes in a member of JSON are text: encoding = \"base64\" or \"hex\""};
  std::vector<PathStep> inside;
  if (!config.inside.empty()) {
    auto path = parse_json_path(config.inside);
    if (!path.ok()) return path.status();
    if (path.value().from != JsonPath::message || path.value().steps.empty())
      return Status{Code::invalid, text("inside = \"", config.inside, "\" is no member")};
    inside = std::move(path.value().steps);
  }
  if (route.metrics.empty()) {
    for (const FieldConfig& field : config.fields) {
      std::string path = config.inside;
      append_step(path, field.name);
      if (!is_beside(route, path)) route.metrics.push_back({field.name, path, field.unit});
    }
  }
  // The blob is found from the root of the payload, paths of a message from where that begins.
  if (!route.each.empty()) {
    auto each = parse_each(route.each);
    if (!each.ok()) return each.status();
    inside.insert(inside.begin(), each.value().begin(), each.value().end());
  }
  auto plan = compile_json_plan(route, topic);
  if (!plan.ok()) return plan.status();
  std::vector<std::string> names;
  for (const FieldConfig& field : config.fields) names.push_back(field.name);
  const auto unknown = config.inside.empty() ? plan.value()->other_member(names) : std::nullopt;
  if (unknown) return Status{Code::invalid, text("`fields` has no \"", *unknown, "\"")};
  return std::unique_ptr<PayloadFormat>(std::make_unique<BinaryFormat>(
      config, std::move(inside), std::move(layout).value(), std::move(plan).value()));
}

}  // namespace

extern const FormatKind binary_format_kind;
const FormatKind binary_format_kind = by_paths(format_kind<C>("binary", "bytes by a layout", shape, make));

}  // namespace millrace
