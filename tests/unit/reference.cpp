#include "tests/support/reference.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/text.h"

namespace millrace::reference {
namespace {

bool utf8(std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const int more = c < 0x80                ? 0
                     : c >= 0xC2 && c < 0xE0 ? 1
                     : c >= 0xE0 && c < 0xF0 ? 2
                     : c >= 0xF0 && c < 0xF5 ? 3
                                             : -1;
    if (more < 0 || i + static_cast<std::size_t>(more) >= s.size()) return false;
    std::uint32_t code = more == 0 ? c : c & (0x3F >> more);
    for (int k = 1; k <= more; ++k) {
      const auto d = static_cast<unsigned char>(s[i + static_cast<std::size_t>(k)]);
      if (d >> 6 != 2) return false;
      code = code << 6 | (d & 0x3F);
    }
    const std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    i += static_cast<std::size_t>(more) + 1;
  }
  return true;
}

bool has_control(std::string_view s, bool lines_are_good) {
  for (std::size_t i = 0; i < s.size(); ++i) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (lines_are_good && (c == '\t' || c == '\n' || c == '\r')) continue;
    if (c < 0x20 || c == 0x7F) return true;
    if (c == 0xC2 && i + 1 < s.size() && static_cast<unsigned char>(s[i + 1]) < 0xA0) return true;
  }
  return false;
}

std::string step(const std::string& path, const std::string& name) {
  const bool quotes = name.empty() || name.find_first_of(".[") != std::string::npos || name[0] == '\'' ||
                      name[0] == '"' || name == "*" || name == "@" || name == "@key" || name == "$" ||
                      name == "^";
  std::string said = name;
  if (quotes && name.find('\'') == std::string::npos) {
    said = "'" + name + "'";
  } else if (quotes) {
    said = "\"";
    for (const char c : name) said += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    said += '"';
  }
  return path.empty() ? said : path + "." + said;
}

void utf8_to(std::string& out, std::uint32_t code) {
  if (code < 0x80) out += static_cast<char>(code);
  else if (code < 0x800)
    out += static_cast<char>(0xC0 | code >> 6), out += static_cast<char>(0x80 | (code & 0x3F));
  else if (code < 0x10000)
    out += static_cast<char>(0xE0 | code >> 12), out += static_cast<char>(0x80 | (code >> 6 & 0x3F)),
        out += static_cast<char>(0x80 | (code & 0x3F));
  else
    out += static_cast<char>(0xF0 | code >> 18), out += static_cast<char>(0x80 | (code >> 12 & 0x3F)),
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F)), out += static_cast<char>(0x80 | (code & 0x3F));
}

struct Leaf {
  std::string path;
  enum Kind { null, truth, number, text } kind = null;
  std::string value;
};

// By the grammar of RFC 8259, a character at a time. `leaves`: those behind which it went on well.
class Json {
 public:
  explicit Json(std::string_view text) : s_(text) {}
  std::vector<Leaf> leaves;
  bool object = false;  // or a list
  bool whole = false;

  void read() {
    blanks();
    object = at_ < s_.size() && (s_[at_] == '{' || s_[at_] == '[');
    if (!value("", 0)) return;
    blanks();
    whole = at_ == s_.size();
  }

