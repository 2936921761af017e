#include "drivers/serial/serial_scan.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/files.h"
#include "base/real_path.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "decode/device_frame.h"
#include "decode/frame_checks.h"
#include "decode/framer.h"
#include "decode/suggest.h"
#include "drivers/serial/line_marks.h"
#include "drivers/serial/serial_port.h"

namespace millrace {
namespace {

constexpr std::size_t frame_max = 4096, heard_max = 16 << 10, heard_enough = 600, samples_max = 20;
constexpr Duration first_pause = std::chrono::milliseconds(700), tick = std::chrono::milliseconds(100);
constexpr const char* table = "  [[inputs.serial.routes]]";

// A framing whose frames prove themselves.
struct Checked {
  const char* framing;
  const char* words;
  const char* more;   // keys of the input
  const char* route;  // of its route
};
constexpr Checked checked[] = {
    {"nmea", "NMEA 0183 sentences", "", "format = \"nmea\""},
    {"telegram", "telegrams of a meter (IEC 62056-21)", "", "format = \"obis\""},
    {"mbus", "frames of wired M-Bus", "",
     "topic = \"{address}\"\n  format = \"mbus\"\n  device = \"meter-{address}\""},
    {"cobs", "frames of a microcontroller (proto/device_frame.proto)", "acknowledge = true\n",
     "format = \"device\""},
};

struct Frames {
  std::vector<RouteSample> samples;
  std::size_t count = 0, bytes = 0;
};

Frames frames_by(std::string_view framing, BytesView heard) {
  Frames found;
  const auto framer = make_framer(choose(built_framers(), framing), frame_max);
  framer->push(heard, [&](const Framer::Frame& frame) {
    DeviceFrame device;
    if (framing == "cobs" && !read_device_frame(frame.bytes, device).ok()) return;
    if (frame.channel == "ack") return;  // of M-Bus: a byte, as noise has it, too
    ++found.count;
    found.bytes += frame.bytes.size();
    if (found.samples.size() < samples_max)
      found.samples.push_back({"", {frame.bytes.begin(), frame.bytes.end()}});
  });
  return found;
}

std::string input_toml(std::string_view framing, std::string_view more, std::string_view route) {
  return text("framing = \"", framing, "\"\n", more, table, "\n  ", route, "\n");
}

// A master asks its slaves for registers: eight bytes with a CRC (Modbus over Serial Line, 2.5.1). Twice is
// no chance.
std::size_t modbus_requests(BytesView heard) {
  std::size_t count = 0;
  for (std::size_t at = 0; at + 8 <= heard.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned>(heard[at + i]); };
    const bool asks = byte(0) >= 1 && byte(0) <= 247 && byte(1) >= 1 && byte(1) <= 4 &&
                      (byte(4) << 8 | byte(5)) >= 1 && (byte(4) << 8 | byte(5)) <= 2000;
    if (asks && crc16_reflected(heard.subspan(at, 6), 0xFFFF) == (byte(6) | byte(7) << 8)) {
      ++count;
      at += 8;
    } else {
      ++at;
    }
  }
  return count;
}

// Whole lines of readable text; the first and the last may be cut.
Frames readable_lines(BytesView heard) {
  Frames lines;
  std::string_view rest = text_of(heard);
  rest.remove_prefix(std::min(rest.size(), rest.find_first_of("\r\n")));
  while (true) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of("\r\n")));
    const std::size_t end = rest.find_first_of("\r\n");
    if (end == std::string_view::npos) return lines;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end);
    if (find_fault(line, Controls::line_breaks).kind != TextFault::ok) continue;
    ++lines.count;
    lines.bytes += line.size() + 1;
    if (lines.samples.size() < samples_max) lines.samples.push_back({"", to_bytes(line)});
  }
}

std::string hex_of(BytesView bytes) {
  std::string out;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 24)))
    out += text(out.empty() ? "" : " ", to_hex({&b, 1}));
  return out;
}

