#include "base/cbor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr int depth_max = 32;
constexpr std::size_t skipped_depth_max = 1024;  // of what lies deeper and is passed over
enum Major : unsigned { unsigned_int, negative_int, byte_string, text_string, array, map, tag, simple };
constexpr std::uint64_t indefinite = UINT64_MAX, tag_decimal = 4, tag_bignum = 2, tag_negative_bignum = 3;
constexpr std::uint8_t stop_byte = 0xFF;
constexpr std::uint64_t exact_max = std::uint64_t{1} << 53;  // beyond it doubles have gaps

struct Head {
  Major major = unsigned_int;
  unsigned info = 0;
  std::uint64_t value = 0;  // `indefinite` for what ends with a stop
};

// RFC 8949, appendix D.
double of_half(std::uint64_t half) {
  const int exponent = static_cast<int>(half >> 10 & 0x1F);
  const auto mantissa = static_cast<double>(half & 0x3FF);
  const double value = exponent == 0    ? std::ldexp(mantissa, -24)
                       : exponent != 31 ? std::ldexp(mantissa + 1024, exponent - 25)
                       : mantissa == 0  ? INFINITY
                                        : NAN;
  return half & 0x8000 ? -value : value;
}

class Reader {
 public:
  Reader(BytesView bytes, LenientHandler& handler) : bytes_(bytes), handler_(handler) {}

  Status read(std::size_t& documents) {
    while (at_ < bytes_.size()) {
      ++documents;
      if (value(0)) continue;
      if (stopped_) return {Code::invalid, "not what the format expects"};
      handler_.broken(text("CBOR at byte ", at_, ": ", fault_));
      return {};
    }
    return {};
  }

 private:
  bool fault(const char* why) {
    if (!fault_) fault_ = why;
    return false;
  }
  bool told(bool goes_on) {
    if (!goes_on) stopped_ = true;
    return goes_on;
  }
  bool take(std::size_t count, std::uint64_t& out) {
    if (bytes_.size() - at_ < count) return fault("it ends in the middle");
    out = 0;
    for (; count > 0; --count) out = out << 8 | std::to_integer<std::uint8_t>(bytes_[at_++]);
    return true;
  }
  bool head(Head& out) {
    std::uint64_t first = 0;
    if (!take(1, first)) return false;
    out.major = static_cast<Major>(first >> 5);
    out.info = first & 0x1F;
    if (out.info < 24) return (out.value = out.info), true;
    if (out.info < 28) return take(std::size_t{1} << (out.info - 24), out.value);
    if (out.info < 31 || out.major < byte_string || out.major == tag) return fault("a length that is none");
    out.value = indefinite;
    return true;
  }
  bool at_stop() {
    if (at_ >= bytes_.size() || std::to_integer<std::uint8_t>(bytes_[at_]) != stop_byte) return false;
    ++at_;
    return true;
  }

  bool value(int depth) {
    Head h;
    if (!head(h)) return false;
    switch (h.major) {
      case unsigned_int:
        if (h.value <= exact_max && handler_.takes_double(static_cast<double>(h.value))) return true;
        return told(handler_.number(keep(text(h.value))));
      case negative_int: return told(handler_.number(keep(negative(h.value))));
      case byte_string:
      case text_string: return string(h);
      case array: return depth < depth_max ? items(h, depth) : too_deep(h);
      case map: return depth < depth_max ? members(h, depth) : too_deep(h);
      case tag: return tagged(h, depth);
      default: return simple_value(h);
    }
  }

  static std::string negative(std::uint64_t value) {  // -1 - value
    return value == UINT64_MAX ? "-18446744073709551616" : text("-", value + 1);
  }

  // Views into the payload where the string is in one piece.
  bool bytes_of_string(const Head& h, std::string_view& out) {
    if (h.value != indefinite) {
      if (h.value > bytes_.size() - at_) return fault("it ends in the middle");
      out = text_of(bytes_.subspan(at_, h.value));
      at_ += h.value;
      return true;
    }
    std::string whole;
    while (!at_stop()) {
      Head piece;
      std::string_view part;
      if (!head(piece)) return false;
      if (piece.major != h.major || piece.value == indefinite || !bytes_of_string(piece, part))
        return fault("a piece of a string that is none");
      whole += part;
    }
    out = keep(whole);
    return true;
  }

  bool string(const Head& h) {
    std::string_view read;
    if (!bytes_of_string(h, read)) return false;
    if (h.major == byte_string) return told(handler_.octets(keep(to_hex(bytes_of(read)))));
    return told(good_text(read) ? handler_.string(read) : handler_.unreadable(read));
  }
  static bool good_text(std::string_view text) {
    return good_utf8(text) || find_fault(text, Controls::all).kind == TextFault::ok;
  }