 private:
  void blanks() {
    while (at_ < s_.size() && std::strchr(" \t\r\n", s_[at_]) && s_[at_]) ++at_;
  }
  bool take(char c) { return at_ < s_.size() && s_[at_] == c && ++at_; }
  bool word(std::string_view w) { return s_.substr(at_, w.size()) == w && (at_ += w.size()); }
  bool digits() {
    const std::size_t from = at_;
    while (at_ < s_.size() && s_[at_] >= '0' && s_[at_] <= '9') ++at_;
    return at_ > from;
  }
  bool number(std::string& out) {
    const std::size_t from = at_;
    (void)take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) (void)take('-');
      if (!digits()) return false;
    }
    out = s_.substr(from, at_ - from);
    return true;
  }
  std::optional<std::uint32_t> hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < s_.size() ? s_[at_] : 'x';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return std::nullopt;
      code = code * 16 + static_cast<std::uint32_t>(digit);
    }
    return code;
  }
  bool string(std::string& out) {
    if (!take('"')) return false;
    out.clear();
    while (at_ < s_.size() && s_[at_] != '"') {
      const char c = s_[at_++];
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') {
        out += c;
        continue;
      }
      const char e = at_ < s_.size() ? s_[at_++] : '\0';
      const char* known = std::strchr("\"\\/bfnrt", e);
      if (e == 'u') {
        auto code = hex4();
        if (!code) return false;
        if (*code >= 0xD800 && *code < 0xE000) {
          if (*code >= 0xDC00 || !word("\\u")) return false;
          const auto low = hex4();
          if (!low || *low < 0xDC00 || *low >= 0xE000) return false;
          code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
        }
        utf8_to(out, *code);
      } else if (e && known) {
        out += "\"\\/\b\f\n\r\t"[known - "\"\\/bfnrt"];
      } else {
        return false;
      }
    }
    return take('"') && utf8(out);
  }
  // Behind a value a document goes on well, or ends.
  bool goes_on(int depth) {
    blanks();
    return depth == 0 ? at_ == s_.size()
                      : at_ < s_.size() && (s_[at_] == ',' || s_[at_] == '}' || s_[at_] == ']');
  }
  bool value(const std::string& path, int depth) {
    blanks();
    if (at_ >= s_.size() || depth > 32) return false;
    Leaf leaf{path, Leaf::null, ""};
    if (s_[at_] == '{') return members(path, depth);
    if (s_[at_] == '[') return elements(path, depth);
    if (s_[at_] == '"') leaf.kind = Leaf::text;
    else if (s_[at_] == 't' || s_[at_] == 'f') leaf.kind = Leaf::truth;
    else if (s_[at_] != 'n') leaf.kind = Leaf::number;
    bool good = false;
    switch (leaf.kind) {
      case Leaf::null: good = word("null"); break;
      case Leaf::truth: leaf.value = s_[at_] == 't' ? "true" : "false", good = word(leaf.value); break;
      case Leaf::number: good = number(leaf.value); break;
      case Leaf::text: good = string(leaf.value); break;
    }
    if (!good || !goes_on(depth)) return false;
    leaves.push_back(std::move(leaf));
    return true;
  }
  bool members(const std::string& path, int depth) {
    ++at_;
    for (bool first = true;; first = false) {
      blanks();
      if (first && take('}')) return true;
      std::string name;
      if (!string(name)) return false;
      blanks();
      const std::size_t before = leaves.size();
      if (!take(':') || !value(step(path, name), depth + 1)) return false;
      // 21,5: a value with a comma and a digit directly behind it is no sure one.
      if (at_ > 0 && std::string_view(" \t\r\n}]\"").find(s_[at_ - 1]) == std::string_view::npos &&
          s_.substr(at_).starts_with(',') && at_ + 1 < s_.size() && s_[at_ + 1] >= '0' &&
          s_[at_ + 1] <= '9') {
        leaves.resize(before);
        return false;
      }
      blanks();
      if (take('}')) return true;
      if (!take(',')) return false;
    }
  }
  bool elements(const std::string& path, int depth) {
    ++at_;
    for (int i = 0;; ++i) {
      blanks();
      if (i == 0 && take(']')) return true;
      if (!value(text(path, "[", i, "]"), depth + 1)) return false;
      blanks();
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }

  std::string_view s_;
  std::size_t at_ = 0;
};

void put(Expected& out, const Leaf& leaf) {
  if (leaf.path.empty() || leaf.path == "''" || leaf.path.size() > 256 || has_control(leaf.path, false))
    return;
  if (leaf.kind == Leaf::null) return;
  out.put(leaf.path, leaf.kind == Leaf::truth    ? std::optional(leaf.value)
                     : leaf.kind == Leaf::number ? number(leaf.value)
                                                 : as_text(leaf.value));
}

// RFC 8949: an item at a time.
class Cbor {
 public:
  explicit Cbor(std::string_view bytes) : s_(bytes) {}
  Expected out;

  void read() {
    while (at_ < s_.size()) {
      if (!item("", 0)) {
        out.whole = false;
        return;
      }
    }
  }

