// framing = "sample": all of a kind of framer in one file: here words that a blank or a line's end ends.
#include <string>

#include "config/toml.h"
#include "decode/framer.h"

namespace millrace {
namespace {

struct SampleConfig {
  bool shout = false;
};
using C = SampleConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::shout>("shout", "Only words in capitals"),
};
constexpr Shape shape = shape_of<C>(keys);

class WordFramer final : public Framer {
 public:
  WordFramer(const SampleConfig& config, std::size_t frame_max) : Framer(frame_max), shout_(config.shout) {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) {
      if (c == ' ' || c == '\n') end(take);
      else if (word_.size() < frame_max()) word_ += c;
      else spoil();  // too long: not to be taken, and no more of it is kept
    }
  }

 private:
  void forget() override { word_.clear(); }
  void end(const Take& take) {
    const bool good = !shout_ || word_.find_first_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos;
    if (!word_.empty() && good) deliver({bytes_of(word_), {}}, take);
    word_.clear();
    begin();
  }

  const bool shout_;
  std::string word_;
};

}  // namespace

extern const FramerKind sample_framer_kind;
const FramerKind sample_framer_kind = framer_kind<C, WordFramer>("sample", "words", shape);

}  // namespace millrace