std::string indented(const std::string& lines) {
  std::string out;
  for (const std::string_view line : split(std::string_view(lines), '\n')) {
    if (!line.empty()) out += text(line.starts_with(' ') ? "" : "  ", line, "\n");
  }
  return out;
}

SerialGuess guess_lines(BytesView heard, std::uint64_t wrong) {
  SerialGuess guess;
  const Frames lines = readable_lines(heard);
  // What lies before the first line's end and behind the last one's says nothing.
  const std::string_view all = text_of(heard);
  const std::size_t from = all.find_first_of("\r\n"), to = all.find_last_of("\r\n");
  if (lines.count == 0 || from == to) return guess;
  guess.share = std::min(1.0, static_cast<double>(lines.bytes) / static_cast<double>(to - from));
  if (guess.share < 0.8 || wrong * 10 > heard.size()) return guess;
  guess.framing = "lines";
  guess.words = text("lines of text", lines.count == 1 ? " (one: let it speak for longer to be sure)" : "");
  guess.frames = lines.count;
  guess.sample = shown(text_of(lines.samples.front().payload), 70);
  const Suggestion route = suggest_route(lines.samples, std::string_view(table).substr(2));
  guess.toml =
      "framing = \"lines\"\n" +
      (route.toml.empty()
           ? text(
                 table,
                 "\n  format = \"text\"\n  pattern = '(^|[\\s=:;,])(?<value>[-+]?[0-9]+([.][0-9]+)?)' # say what is in it\n")
           : indented(route.toml));
  return guess;
}

// ---- listening

struct Setting {
  std::int32_t baud;
  const char* parity;
  int data_bits;
};
std::string words_of(const Setting& setting) {
  return text(setting.baud, " baud, ", setting.data_bits,
              setting.parity[0] == 'n'   ? "N"
              : setting.parity[0] == 'e' ? "E"
                                         : "O",
              "1");
}

class PortScan {
 public:
  PortScan(std::string port, const SerialScanWish& wish, const Clock& clock, Instant deadline,
           const std::function<void(const std::string&)>& progress)
      : port_(std::move(port)),
        wish_(wish),
        clock_(clock),
        deadline_(deadline),
        progress_(progress),
        listen_(wish.listen) {}

  SerialGuess best;
  Setting at{9600, "none", 8};
  Status trouble;
  std::uint64_t bytes = 0;
  std::string noise;  // the first bytes of what made no sense

  void run() {
    // Meters of IEC 62056-21 and M-Bus send seven or eight bits with even parity; nearly all others eight
    // without.
    for (const auto& [parity, bits] : {std::pair{"none", 8}, {"even", 7}, {"even", 8}, {"odd", 8}}) {
      for (const std::int32_t baud : wish_.bauds) {
        if (over() || !listen({baud, parity, bits})) return;
        if (best.certain || (best.frames >= 3 && best.share > 0.98)) return;
      }
      // Text that reads well at eight bits is none of seven with parity: those have every other letter wrong.
      if (!best.framing.empty()) return;
    }
  }
  bool over() const { return clock_.now() >= deadline_; }

 private:
  // False: there is nothing to go on for.
  bool listen(const Setting& setting) {
    SerialInputConfig config;
    config.device = port_;
    config.baud = setting.baud;
    config.parity = setting.parity;
    config.data_bits = setting.data_bits;
    auto port = open_serial_port(config);
    if (!port.ok()) {
      if (port.status().code() == Code::invalid) return true;  // the adapter cannot do this speed
      trouble = port.status();
      return false;
    }
    Bytes heard;
    std::uint64_t wrong = 0;
    if (Status status = hear(port.value(), setting, heard, wrong); !status.ok()) {
      trouble = status;
      return false;
    }
    bytes += heard.size();
    if (heard.empty()) return bytes > 0;  // not a byte at the first speed: silent at every other, too
    const SerialGuess guess = guess_serial(heard, wrong);
    if (guess.framing.empty()) {
      if (noise.empty()) noise = hex_of(heard);
    } else if (guess.certain || guess.share > best.share) {
      best = guess;
      at = setting;
    }
    return true;
  }

