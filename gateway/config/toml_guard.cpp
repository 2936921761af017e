#include "config/toml_guard.h"

namespace millrace {
namespace {

// Goes through a file byte by byte and knows where texts and comments are.
class Guard {
 public:
  explicit Guard(std::string_view content) : content_(content) {}

  std::optional<ConfigError> look() {
    for (; at_ < content_.size(); ++at_) {
      const char c = content_[at_];
      ++column_;
      if (c == '\n') end_line();
      else if (comment_) continue;
      else if (!quote_.empty()) pass_text(c);
      else if (const char* fault = pass(c)) return ConfigError{line_, column_, fault};
    }
    return std::nullopt;
  }

 private:
  void end_line() {
    ++line_;
    column_ = 0;
    parts_ = 1;
    comment_ = false;
    if (quote_.size() == 1) quote_ = {};  // a text that is not closed: toml++ says so
  }

  void skip(std::size_t bytes) {
    at_ += bytes;
    column_ += static_cast<int>(bytes);
  }

  void pass_text(char c) {
    if (c == '\\' && quote_[0] == '"') {
      skip(1);
      if (at_ < content_.size() && content_[at_] == '\n') {
        ++line_;
        column_ = 0;
      }
    } else if (content_.substr(at_, quote_.size()) == quote_) {
      skip(quote_.size() - 1);
      // Up to two more before the three that end it are of the text.
      for (int more = 0; quote_.size() == 3 && more < 2; ++more) {
        if (content_.substr(at_ + 1, 1) != quote_.substr(0, 1)) break;
        skip(1);
      }
      quote_ = {};
    }
  }

  void begin_text(char c) {
    static constexpr std::string_view triple[] = {"\"\"\"", "'''"};
    const std::string_view three = triple[c == '"' ? 0 : 1];
    quote_ = content_.substr(at_, 3) == three ? three : three.substr(0, 1);
    skip(quote_.size() - 1);
  }

  // Outside of texts and comments. Null: nothing is wrong.
  const char* pass(char c) {
    if (static_cast<unsigned char>(c) >= 0x80)
      return "a character that is not ASCII stands outside of quotes (a no-break space, a curly quote?)";
    switch (c) {
      case '#': comment_ = true; break;
      case '"':
      case '\'': begin_text(c); break;
      case '.': return ++parts_ > toml_key_parts_max ? "a key of more than 16 names" : nullptr;
      case '[':
      case '{':
        parts_ = 1;
        return ++depth_ > toml_depth_max ? "lists and tables that lie more than 64 deep in one another"
                                         : nullptr;
      case ']':
      case '}': --depth_; [[fallthrough]];
      case '=':
      case ',': parts_ = 1; break;
      default: break;
    }
    return nullptr;
  }

  const std::string_view content_;
  std::size_t at_ = 0;
  int line_ = 1, column_ = 0;
  std::string_view quote_;  // the one that ends the text we are in
  bool comment_ = false;
  int parts_ = 1, depth_ = 0;
};

}  // namespace

std::optional<ConfigError> fault_before_parsing(std::string_view content) {
  if (content.starts_with("\xFF\xFE") || content.starts_with("\xFE\xFF"))
    return ConfigError{1, 1, "the file is UTF-16 (\"Unicode\" of an editor); save it as UTF-8"};
  return Guard(content).look();
}

}  // namespace millrace
