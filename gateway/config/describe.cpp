#include "config/describe.h"

#include "base/text.h"
#include "config/config.h"
#include "config/key_text.h"

namespace millrace {
namespace {

constexpr std::size_t comment_column = 34, line_width = 118;
struct Chapter {
  std::string_view before, title;
};
constexpr Chapter chapters[] = {{"inputs", "where readings come from"},
                                {"windows", "what is made of them"},
                                {"uplinks", "where they go"},
                                {"observe", "who looks at it"}};
constexpr const char* opening =
    R"(# /etc/millrace/millrace.toml: the gateway's configuration, annotated. Check it with `millrace check`.
# `millrace config` writes this text, `millrace config KIND` the part of a kind. Values in comments are the
# defaults, or examples. Durations are texts ("200ms", "30s", "5min", "7d"), sizes too ("64KiB", "512MiB");
# ${NAME} is taken from the environment. Secrets are never written here: keys ending in _file name a file that
# only millrace can read, or "cred:NAME". A password, certificate, key or users file that is not there yet is
# waited for; everything else runs.
)";

// Words that fill lines of `width`.
std::vector<std::string> wrapped(std::string_view words, std::size_t width) {
  std::vector<std::string> lines(1);
  for (const std::string_view word : split(words, ' ')) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    lines.back() += text(lines.back().empty() ? "" : " ", word);
  }
  return lines;
}

// "\"none\", \"even\" or \"odd\": help; bounds".
std::string comment_of(const Key& key) {
  std::string out;
  if (key.words || key.choices) {
    const auto words = words_of(key);
    for (std::size_t i = 0; i < words.size(); ++i) {
      out += text(i == 0 ? "" : i + 1 == words.size() ? " or " : ", ", quoted(words[i]));
    }
  }
  if (*key.help) out += text(out.empty() ? "" : ": ", key.help);
  if (const std::string bounds = bounds_words(key); !bounds.empty())
    out += text(out.empty() ? "" : "; ", bounds);
  return out;
}

bool is_block(const Key& key) {
  return (key.type == Key::Type::table && !key.in_line) || key.type == Key::Type::tables;
}

class Annotation {
 public:
  // `said`: it stands there, not only in comments; of it what is required or said first.
  void block(const std::string& header, const Shape& shape, void* object, std::string_view help, bool said) {
    out_ += '\n';
    if (!help.empty()) comment("", help);
    out_ += text(said ? "" : "# ", header, "\n");
    const std::string path =
        header.substr(header.find_first_not_of('['), header.find(']') - header.find_first_not_of('['));
    rows(shape, object, path, "", said);
  }
  void comment(const std::string& indent, std::string_view words) {
    for (const std::string& line : wrapped(words, line_width - 2 - indent.size()))
      out_ += text(indent, "# ", line, "\n");
  }
  void chapter(std::string_view title) {
    const std::string line = text("\n# ---- ", title, " ");
    out_ += line + std::string(line_width - line.size(), '-') + "\n";
  }
  std::string take() { return std::move(out_); }

 private:
  void rows(const Shape& shape, void* object, const std::string& path, const std::string& indent, bool said) {
    values(shape, object, indent, said);
    blocks(shape, object, path, indent, said);
  }

  void values(const Shape& shape, void* object, const std::string& indent, bool said) {
    for (const Key& key : shape) {
      if (key.old) continue;
      if (key.type == Key::Type::include) values(*key.shape, key.at(object), indent, said);
      else if (!is_block(key)) value(key, key.at(object), indent, said && key.first);
      if (key.type == Key::Type::chosen) choices(key, indent);
    }
  }

  // The keys of each that can be chosen, further in: those of one and those of another never stand together.
  void choices(const Key& key, const std::string& indent) {
    for (const ChoiceKind* kind : key.choices()) {
      const auto object = kind->make_values();
      lead_ = "# ";
      if (kind->shape->count > 0)
        comment(indent, text("With ", key.name, " = ", quoted(kind->name), ": ", kind->help));
      lead_ = "#   ";
      values(*kind->shape, object.get(), indent, false);
    }
    lead_ = "# ";
  }