  // Until enough was heard, or nothing more comes for as long as it took to begin.
  Status hear(SerialPort& port, const Setting& setting, Bytes& heard, std::uint64_t& wrong) {
    LineMarks marks;
    const Instant begin = clock_.now();
    Instant last = begin;
    Duration pause = first_pause;
    while (!over() && heard.size() < heard_max) {
      const Instant now = clock_.now();
      if (heard.empty() ? now - begin > listen_
                        : now - last > pause || (heard.size() >= heard_enough && now - begin > pause))
        break;
      progress_(text(port_, "  ", words_of(setting), "  ", heard.size(), " bytes"));
      pollfd waits{port.fd.get(), POLLIN, 0};
      const int ready = ::poll(&waits, 1, static_cast<int>(to_ms(tick)));
      if (ready < 0 && errno != EINTR) return status_from_errno(errno, "wait for " + port_);
      if (ready <= 0) continue;
      std::byte chunk[1024];
      const ssize_t got = ::read(port.fd.get(), chunk, sizeof chunk);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        return {Code::unavailable, port_ + " is gone"};
      if (got < 0) continue;
      if (heard.empty()) {
        // The next speed is given as long to begin, and lines that come one a while, two of them.
        const Duration waited = clock_.now() - begin;
        pause = std::max(first_pause, std::min(wish_.listen, waited + waited / 2));
        listen_ = std::max(listen_ > wish_.listen / 2 ? pause : listen_, pause);
      }
      last = clock_.now();
      take({chunk, static_cast<std::size_t>(got)}, port.marked, marks, heard, wrong);
    }
    return {};
  }

  static void take(BytesView chunk, bool marked, LineMarks& marks, Bytes& heard, std::uint64_t& wrong) {
    const auto good = [&](BytesView run) { heard.insert(heard.end(), run.begin(), run.end()); };
    if (!marked) return good(chunk);
    marks.push(chunk, good, [&](std::byte b) {
      ++wrong;
      heard.push_back(b);
    });
  }

  const std::string port_;
  const SerialScanWish& wish_;
  const Clock& clock_;
  const Instant deadline_;
  const std::function<void(const std::string&)>& progress_;
  Duration listen_;
};

std::string port_toml(const PortScan& scan, const std::string& port, std::size_t number) {
  std::string out = text("\n[[inputs.serial]]\nname = \"serial-", number, "\"\ndevice = \"", port,
                         "\"\nbaud = ", scan.at.baud, "\n");
  if (std::string_view(scan.at.parity) != "none") out += text("parity = \"", scan.at.parity, "\"\n");
  if (scan.at.data_bits != 8) out += text("data_bits = ", scan.at.data_bits, "\n");
  return out + scan.best.toml;
}

std::string words_of(const PortScan& scan, const std::string& port) {
  if (!scan.trouble.ok()) return scan.trouble.detail();
  const SerialGuess& guess = scan.best;
  if (guess.framing == "modbus")
    return text(port, ": ", words_of(scan.at), ": a Modbus master asks slaves on this line (", guess.frames,
                " requests): a second master would disturb it; without it: millrace scan modbus");
  if (!guess.framing.empty())
    return text(port, ": ", words_of(scan.at), ": ", guess.words, ", ", guess.frames, " heard",
                guess.certain ? "" : " (no check proves it)", ": ", guess.sample);
  if (scan.bytes > 0)
    return text(port, ": something speaks (", scan.bytes,
                " bytes), at a speed or in a framing that is not known: ", scan.noise, " ...");
  if (scan.over()) return text(port, ": nothing was heard before the time was over");
  return text(port,
              ": silent. A device that must be asked is not found by listening: millrace scan modbus, or "
              "`request` (docs/serial.md)");
}

}  // namespace

