// framing = "nmea": sentences of NMEA 0183, "$GPRMC,...*5A" and "!AIVDM,...*hh", also behind a tag block.
// Their topic is talker and type: "GP/RMC", "AI/VDM"; of proprietary ones "P/GRME".
#include <string>

#include "config/toml.h"
#include "decode/framer.h"
#include "decode/sentence.h"

namespace millrace {
namespace {

struct NmeaConfig {
  std::string checksum = "needed";
};
using C = NmeaConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::choice<&C::checksum>("checksum", "needed|if_there",
                            "A sentence whose checksum is wrong is never taken, but counted"),
};
constexpr Shape shape = shape_of<C>(keys);

class NmeaFramer final : public Framer {
 public:
  NmeaFramer(const NmeaConfig& config, std::size_t frame_max)
      : Framer(frame_max), needed_(config.checksum == "needed") {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) step(c, take);
  }

  bool begun() const override { return !line_.empty(); }
  bool knows_topics() const override { return true; }

 private:
  void skip() override {}  // '$' begins it
  void forget() override {
    discard(line_.size());
    line_.clear();
  }

  void step(char c, const Take& take) {
    if (c == '\r' || c == '\n') return end(take);
    const bool after_tags = line_.size() > 1 && line_.front() == '\\' && line_.back() == '\\';
    if ((c == '$' || c == '!') && !after_tags) {
      if (summed(line_)) end(take);  // the end of its line was lost
      forget();
      begin();
    } else if (line_.empty() && c != '\\') {
      begin();
      return discard(1);
    }
    if (c < ' ' || c > '~' || line_.size() >= frame_max()) {  // no sentence has such characters
      forget();
      return discard(1);
    }
    line_ += c;
  }

  static bool summed(std::string_view line) {
    const Sentence sentence = split_sentence(line);
    return sentence.ok && sentence.summed;
  }

  void end(const Take& take) {
    if (line_.empty()) return;
    const Sentence sentence = split_sentence(line_);
    if (!sentence.ok || (needed_ && !sentence.summed)) {
      refuse();
    } else {
      deliver({bytes_of(line_), text_of_topic(sentence)}, take);
    }
    line_.clear();
  }

  std::string_view text_of_topic(const Sentence& sentence) {
    topic_ = std::string(sentence.talker) + "/" + std::string(sentence.type);
    return topic_;
  }

  const bool needed_;
  std::string line_, topic_;
};

}  // namespace

extern const FramerKind nmea_framer_kind;
const FramerKind nmea_framer_kind = framer_kind<C, NmeaFramer>("nmea", "sentences of NMEA 0183", shape);

}  // namespace millrace