  bool items(const Head& h, int depth) {
    if (!told(handler_.begin_array())) return false;
    for (std::uint64_t i = 0; h.value == indefinite ? !at_stop() : i < h.value; ++i) {
      if (!value(depth + 1)) return false;
    }
    return told(handler_.end_array());
  }

  bool members(const Head& h, int depth) {
    if (!told(handler_.begin_object())) return false;
    for (std::uint64_t i = 0; h.value == indefinite ? !at_stop() : i < h.value; ++i) {
      Head key;
      std::string_view name;
      if (!head(key)) return false;
      if (key.major == text_string) {
        if (!bytes_of_string(key, name)) return false;
        if (!good_text(name)) return fault("a name that is no UTF-8");
      } else if (key.major == unsigned_int || key.major == negative_int) {
        name = keep(key.major == unsigned_int ? text(key.value) : negative(key.value));
      } else {
        return fault("a key that is neither text nor number");
      }
      if (!told(handler_.key(name)) || !value(depth + 1)) return false;
    }
    return told(handler_.end_object());
  }

  // It costs itself: what stands beside it is read on.
  bool too_deep(const Head& first) { return skip(first) && told(handler_.unreadable(nested_too_deeply)); }
  bool skip(const Head& first) {
    std::vector<std::uint64_t> open;  // how many items each still has
    const auto enter = [&](const Head& h) {
      open.push_back(h.major == tag ? 1 : h.major == map && h.value < indefinite / 2 ? 2 * h.value : h.value);
      return open.size() <= skipped_depth_max || fault("nested too deeply");
    };
    bool good = enter(first);
    while (good && !open.empty()) {
      std::uint64_t& left = open.back();
      if (left == indefinite ? at_stop() : left == 0) {
        open.pop_back();
        continue;
      }
      if (left != indefinite) --left;
      Head h;
      std::string_view unread;
      if (!head(h)) return false;
      if (h.major == array || h.major == map || h.major == tag) good = enter(h);
      else if (h.major == byte_string || h.major == text_string) good = bytes_of_string(h, unread);
      else if (h.major == simple && h.value == indefinite) good = fault("a stop where nothing is open");
    }
    return good;
  }

  bool tagged(const Head& tag, int depth) {
    if (depth >= depth_max) return too_deep(tag);
    if (tag.value == tag_decimal) return decimal();
    if (tag.value != tag_bignum && tag.value != tag_negative_bignum) return value(depth + 1);
    Head h;
    std::string_view big;
    if (!head(h)) return false;
    if (h.major != byte_string) return fault("a bignum that is none");
    return bytes_of_string(h, big) && told(handler_.unreadable("a bignum"));
  }

  bool decimal() {
    Head pair, exponent, mantissa;
    if (!head(pair) || pair.major != array || pair.value != 2 || !head(exponent) || !head(mantissa))
      return fault("a decimal fraction that is none");
    if (exponent.major > negative_int || mantissa.major > negative_int)
      return fault("a decimal fraction that is none");
    const auto spelled = [](const Head& h) {
      return h.major == unsigned_int ? text(h.value) : negative(h.value);
    };
    return told(handler_.number(keep(text(spelled(mantissa), "e", spelled(exponent)))));
  }

  bool simple_value(const Head& h) {
    switch (h.info) {
      case 20:
      case 21: return told(handler_.boolean(h.info == 21));
      case 25: return real(of_half(h.value));
      case 26: return real(std::bit_cast<float>(static_cast<std::uint32_t>(h.value)));
      case 27: return real(std::bit_cast<double>(h.value));
      case 31: return fault("a stop where nothing is open");
      default: return told(handler_.null());  // null, undefined, and what nobody has given a meaning
    }
  }
  bool real(double value) {
    if (!std::isfinite(value)) return told(handler_.null());
    return handler_.takes_double(value) || told(handler_.number(keep(text(value))));
  }

  // Of what the payload spells otherwise; it stays where it is.
  std::string_view keep(std::string_view made) {
    if (made.size() > room_) {
      room_ = std::max<std::size_t>(made.size(), 4096);
      kept_.push_back(std::make_unique_for_overwrite<char[]>(room_));
      free_ = kept_.back().get();
    }
    std::memcpy(free_, made.data(), made.size());
    const std::string_view out(free_, made.size());
    free_ += made.size();
    room_ -= made.size();
    return out;
  }

  BytesView bytes_;
  LenientHandler& handler_;
  std::size_t at_ = 0;
  char few_[256];
  char* free_ = few_;
  std::size_t room_ = sizeof few_;
  std::vector<std::unique_ptr<char[]>> kept_;
  const char* fault_ = nullptr;
  bool stopped_ = false;
};

}  // namespace

Status read_cbor(BytesView bytes, LenientHandler& handler, std::size_t& documents) {
  return Reader(bytes, handler).read(documents);
}

}  // namespace millrace