  void value(const Key& key, void* member, const std::string& indent, bool said) {
    const std::string shown = text(indent, said ? "" : lead_, key.name, " = ", shown_value(key, member));
    const std::string words = comment_of(key);
    if (!words.empty() && shown.size() > comment_column + 20) {
      comment(indent, words);
      out_ += shown + "\n";
    } else {
      beside(shown, words);
    }
  }

  void beside(std::string line, const std::string& words) {
    const std::size_t column = std::max(comment_column, line.size() + 1);
    std::string lead = "# ";
    for (const std::string& part : wrapped(words, line_width - column - 4)) {
      if (!part.empty()) {
        line.resize(std::max(column, line.size()), ' ');
        if (line.find_first_not_of(' ') == std::string::npos) line[0] = '#';
        line += lead + part;
      }
      out_ += line + "\n";
      line.clear();
      lead = "  ";
    }
  }

  void blocks(const Shape& shape, void* object, const std::string& path, const std::string& indent,
              bool said) {
    for (const Key& key : shape) {
      if (key.old) continue;
      void* member = key.at(object);
      const std::string inner = text(path, ".", key.name);
      const bool stands = said && key.first;
      if (key.type == Key::Type::include) {
        blocks(*key.shape, member, path, indent, said);
      } else if (key.type == Key::Type::tables) {
        beside(text(indent, "  ", stands ? "" : "# ", "[[", inner, "]]"), key.help);
        rows(*key.shape, key.list->add(member), inner, indent + "  ", stands);
      } else if (is_block(key)) {
        beside(text(indent, stands ? "" : "# ", "[", inner, "]"), key.help);
        rows(*key.shape, member, inner, indent, stands);
      }
    }
  }

  std::string out_;
  std::string_view lead_ = "# ";  // of what is not said
};

void annotate(Annotation& out, const Key& key, Config& config, const PartKind* kind, bool alone) {
  if (kind) {
    const auto values = kind->make_values();
    out.block(text("[[", key.name, ".", kind->name, "]]"), *kind->shape, values.get(), kind->help,
              alone || kind->first);
  } else if (key.type == Key::Type::tables) {
    out.block(text("[[", key.name, "]]"), *key.shape, key.list->add(key.at(&config)), key.help,
              alone || key.first);
  } else {
    out.block(text("[", key.name, "]"), *key.shape, key.at(&config), key.help, alone || key.first);
  }
}

// `see(key, kind, name)` of each block, in order; `kind`: null of those that are no kind's.
template <typename See>
void for_each_block(const Kinds& kinds, See see) {
  for (const Key& key : config_shape) {
    if (key.type != Key::Type::parts) {
      see(key, nullptr, std::string(key.name));
      continue;
    }
    for (const PartKind* kind : kinds_of(kinds, key)) see(key, kind, text(key.name, ".", kind->name));
  }
}

}  // namespace

std::vector<std::string> described(const Kinds& kinds) {
  std::vector<std::string> names;
  for_each_block(
      kinds, [&names](const Key&, const PartKind*, std::string name) { names.push_back(std::move(name)); });
  return names;
}

std::string annotated(const Kinds& kinds, std::string_view what) {
  Annotation out;
  Config config;
  const Chapter* next = chapters;
  for_each_block(kinds, [&](const Key& key, const PartKind* kind, const std::string& name) {
    if (what.empty() && next != std::end(chapters) && next->before == key.name) out.chapter((next++)->title);
    if (what.empty() || name == what || (kind && kind->name == what))
      annotate(out, key, config, kind, !what.empty());
  });
  std::string all = out.take();
  if (what.empty()) return opening + all;
  return all.substr(all.empty() ? 0 : 1);
}

}  // namespace millrace