 private:
  struct Head {
    unsigned major = 0, info = 0;
    std::uint64_t value = 0;
    bool endless = false;
  };
  bool head(Head& h) {
    if (at_ >= s_.size()) return false;
    const unsigned first = static_cast<unsigned char>(s_[at_++]);
    h = {first >> 5u, first & 31u, first & 31u, false};
    if (h.info < 24) return true;
    if (h.info == 31) return (h.endless = true) && h.major >= 2 && h.major != 6;
    if (h.info > 27) return false;
    h.value = 0;
    for (int n = 1 << (h.info - 24); n > 0; --n) {
      if (at_ >= s_.size()) return false;
      h.value = h.value << 8 | static_cast<unsigned char>(s_[at_++]);
    }
    return true;
  }
  bool stop() { return at_ < s_.size() && s_[at_] == '\xff' && ++at_; }
  bool string(const Head& h, std::string& to) {
    if (!h.endless) {
      if (h.value > s_.size() - at_) return false;
      to += s_.substr(at_, h.value);
      at_ += h.value;
      return true;
    }
    while (!stop()) {
      Head piece;
      if (!head(piece) || piece.major != h.major || piece.endless || !string(piece, to)) return false;
    }
    return true;
  }
  static std::string whole_number(const Head& h) {
    if (h.major == 0) return text(h.value);
    return h.value == UINT64_MAX ? "-18446744073709551616" : text("-", h.value + 1);
  }
  static double half(std::uint64_t bits) {
    const double mantissa = static_cast<double>(bits & 1023), exponent = static_cast<double>(bits >> 10 & 31);
    const double value = exponent == 0    ? mantissa * std::pow(2, -24)
                         : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                          : (1024 + mantissa) * std::pow(2, exponent - 25);
    return bits >> 15 ? -value : value;
  }
  void real(const std::string& path, double value) {
    if (std::isfinite(value)) put(out, {path, Leaf::number, text(value)});
  }
  bool item(const std::string& path, int depth) {
    Head h;
    if (depth > 32 || !head(h)) return false;
    switch (h.major) {
      case 0:
      case 1: return put(out, {path, Leaf::number, whole_number(h)}), true;
      case 2:
      case 3: {
        std::string bytes;
        if (!string(h, bytes)) return false;
        if (h.major == 2) {
          std::string hex;
          for (const char c : bytes)
            hex += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4], hex += "0123456789abcdef"[c & 15];
          put(out, {path, Leaf::text, hex});
        } else if (utf8(bytes)) {
          put(out, {path, Leaf::text, bytes});
        }
        return true;
      }
      case 4: {
        if (depth >= 32) return false;
        for (std::uint64_t i = 0; h.endless ? !stop() : i < h.value; ++i) {
          if (!item(text(path, "[", i, "]"), depth + 1)) return false;
        }
        return true;
      }
      case 5: {
        if (depth >= 32) return false;
        for (std::uint64_t i = 0; h.endless ? !stop() : i < h.value; ++i) {
          Head key;
          std::string name;
          if (!head(key) || key.major > 3 || key.major == 2) return false;
          if (key.major == 3 ? !string(key, name) || !utf8(name) : (name = whole_number(key)).empty())
            return false;
          if (!item(step(path, name), depth + 1)) return false;
        }
        return true;
      }
      case 6:
        return h.value >= 2 && h.value <= 4 ? odd_tag(path, h.value, depth)
                                            : depth < 32 && item(path, depth + 1);
      default: break;
    }
    if (h.endless) return false;
    if (h.info == 20 || h.info == 21) put(out, {path, Leaf::truth, h.info == 21 ? "true" : "false"});
    if (h.info == 25) real(path, half(h.value));
    if (h.info == 26) {
      float f = 0;
      const auto bits = static_cast<std::uint32_t>(h.value);
      std::memcpy(&f, &bits, 4);
      if (std::isfinite(f)) put(out, {path, Leaf::number, text(static_cast<double>(f))});
    }
    if (h.info == 27) {
      double d = 0;
      std::memcpy(&d, &h.value, 8);
      real(path, d);
    }
    return true;
  }
  // Bignums are not read, decimal fractions are.
  bool odd_tag(const std::string& path, std::uint64_t tag, int depth) {
    Head h, exponent, mantissa;
    if (depth >= 32 || !head(h)) return false;
    if (tag < 4) {
      std::string bytes;
      return h.major == 2 && string(h, bytes);
    }
    if (h.major != 4 || h.endless || h.value != 2 || !head(exponent) || exponent.major > 1 ||
        !head(mantissa) || mantissa.major > 1)
      return false;
    put(out, {path, Leaf::number, whole_number(mantissa) + "e" + whole_number(exponent)});
    return true;
  }

  std::string_view s_;
  std::size_t at_ = 0;
};

}  // namespace

void Expected::put(const std::string& metric, const std::optional<std::string>& value) {
  if (value && !open.contains(metric)) sure[metric] = *value;
  else forget(metric);
}

std::optional<std::string> number(std::string_view spelling) {
  const std::string text_of_it(spelling);
  const double value = std::strtod(text_of_it.c_str(), nullptr);
  const bool whole = spelling.find_first_of(".eE") == std::string_view::npos;
  if (!std::isfinite(value) || (value != 0 && std::fabs(value) < 1e-290)) return std::nullopt;
  if (value == 0 && spelling.find_first_of("eE") != std::string_view::npos) return std::nullopt;
  if (whole && std::fabs(value) >= 0x1p53) {
    if (std::fabs(value) >= 0x1p63) return std::nullopt;
    return text(static_cast<std::int64_t>(std::strtoll(text_of_it.c_str(), nullptr, 10)), "i");
  }
  return text(value);
}