SerialGuess guess_serial(BytesView heard, std::uint64_t wrong) {
  for (const Checked& one : checked) {
    const Frames frames = frames_by(one.framing, heard);
    if (frames.count == 0) continue;
    SerialGuess guess;
    guess.framing = one.framing;
    guess.words = one.words;
    guess.certain = true;
    guess.frames = frames.count;
    guess.share = static_cast<double>(frames.bytes) / static_cast<double>(heard.size());
    const Bytes& first = frames.samples.front().payload;
    const bool binary = guess.framing == "mbus" || guess.framing == "cobs";
    guess.sample = binary ? hex_of(first) : shown(text_of(first), 70);
    guess.toml = input_toml(one.framing, one.more, one.route);
    return guess;
  }
  if (const std::size_t requests = modbus_requests(heard); requests > 1) {
    SerialGuess guess;
    guess.framing = "modbus";
    guess.certain = true;
    guess.frames = requests;
    return guess;
  }
  return guess_lines(heard, wrong);
}

namespace {

std::string attribute(const std::string& path) {
  const auto content = read_file(path, 4096);
  return content.ok() ? std::string(trim(content.value())) : std::string();
}

// The kernel names more of the processor's ports than there are, and says of which type each is: 0 is none.
// Where it has its console nobody else listens.
bool has_hardware(const std::string& port) {
  const std::string name = port.substr(port.rfind('/') + 1);
  if (attribute("/sys/class/tty/" + name + "/type") == "0") return false;
  const std::string consoles = " " + attribute("/sys/class/tty/console/active") + " ";
  return consoles.find(" " + name + " ") == std::string::npos;
}

}  // namespace

std::vector<std::string> serial_ports() {
  const auto in = [](const std::string& folder, const std::vector<std::string_view>& begins) {
    std::vector<std::string> found;
    DIR* open = ::opendir(folder.c_str());
    if (!open) return found;
    while (const dirent* entry = ::readdir(open)) {
      const std::string_view name = entry->d_name;
      if (std::ranges::any_of(begins, [&](std::string_view begin) {
            return name != "." && name != ".." && name.starts_with(begin);
          }))
        found.push_back(folder + "/" + std::string(name));
    }
    ::closedir(open);
    std::ranges::sort(found);
    return found;
  };
  auto ports = in("/dev/serial/by-id", {""});
  std::set<std::string> known;
  for (const std::string& port : ports) known.insert(real_path(port));
  for (const std::string& port :
       in("/dev", {"ttyUSB", "ttyACM", "ttyAMA", "ttyS", "ttymxc", "ttySC", "ttyO", "ttyTHS", "ttyLP"})) {
    if (!known.contains(port) && has_hardware(port)) ports.push_back(port);
  }
  return ports;
}

int scan_serial(const SerialScanWish& wish, const std::function<std::string(const std::string& port)>& owner,
                const std::function<void(const std::string&)>& print,
                const std::function<void(const std::string&)>& progress) {
  const SystemClock clock;
  const Instant deadline = clock.now() + wish.budget;
  std::string toml;
  std::size_t number = 0, had = 0;
  for (const std::string& port : wish.ports) {
    if (const std::string input = owner(port); !input.empty()) {
      print(text(
          port, ": held by the running daemon (input \"", input,
          "\"), which hears what comes: millrace tap; to scan it, stop the daemon or take the input out and reload\n"));
      continue;
    }
    PortScan scan(port, wish, clock, deadline, progress);
    scan.run();
    progress("");
    print(words_of(scan, port) + "\n");
    had += scan.trouble.ok();
    if (!scan.best.framing.empty() && scan.best.framing != "modbus") toml += port_toml(scan, port, ++number);
    if (!scan.over()) continue;
    const auto left = wish.ports.size() - 1 - static_cast<std::size_t>(&port - wish.ports.data());
    print(text("the time is over (", format_duration(wish.budget), ")",
               left == 0 ? "" : text("; ports not listened to: ", left), "; --budget gives more\n"));
    break;
  }
  if (!toml.empty())
    print("\n# What was found, for millrace.toml; try it with `millrace test`:\n" + toml.substr(1));
  return !toml.empty() ? exit_ok : had == 0 ? exit_unavailable : exit_no;
}

}  // namespace millrace
