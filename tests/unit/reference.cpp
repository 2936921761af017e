#include "tests/support/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <regex>

#include "base/text.h"

namespace millrace::reference {
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

namespace {

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

// Where a value stands: which document, and the steps to it; of a list's element a byte that no text has, and
// its number.
using Steps = std::vector<std::string>;
std::string element_step(std::uint64_t index) { return text('\xff', index); }

struct Leaf {
  std::string path;
  enum Kind { null, truth, number, text, bytes } kind = null;  // bytes: as hex
  std::string value;
  std::size_t document = 0;
  Steps at = {};
};

// A record of SenML: an object in the list that is a document. `closed`: it came to its end.
struct PackPlace {
  std::size_t document, index;
  auto operator<=>(const PackPlace&) const = default;
};
std::optional<PackPlace> pack_place(std::size_t document, const Steps& at) {
  if (at.size() != 1 || !at[0].starts_with('\xff')) return std::nullopt;
  return PackPlace{document, static_cast<std::size_t>(std::atoi(at[0].c_str() + 1))};
}

// By the grammar of RFC 8259, a character at a time. `leaves`: those behind which it went on well.
class Json {
 public:
  explicit Json(std::string_view text) : s_(text) {}
  std::vector<Leaf> leaves;
  std::set<PackPlace> closed;
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
    Leaf leaf{path, Leaf::null, "", 0, steps_};
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
      default: good = string(leaf.value); break;
    }
    if (!good || !goes_on(depth)) return false;
    leaves.push_back(std::move(leaf));
    return true;
  }
  bool members(const std::string& path, int depth) {
    ++at_;
    for (bool first = true;; first = false) {
      blanks();
      if (first && take('}')) return close();
      std::string name;
      if (!string(name)) return false;
      blanks();
      const std::size_t before = leaves.size();
      steps_.push_back(name);
      if (!take(':') || !value(step(path, name), depth + 1)) return false;
      steps_.pop_back();
      // 21,5: a value with a comma and a digit directly behind it is no sure one.
      if (at_ > 0 && std::string_view(" \t\r\n}]\"").find(s_[at_ - 1]) == std::string_view::npos &&
          s_.substr(at_).starts_with(',') && at_ + 1 < s_.size() && s_[at_ + 1] >= '0' &&
          s_[at_ + 1] <= '9') {
        leaves.resize(before);
        return false;
      }
      blanks();
      if (take('}')) return close();
      if (!take(',')) return false;
    }
  }
  bool close() {
    if (const auto place = pack_place(0, steps_)) closed.insert(*place);
    return true;
  }
  bool elements(const std::string& path, int depth) {
    ++at_;
    for (int i = 0;; ++i) {
      blanks();
      if (i == 0 && take(']')) return true;
      steps_.push_back(element_step(static_cast<std::uint64_t>(i)));
      if (!value(text(path, "[", i, "]"), depth + 1)) return false;
      steps_.pop_back();
      blanks();
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }

  std::string_view s_;
  std::size_t at_ = 0;
  Steps steps_;
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
  std::vector<Leaf> leaves;
  std::set<PackPlace> closed;
  bool whole = true;

  void read() {
    for (; at_ < s_.size(); ++document_) {
      if (!item("", 0)) {
        whole = false;
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
  void tell(const std::string& path, Leaf::Kind kind, std::string value = "") {
    leaves.push_back({path, kind, std::move(value), document_, steps_});
  }
  void real(const std::string& path, double value) {
    if (std::isfinite(value)) tell(path, Leaf::number, text(value));
    else tell(path, Leaf::null);
  }
  bool item(const std::string& path, int depth) {
    Head h;
    if (depth > 32 || !head(h)) return false;
    switch (h.major) {
      case 0:
      case 1: return tell(path, Leaf::number, whole_number(h)), true;
      case 2:
      case 3: {
        std::string bytes;
        if (!string(h, bytes)) return false;
        if (h.major == 2) {
          std::string hex;
          for (const char c : bytes)
            hex += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4], hex += "0123456789abcdef"[c & 15];
          tell(path, Leaf::bytes, hex);
        } else {
          tell(path, utf8(bytes) ? Leaf::text : Leaf::null, bytes);
        }
        return true;
      }
      case 4: {
        if (depth >= 32) return false;
        for (std::uint64_t i = 0; h.endless ? !stop() : i < h.value; ++i) {
          steps_.push_back(element_step(i));
          if (!item(text(path, "[", i, "]"), depth + 1)) return false;
          steps_.pop_back();
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
          steps_.push_back(name);
          if (!item(step(path, name), depth + 1)) return false;
          steps_.pop_back();
        }
        if (const auto place = pack_place(document_, steps_)) closed.insert(*place);
        return true;
      }
      case 6:
        return h.value >= 2 && h.value <= 4 ? odd_tag(path, h.value, depth)
                                            : depth < 32 && item(path, depth + 1);
      default: break;
    }
    if (h.endless) return false;
    if (h.info == 20 || h.info == 21) tell(path, Leaf::truth, h.info == 21 ? "true" : "false");
    else if (h.info < 25) tell(path, Leaf::null);
    if (h.info == 25) real(path, half(h.value));
    if (h.info == 26) {
      float f = 0;
      const auto bits = static_cast<std::uint32_t>(h.value);
      std::memcpy(&f, &bits, 4);
      real(path, static_cast<double>(f));
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
      return h.major == 2 && string(h, bytes) && (tell(path, Leaf::null), true);
    }
    if (h.major != 4 || h.endless || h.value != 2 || !head(exponent) || exponent.major > 1 ||
        !head(mantissa) || mantissa.major > 1)
      return false;
    tell(path, Leaf::number, whole_number(mantissa) + "e" + whole_number(exponent));
    return true;
  }

  std::string_view s_;
  std::size_t at_ = 0, document_ = 0;
  Steps steps_;
};

// RFC 8428, a record at a time. What it says nothing of (a value twice, a field of the wrong kind among the
// bases) makes what follows unsure.
class Senml {
 public:
  Senml(const std::vector<Leaf>& leaves, const std::set<PackPlace>& closed, bool cbor, Expected& out)
      : cbor_(cbor), out_(out) {
    std::map<PackPlace, Record> records;
    for (const PackPlace& place : closed) records[place];
    for (const Leaf& leaf : leaves) {
      if (leaf.at.size() < 2) continue;
      const auto place = pack_place(leaf.document, {leaf.at[0]});
      if (!place || !closed.contains(*place)) continue;
      Record& record = records[*place];
      const std::string label = label_of(leaf.at[1]);
      if (leaf.at.size() > 2 && label.ends_with('_')) record.emplace(label, leaf);  // what must be understood
      if (leaf.at.size() == 2 && !record.emplace(label, leaf).second) record["\1twice"] = leaf;
    }
    std::size_t document = 0;
    for (const auto& [place, record] : records) {
      if (place.document != document) bases_ = {};
      document = place.document;
      take(record);
    }
  }

 private:
  using Record = std::map<std::string, Leaf>;

  // Table 4.
  std::string label_of(const std::string& said) const {
    static const std::map<std::string, std::string> numbers = {
        {"-1", "bver"}, {"-2", "bn"}, {"-3", "bt"}, {"-4", "bu"}, {"-5", "bv"},
        {"-6", "bs"},   {"0", "n"},   {"1", "u"},   {"2", "v"},   {"3", "vs"},
        {"4", "vb"},    {"5", "s"},   {"6", "t"},   {"7", "ut"},  {"8", "vd"}};
    const auto found = numbers.find(said);
    return cbor_ && found != numbers.end() ? found->second : said;
  }
  static const Leaf* find(const Record& record, const char* label) {
    const auto found = record.find(label);
    return found == record.end() ? nullptr : &found->second;
  }
  static Leaf::Kind kind_of(const std::string& label, bool cbor) {
    if (label == "bn" || label == "bu" || label == "n" || label == "u" || label == "vs") return Leaf::text;
    if (label == "vd") return cbor ? Leaf::bytes : Leaf::text;
    return label == "vb" ? Leaf::truth : Leaf::number;
  }

  // From here on nobody knows what the bases are.
  void lose() { sure_ = out_.whole = false; }

  static bool good(const Record& record, const char* label, bool cbor) {
    const Leaf* leaf = find(record, label);
    return !leaf || leaf->kind == kind_of(label, cbor);
  }

  void take(const Record& record) {
    const bool bases =
        std::ranges::any_of(record, [](const auto& one) { return one.first.starts_with('b'); });
    bool good_bases = true;
    for (const char* label : {"bn", "bt", "bu", "bv", "bs", "bver"})
      good_bases = good_bases && good(record, label, cbor_);
    const bool named = good(record, "n", cbor_) && good(record, "t", cbor_);
    if (!good_bases || record.contains("\1twice") || (bases && !named)) return lose();
    if (!named) return;
    for (const auto& [label, into] :
         {std::pair{"bn", &Bases::name}, std::pair{"bt", &Bases::time}, std::pair{"bv", &Bases::value},
          std::pair{"bs", &Bases::sum}, std::pair{"bu", &Bases::unit}}) {
      if (const Leaf* leaf = find(record, label)) bases_.*into = leaf->value;
    }
    if (const Leaf* version = find(record, "bver"))
      bases_.refused = std::strtod(version->value.c_str(), nullptr) > 10;
    const bool must = std::ranges::any_of(record, [](const auto& one) { return one.first.ends_with('_'); });
    if (!bases_.refused && !must) readings(record);
  }

  void readings(const Record& record) {
    const Leaf *n = find(record, "n"), *v = find(record, "v"), *s = find(record, "s"), *t = find(record, "t"),
               *u = find(record, "u");
    int values = 0;
    for (const char* label : {"v", "vs", "vb", "vd"}) values += find(record, label) ? 1 : 0;
    const bool base_alone = values == 0 && !s && n && !bases_.value.empty();
    if (values > 1 || (values == 0 && !s && !base_alone)) return;
    std::string name = n ? n->value : "";
    if (name.empty()) {
      name = bases_.name;
      while (!name.empty() && std::string_view(":/._-").find(name.back()) != std::string_view::npos)
        name.pop_back();
    }
    if (name.empty() || name.size() > 256 || has_control(name, false)) return;
    // Times beyond all calendars, and units that are none, cost the record.
    const double time =
        (t ? std::strtod(t->value.c_str(), nullptr) : 0) + std::strtod(bases_.time.c_str(), nullptr);
    const std::string& unit = u ? u->value : bases_.unit;
    const bool doubtful = !(time < 4e9 && time > -1e9) || !good(record, "u", cbor_) || unit.size() > 8 ||
                          has_control(unit, false);
    const auto put = [&](const std::string& metric, const std::optional<std::string>& value) {
      if (!sure_ || doubtful) out_.forget(metric);
      else out_.put(metric, value);
    };
    const auto value_of = [&](const char* label) {
      return good(record, label, cbor_) ? find(record, label) : nullptr;
    };
    if (const Leaf* leaf = value_of("vb")) put(name, leaf->value);
    if (const Leaf* leaf = value_of("vs")) put(name, as_text(leaf->value));
    if (const Leaf* leaf = value_of("vd")) {
      const auto bytes = cbor_ ? std::optional(leaf->value.size() / 2) : base64_size(leaf->value);
      if (bytes) put(name, text(*bytes, " bytes"));
    }
    if (base_alone) put(name, number(bases_.value));
    if (v && v->kind == Leaf::number) put(name, both(bases_.value, v->value));
    if (s && s->kind == Leaf::number) put(name + ".sum", both(bases_.sum, s->value));
  }

  static std::optional<std::size_t> base64_size(const std::string& given) {
    std::string bytes;
    return from_base64(given, bytes) ? std::optional(bytes.size()) : std::nullopt;
  }

  // Whole numbers are added exactly.
  static std::optional<std::string> both(const std::string& base, const std::string& own) {
    if (base.empty()) return number(own);
    const bool whole =
        (base + own).find_first_of(".eE") == std::string::npos && base.size() < 19 && own.size() < 19;
    if (whole)
      return number(text(std::strtoll(base.c_str(), nullptr, 10) + std::strtoll(own.c_str(), nullptr, 10)));
    const double sum = std::strtod(base.c_str(), nullptr) + std::strtod(own.c_str(), nullptr);
    if (!number(base) || !number(own) || !std::isfinite(sum) || std::fabs(sum) >= 0x1p53) return std::nullopt;
    return text(sum);
  }

  struct Bases {
    std::string name, time, value, sum, unit;
    bool refused = false;
  };
  const bool cbor_;
  Expected& out_;
  Bases bases_;
  bool sure_ = true;
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
  if (whole && std::fabs(value) >= 0x1p63) return std::nullopt;
  // Beyond 2^53 doubles have gaps.
  const auto integer = static_cast<std::int64_t>(std::strtoll(text_of_it.c_str(), nullptr, 10));
  if (whole && (integer > 1LL << 53 || integer < -(1LL << 53))) return text(integer, "i");
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
  Expected out;
  out.whole = cbor.whole;
  for (const Leaf& leaf : cbor.leaves) put(out, leaf);
  return out;
}

Expected of_senml(std::string_view payload) {
  Json json(payload);
  json.read();
  Expected out;
  out.whole = json.whole;
  Senml(json.leaves, json.closed, false, out);
  return out;
}

Expected of_senml_cbor(std::string_view payload) {
  Cbor cbor(payload);
  cbor.read();
  Expected out;
  Senml(cbor.leaves, cbor.closed, true, out);
  return out;
}

void put_cell(Expected& out, const std::string& name, const std::string& cell) {
  static const std::set<std::string> none = {"nan", "inf", "infinity", "null", "none", "nil", "undefined"};
  if (cell.empty() || name.empty() || name.size() > 256 || has_control(name, false)) return;
  char* stop = nullptr;
  (void)std::strtod(cell.c_str(), &stop);
  const bool digits = cell.find_first_not_of("-0123456789.") == std::string::npos && *stop == '\0' &&
                      cell[0] != '.' && cell.back() != '.' && cell != "-" && !cell.starts_with("-.");
  const bool a_word = cell.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos;
  if (digits) out.put(name, number(cell));
  else if (cell == "true" || cell == "false") out.put(name, cell);
  else if (a_word && !none.contains(cell)) out.put(name, as_text(cell));
  else if (!none.contains(cell)) out.forget(name);
}

namespace {

struct CsvCell {
  std::string text;
  bool quoted = false;
};

// A line of RFC 4180, blanks around a cell passed over. False: a quote without end, or something behind it.
bool csv_line(std::string_view s, std::size_t& at, std::vector<CsvCell>& cells) {
  const auto here = [&] { return at < s.size() ? s[at] : '\n'; };
  const auto ends = [&] { return here() == '\n' || here() == '\r'; };
  for (cells.clear();; ++at) {
    CsvCell& cell = cells.emplace_back();
    while (here() == ' ') ++at;
    if (here() == '"' && at < s.size()) {
      cell.quoted = true;
      for (++at;; ++at) {
        if (at >= s.size()) return false;
        if (s[at] == '"' && (at + 1 >= s.size() || s[at + 1] != '"')) break;
        if (s[at] == '"') ++at;
        cell.text += s[at];
      }
      ++at;
      while (here() == ' ') ++at;
      if (!ends() && here() != ',') return false;
    } else {
      while (!ends() && here() != ',') cell.text += s[at++];
      cell.text = trim(cell.text);
    }
    if (ends()) break;
  }
  at = std::min(s.find_first_not_of("\r\n", at), s.size());
  return true;
}

// In a line that is to name the columns.
bool is_data(const std::vector<CsvCell>& cells) {
  static const std::regex figure("[-+.,:/ TZ]*[0-9][-+.,:/ TZ0-9]*");
  const auto one = [](const CsvCell& cell) { return !cell.quoted && std::regex_match(cell.text, figure); };
  return one(cells[0]) && (cells.size() == 1 || std::any_of(cells.begin() + 1, cells.end(), one));
}

}  // namespace

Expected of_csv(std::string_view payload) {
  Expected out;
  std::vector<std::string> names;
  std::vector<CsvCell> cells;
  while (!payload.empty() && (payload.back() == '\r' || payload.back() == '\n')) payload.remove_suffix(1);
  for (std::size_t at = std::min(payload.find_first_not_of("\r\n"), payload.size()); at < payload.size();) {
    if (!csv_line(payload, at, cells)) {  // what is a line from here on nobody knows
      out.whole = false;
      return out;
    }
    if (names.empty()) {
      if (is_data(cells)) {  // and the names are not there
        out.whole = false;
        return out;
      }
      for (const CsvCell& cell : cells) names.push_back(cell.text);
      continue;
    }
    while (cells.size() > names.size() && !cells.back().quoted && cells.back().text.empty()) cells.pop_back();
    for (std::size_t i = 0; i < cells.size() && cells.size() == names.size(); ++i) {
      if (std::find(names.begin() + static_cast<std::ptrdiff_t>(i) + 1, names.end(), names[i]) != names.end())
        continue;
      const std::string name = names[i].empty() ? "" : step("", names[i]);
      const bool named = !name.empty() && name.size() <= 256 && !has_control(name, false);
      if (!cells[i].quoted) put_cell(out, name, cells[i].text);
      else if (named) out.put(name, as_text(cells[i].text));
    }
  }
  return out;
}

bool from_base64(std::string_view given, std::string& out) {
  static constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bits;
  std::size_t count = 0, ends = 0;
  for (char c : given) {
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
    if (c == '=') {
      ++ends;
      continue;
    }
    if (c == '-') c = '+';
    if (c == '_') c = '/';
    const std::size_t digit = digits.find(c);
    if (digit == digits.npos || ends > 0) return false;
    for (int i = 5; i >= 0; --i) bits += digit >> i & 1 ? '1' : '0';
    ++count;
  }
  if (ends > 2 || (ends > 0 && (count + ends) % 4 != 0) || count % 4 == 1) return false;
  out.clear();
  std::size_t at = 0;
  for (; at + 8 <= bits.size(); at += 8)
    out += static_cast<char>(std::strtoul(bits.substr(at, 8).c_str(), nullptr, 2));
  return bits.find('1', at) == std::string::npos;
}

bool from_hex(std::string_view given, std::string& out) {
  out.clear();
  if (given.starts_with("0x") || given.starts_with("0X")) given.remove_prefix(2);
  const auto digit = [](char c) {
    return std::string_view("0123456789abcdef").find(static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c));
  };
  while (!given.empty()) {
    if (std::string_view(" \t\r\n:-").find(given[0]) != std::string_view::npos) {
      given.remove_prefix(1);
      continue;
    }
    if (given.size() < 2 || digit(given[0]) > 15 || digit(given[1]) > 15) return false;
    out += static_cast<char>(digit(given[0]) * 16 + digit(given[1]));
    given.remove_prefix(2);
  }
  return true;
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
    if (std::fabs(value) >= 0x1p53 && std::fabs(value) <= 0x1p63)
      all.insert(text(
          hex ? static_cast<std::int64_t>(std::strtoull((negative ? "-" + run : run).c_str(), nullptr, 16))
              : static_cast<std::int64_t>(std::strtoll((negative ? "-" + run : run).c_str(), nullptr, 10)),
          "i"));
  }
  return all;
}

}  // namespace millrace::reference
