// framing = "lines": text that something ends.
#include <string>

#include "config/toml.h"
#include "decode/framer.h"

namespace millrace {
namespace {

struct LinesConfig {
  std::string line_end = "auto";
  std::string topic_until;
};
using C = LinesConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::choice<&C::line_end>("line_end", "auto|lf|cr|crlf",
                            "What ends a line; auto: LF, CR, both, or ETX. Empty lines are skipped"),
    K::key<&C::topic_until>("topic_until",
                            "What of a line stands before this character is its topic in routes")
        .like("\",\""),
};

void settle(Section& section, LinesConfig& c) {
  if (c.topic_until.size() > 1) section.error("topic_until", "\"topic_until\" is one character");
}
constexpr Shape shape = shape_of<C, settle>(keys);

class LineFramer final : public Framer {
 public:
  LineFramer(const LinesConfig& config, std::size_t frame_max)
      : Framer(frame_max),
        ends_(config.line_end == "auto" ? "\r\n\x03"
              : config.line_end == "cr" ? "\r"
                                        : "\n"),
        both_(config.line_end == "crlf"),
        until_(config.topic_until) {}

  void push(BytesView chunk, const Take& take) override {
    for (const char c : text_of(chunk)) {
      const bool ends = ends_.find(c) != std::string_view::npos && (!both_ || last_ == '\r');
      last_ = c;
      if (ends) end(take);
      else add(c);
    }
  }
  bool begun() const override { return !line_.empty() || overlong_; }
  bool knows_topics() const override { return !until_.empty(); }

 private:
  // The rest of a line looks as a line does: "34.5" of "1234.5".
  void skip() override { overlong_ = true; }
  void forget() override {
    discard(line_.size());
    line_.clear();
    overlong_ = false;
    last_ = 0;
  }

  void add(char c) {
    if (overlong_) return discard(1);
    // CR LF: the CR is there before it is known to be none of the line's.
    if (line_.size() < frame_max() + (both_ && c == '\r' ? 1 : 0)) {
      line_ += c;
      return;
    }
    overlong_ = true;
    discard(line_.size() + 1);
    line_.clear();
  }

  void end(const Take& take) {
    if (both_ && !line_.empty()) line_.pop_back();
    if (!overlong_ && !line_.empty()) {
      const std::size_t until = until_.empty() ? std::string::npos : line_.find(until_);
      deliver({bytes_of(line_),
               until == std::string::npos ? std::string_view{} : std::string_view(line_).substr(0, until)},
              take);
    }
    begin();
    line_.clear();
    overlong_ = false;
  }

  const std::string_view ends_;
  const bool both_;
  const std::string until_;
  std::string line_;
  bool overlong_ = false;  // up to the next end nothing is of a line
  char last_ = 0;
};

}  // namespace

extern const FramerKind lines_framer_kind;
const FramerKind lines_framer_kind =
    framer_kind<C, LineFramer>("lines", "text that ends with its line", shape);

}  // namespace millrace
