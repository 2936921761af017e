#include "base/json.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "base/text.h"
#include "base/utf8.h"

#define RAPIDJSON_HAS_STDSTRING 0
#if defined(__SSE2__)
#define RAPIDJSON_SSE2
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define RAPIDJSON_NEON
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

namespace millrace {
namespace {

// RapidJSON's SAX events, passed on with a limit on depth.
struct Adapter {
  JsonHandler& to;
  bool escapes;  // the text has backslashes: only then can a string be other than the bytes that were checked
  int depth = 0;
  const char* fault = nullptr;

  // "\udc00" is half a surrogate pair and no character: RapidJSON writes it as three bytes that are no UTF-8
  // (RFC 8259, 8.2).
  bool whole(const char* s, rapidjson::SizeType n) {
    if (!escapes || find_fault({s, n}, Controls::all).kind != TextFault::not_utf8) return true;
    fault = "half of a surrogate pair is no character";
    return false;
  }

  bool Null() { return to.null(); }
  bool Bool(bool b) { return to.boolean(b); }
  bool Int(int) { return false; }  // never called: numbers come as strings
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) { return to.number({s, n}); }
  bool String(const char* s, rapidjson::SizeType n, bool) { return whole(s, n) && to.string({s, n}); }
  bool Key(const char* s, rapidjson::SizeType n, bool) { return whole(s, n) && to.key({s, n}); }
  bool StartObject() { return ++depth <= json_depth_max && to.begin_object(); }
  bool EndObject(rapidjson::SizeType) {
    --depth;
    return to.end_object();
  }
  bool StartArray() { return ++depth <= json_depth_max && to.begin_array(); }
  bool EndArray(rapidjson::SizeType) {
    --depth;
    return to.end_array();
  }
};

class FlatReader final : public JsonHandler {
 public:
  explicit FlatReader(std::vector<std::pair<std::string, std::string>>& out) : out_(out) {}
  bool null() override { return take("null"); }
  bool boolean(bool value) override { return take(value ? "true" : "false"); }
  bool number(std::string_view spelling) override { return take(spelling); }
  bool string(std::string_view value) override { return take(value); }
  bool key(std::string_view name) override {
    key_ = name;
    return true;
  }
  bool begin_object() override { return depth_++ == 0; }
  bool end_object() override { return true; }
  bool begin_array() override { return false; }
  bool end_array() override { return false; }

 private:
  bool take(std::string_view value) {
    if (depth_ == 0 || out_.size() >= 16) return false;
    out_.emplace_back(key_, value);
    return true;
  }
  std::vector<std::pair<std::string, std::string>>& out_;
  std::string key_;
  int depth_ = 0;
};

}  // namespace

Status read_json(BytesView bytes, JsonHandler& handler) {
  if (!good_utf8(text_of(bytes))) return {Code::invalid, "JSON: not UTF-8"};
  // Parsed in place in a copy, so that names and numbers are views and not copied one by one. The reader
  // wants a NUL behind the end and may look at the 16 bytes that its last one lies in.
  char small[4096];
  std::unique_ptr<char[]> large;
  const std::size_t room = (bytes.size() + 16) / 16 * 16;
  if (room > sizeof small) large = std::make_unique_for_overwrite<char[]>(room);
  char* copy = large ? large.get() : small;
  std::memcpy(copy, bytes.data(), bytes.size());
  std::memset(copy + bytes.size(), 0, room - bytes.size());
  rapidjson::InsituStringStream stream(copy);
  // The reader's own stack is the only other allocation; a pool on the stack frame keeps it off the heap for
  // small values.
  char pool_bytes[1024];
  using Pool = rapidjson::MemoryPoolAllocator<rapidjson::CrtAllocator>;
  rapidjson::CrtAllocator crt;
  Pool pool(pool_bytes, sizeof pool_bytes, 4096, &crt);
  rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, Pool> reader(&pool, 256);
  Adapter adapter{handler, bytes.size() > 0 && std::memchr(copy, '\\', bytes.size()) != nullptr};
  // recursion is bounded by json_depth_max
  constexpr unsigned flags = rapidjson::kParseInsituFlag | rapidjson::kParseNumbersAsStringsFlag;
  const auto result = reader.Parse<flags>(stream, adapter);
  if (result.IsError()) {
    const bool stopped = result.Code() == rapidjson::kParseErrorTermination;
    return {Code::invalid, text("JSON at byte ", result.Offset(), ": ",
                                adapter.fault ? adapter.fault
                                : stopped     ? "not what the format expects"
                                              : rapidjson::GetParseError_En(result.Code()))};
  }
  return {};
}

Status read_flat_json(BytesView bytes, std::vector<std::pair<std::string, std::string>>& members) {
  FlatReader reader(members);
  return read_json(bytes, reader);
}

std::string pretty_json(std::string_view json) {
  std::string out;
  int depth = 0;
  bool quoted = false;
  const auto line = [&] { out += "\n" + std::string(static_cast<std::size_t>(depth) * 2, ' '); };
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      out += c;
      if (c == '\\' && i + 1 < json.size()) out += json[++i];
      else if (c == '"') quoted = false;
      continue;
    }
    const bool empty =
        (c == '{' || c == '[') && i + 1 < json.size() && (json[i + 1] == '}' || json[i + 1] == ']');
    if (empty) {
      out += c;
      out += json[++i];
    } else if (c == '{' || c == '[') {
      out += c;
      ++depth;
      line();
    } else if (c == '}' || c == ']') {
      --depth;
      line();
      out += c;
    } else if (c == ',') {
      out += c;
      line();
    } else {
      quoted = c == '"';
      out += c;
      if (c == ':') out += ' ';
    }
  }
  return out;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_ += bracket;
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  out_ += bracket;
  first_ = false;
  return *this;
}

void JsonWriter::separate() {
  if (!first_) out_ += ',';
  first_ = false;
}

void JsonWriter::quoted(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string mended;
  if (find_fault(text, Controls::all).kind != TextFault::ok) text = mended = mended_utf8(text);
  const auto escape = [&](unsigned char code) {
    out_ += "\\u00";
    out_ += digits[code >> 4];
    out_ += digits[code & 15];
  };
  out_ += '"';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    switch (c) {
      case '"': out_ += "\\\""; break;
      case '\\': out_ += "\\\\"; break;
      case '\n': out_ += "\\n"; break;
      case '\r': out_ += "\\r"; break;
      case '\t': out_ += "\\t"; break;
      default:
        // DEL and C1 (U+0080 to U+009F) too: lines are printed on terminals, which obey them.
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          escape(static_cast<unsigned char>(c));
        } else if (c == '\xC2' && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
          escape(static_cast<unsigned char>(text[++i]));
        } else {
          out_ += c;
        }
    }
  }
  out_ += '"';
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  quoted(name);
  out_ += ':';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  quoted(text);
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  separate();
  text_detail::append(out_, number);
  return *this;
}

JsonWriter& JsonWriter::value(std::int64_t number) {
  separate();
  text_detail::append(out_, number);
  return *this;
}

JsonWriter& JsonWriter::value(std::uint64_t number) {
  separate();
  text_detail::append(out_, number);
  return *this;
}

JsonWriter& JsonWriter::value(bool truth) {
  separate();
  out_ += truth ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::null() {
  separate();
  out_ += "null";
  return *this;
}

}  // namespace millrace
