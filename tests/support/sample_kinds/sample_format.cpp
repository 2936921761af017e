// format = "sample": all of a kind of payload format in one file: here words, counted. It has keys of its own
// (beside `format`), a memory (how many words came so far, kept over a restart), and it says something
// back when it is asked ("?").
#include "base/text.h"
#include "decode/format_kind.h"
#include "record/varint.h"

namespace millrace {

namespace {

struct SampleConfig {
  std::string separator = " ";
  std::int64_t words_max = 1000;
};
using C = SampleConfig;
using K = KeysOf<C>;
constexpr Key keys[] = {
    K::key<&C::separator>("word_separator", "What stands between words"),
    K::key<&C::words_max>("words_max", "Of a payload; more are refused").within(1, 100'000),
};
constexpr Shape shape = shape_of<C>(keys);

class SampleMemory final : public FormatMemory {
 public:
  std::uint64_t words = 0;

  void load(std::string_view, BytesView bytes) override { words = wire::Reader(bytes).get_varint(); }
  bool changed() const override { return words != saved_; }
  void save(std::vector<Piece>& out) override {
    Bytes bytes;
    wire::Writer(bytes).put_varint(saved_ = words);
    out.push_back({"words", std::move(bytes)});
  }
  std::vector<std::pair<std::string, double>> figures() const override {
    return {{"words", static_cast<double>(words)}};
  }

 private:
  std::uint64_t saved_ = 0;
};

class SampleFormat final : public PayloadFormat {
 public:
  explicit SampleFormat(const RouteConfig& route) : config_(keys_of<C>(route)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const std::string_view given = text_of(payload.arrival.bytes);
    if (given == "?" && payload.beside) payload.beside->replies.push_back({"sample/answer", Bytes(1)});
    const auto words = static_cast<std::int64_t>(split(given, config_.separator[0]).size());
    if (words > config_.words_max) {
      unread.refuse({0, 1}, "", text(words, " words"));
      return {};
    }
    Record record = payload.prototype;
    record.metric = "words";
    auto& memory = static_cast<SampleMemory&>(*payload.memory);
    if (!payload.arrival.again) memory.words += static_cast<std::uint64_t>(words);
    record.value = static_cast<std::int64_t>(memory.words);
    out.push_back(std::move(record));
    return {};
  }
  std::unique_ptr<FormatMemory> make_memory() const override { return std::make_unique<SampleMemory>(); }

 private:
  const C config_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern&) {
  if (keys_of<C>(route).separator.size() != 1)
    return Status{Code::invalid, "word_separator is one character"};
  return std::unique_ptr<PayloadFormat>(std::make_unique<SampleFormat>(route));
}

}  // namespace

extern const FormatKind sample_format_kind;
const FormatKind sample_format_kind = format_kind<C>("sample", "words, counted", shape, make);

}  // namespace millrace