std::optional<std::string> as_text(std::string_view given) {
  if (has_control(given, true) || given.size() > 65'536) return std::nullopt;
  return "'" + std::string(given) + "'";
}

Expected of_json(std::string_view payload) {
  Json json(payload);
  json.read();
  Expected out;
  out.whole = json.whole;
  if (json.object) {
    for (const Leaf& leaf : json.leaves) put(out, leaf);
  }
  return out;
}

Expected of_cbor(std::string_view payload) {
  Cbor cbor(payload);
  cbor.read();
  return cbor.out;
}

Expected of_senml(std::string_view payload) {
  Json json(payload);
  json.read();
  Expected out;
  out.whole = json.whole && json.object;
  // Records by their place: "[3].bn".
  std::vector<std::map<std::string, Leaf>> records;
  for (const Leaf& leaf : json.leaves) {
    const std::size_t close = leaf.path.find("].");
    if (leaf.path.front() != '[' || close == std::string::npos) continue;
    const auto at = static_cast<std::size_t>(std::atoi(leaf.path.c_str() + 1));
    if (records.size() <= at) records.resize(at + 1);
    records[at][leaf.path.substr(close + 2)] = leaf;
  }
  std::string base;
  double base_value = 0;
  for (auto& record : records) {
    if (record.contains("bn")) base = record["bn"].value;
    if (record.contains("bv")) base_value = std::strtod(record["bv"].value.c_str(), nullptr);
    std::string name = record.contains("n") ? record["n"].value : base;
    while (!record.contains("n") && !name.empty() && std::strchr(":/._-", name.back())) name.pop_back();
    if (record.contains("v") && base_value == 0) out.put(name, number(record["v"].value));
    if (record.contains("v") && base_value != 0)
      out.put(name, text(base_value + std::strtod(record["v"].value.c_str(), nullptr)));
    if (record.contains("vb")) out.put(name, record["vb"].value);
    if (record.contains("vs")) out.put(name, as_text(record["vs"].value));
    if (record.contains("s")) out.put(name + ".sum", number(record["s"].value));
  }
  return out;
}

Expected of_csv(std::string_view payload) {
  Expected out;
  std::vector<std::string> names;
  for (std::size_t at = payload.find_first_not_of("\r\n"); at < payload.size();) {
    const std::size_t end = std::min(payload.find_first_of("\r\n", at), payload.size());
    const std::string_view line = payload.substr(at, end - at);
    at = payload.find_first_not_of("\r\n", end);
    at = std::min(at, payload.size());
    if (line.find('"') != std::string_view::npos) {  // from here on a cell may have lines
      out.whole = false;
      return out;
    }
    std::vector<std::string> cells;
    for (const std::string_view cell : split(line, ',')) cells.emplace_back(trim(cell));
    if (names.empty()) {
      names = cells;
      continue;
    }
    if (cells.size() != names.size()) continue;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      char* stop = nullptr;
      const std::string& cell = cells[i];
      if (cell.empty() || names[i].empty() || has_control(names[i], false)) continue;
      (void)std::strtod(cell.c_str(), &stop);
      const bool digits = cell.find_first_not_of("-0123456789.") == std::string::npos && *stop == '\0' &&
                          cell[0] != '.' && cell.back() != '.' && cell != "-";
      const bool a_word = cell.find_first_not_of("abcdefghijklmopqrstuvwxyz") == std::string::npos;
      if (digits) out.put(step("", names[i]), number(cell));
      else if (cell == "true" || cell == "false") out.put(step("", names[i]), cell);
      else if (a_word && cell != "nan") out.put(step("", names[i]), as_text(cell));
      else out.forget(step("", names[i]));
    }
  }
  return out;
}

std::set<std::string> numbers_in(std::string_view payload) {
  std::set<std::string> all;
  constexpr std::string_view signs(" \t\r\n,:{}[]\"'\0\x1e", 15);
  for (std::size_t at = 0; at < payload.size();) {
    const std::size_t end = std::min(payload.find_first_of(signs, at), payload.size());
    std::string run(payload.substr(at, end - at));
    at = end + 1;
    const bool negative = run.starts_with('-');
    if (negative || run.starts_with('+')) run.erase(0, 1);
    char* stop = nullptr;
    const bool hex = run.starts_with("0x") || run.starts_with("0X");
    const double value =
        hex ? static_cast<double>(std::strtoull(run.c_str(), &stop, 16)) : std::strtod(run.c_str(), &stop);
    if (run.empty() || *stop != '\0') continue;
    all.insert(text(negative ? -value : value));
    if (std::fabs(value) >= 0x1p53 && std::fabs(value) < 0x1p63)
      all.insert(text(
          hex ? static_cast<std::int64_t>(std::strtoull((negative ? "-" + run : run).c_str(), nullptr, 16))
              : static_cast<std::int64_t>(std::strtoll((negative ? "-" + run : run).c_str(), nullptr, 10)),
          "i"));
  }
  return all;
}

}  // namespace millrace::reference
