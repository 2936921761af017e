// millrace diag: a bundle for whoever is to find out what is wrong, in one text that can be read before it is
// given away: it is shown first, and written only where somebody says so. Without secrets and readings.
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/disk_space.h"
#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/commands/log_session.h"
#include "cli/without_secrets.h"
#include "kinds.h"
#include "version.h"

namespace millrace {
namespace {

constexpr std::size_t file_max = 1 << 20;

struct Diag : ConfigOption {
  std::string output;
  bool yes = false;
};
using C = Diag;
using O = OptionsOf<C>;
constexpr Option options[] = {
    O::config(),
    O::option<&C::output>("output", "FILE", "A new file to write it to, once it was shown")
        .short_form('o')
        .offers(Offer::files),
    O::flag<&C::yes>("yes", "Write it without asking"),
};

class Bundle {
 public:
  void section(std::string_view name, const std::string& words) {
    out_ += text("==== ", name, " ====\n", words, words.ends_with('\n') || words.empty() ? "" : "\n", "\n");
  }
  void file(const std::string& path) {
    const auto content = read_file(path, file_max);
    section(path, content.ok() ? content.value() : content.status().detail());
  }
  void answer(std::string_view name, const Result<std::string>& said) {
    section(name, said.ok() ? pretty_json(said.value()) : said.status().detail());
  }
  const std::string& text_of() const { return out_; }

 private:
  std::string out_;
};

std::string versions() {
  utsname kernel{};
  ::uname(&kernel);
  return text("millrace ", MILLRACE_VERSION, " (", MILLRACE_COMMIT, ", ", MILLRACE_PROFILE, ")\n",
              kernel.sysname, " ", kernel.release, " ", kernel.version, " ", kernel.machine, "\n");
}

std::string time_words() {
  const SystemClock clock;
  const KernelClock kernel = kernel_clock();
  const char* how = kernel.state == KernelClock::State::synchronised     ? "synchronised"
                    : kernel.state == KernelClock::State::unsynchronised ? "not synchronised"
                                                                         : "cannot be asked";
  return text(format_time(clock.wall()), ", the kernel says: ", how,
              "\nsince the boot: ", format_duration(Duration{clock.now().ns}), "\n");
}

std::string disk_words(const std::string& path) {
  const auto disk = disk_space(path);
  if (!disk.ok()) return disk.status().detail();
  return text(path, ": ", disk.value().kind, disk.value().read_only ? ", read-only" : "", ", ",
              format_size(static_cast<double>(disk.value().free)), " free of ",
              format_size(static_cast<double>(disk.value().total)), "\n");
}

std::string config_words(const C& c) {
  const auto toml = read_file(c.config, file_max);
  return toml.ok() ? without_secrets(toml.value()) : toml.status().detail();
}

// Each thing that cannot be had says why, and the others are there all the same.
std::string gather(const C& c, const LoadedConfig& loaded) {
  Bundle bundle;
  bundle.section("versions", versions());
  bundle.file("/etc/os-release");
  bundle.section("time", time_words());
  bundle.section(text(c.config, " (without comments and what could be a secret)"), config_words(c));
  if (!loaded.errors.empty())
    bundle.section("errors of the configuration", format_errors(c.config, loaded.errors));
  const Config& config = loaded.config;
  bundle.section("disk", disk_words(config.log.path) + disk_words(config.gateway.runtime_dir));
  const auto status = ask_text(config, "status");
  bundle.answer("millrace status --json", status);
  if (!status.ok()) {
    bundle.section("the log", "not looked into: no gateway answers, and who opens a log changes files in it");
  } else {
    bundle.answer("millrace log ls", ask_text(config, "log.ls"));
    bundle.answer("millrace log stat", ask_text(config, "log.stat"));
    const auto metrics = ask(config, "metrics");
    bundle.section("metrics", metrics.ok() ? metrics.value()["text"].text() : metrics.status().detail());
  }
  bundle.file("/proc/meminfo");
  bundle.file("/proc/loadavg");
  return bundle.text_of();
}

bool agreed(const std::string& path) {
  if (!::isatty(STDIN_FILENO)) return false;
  std::fprintf(stderr, "Write this to %s? [y/N] ", path.c_str());
  const int said = std::fgetc(stdin);
  return said == 'y' || said == 'Y';
}

// A new file with all of it, or none; what stands behind its name in a complaint, or nothing.
std::string write_whole(const std::string& path, const std::string& bundle) {
  std::FILE* out = std::fopen(path.c_str(), "wbx");
  if (!out) return errno == EEXIST ? " is there already" : text(" cannot be made: ", std::strerror(errno));
  bool written = std::fwrite(bundle.data(), 1, bundle.size(), out) == bundle.size();
  written = std::fflush(out) == 0 && written;
  const std::string why = written ? "" : text(" cannot be written: ", std::strerror(errno));
  std::fclose(out);
  if (!written)
    std::remove(path.c_str());  // a disk that is full wants no piece of it, nor does who asks again
  return why;
}

int run(const C& c) {
  const LoadedConfig loaded = load_config_file(c.config, built_kinds());
  const std::string bundle = gather(c, loaded);
  print(bundle);
  std::fflush(stdout);
  if (c.output.empty()) return exit_ok;
  if (!c.yes && !agreed(c.output))
    return complain(exit_no, "nothing was written (--yes does it without asking)");
  if (const std::string wrong = write_whole(c.output, bundle); !wrong.empty())
    return complain(exit_no, c.output + wrong);
  return complain(exit_ok, text(bundle.size(), " bytes in ", c.output));
}

}  // namespace

extern const CommandKind diag_command_kind;
const CommandKind diag_command_kind = command_kind<C, run>(
    "diag",
    "What is needed to find out what is wrong, as one text: configuration without secrets, status, metrics, log, versions",
    options,
    "It is shown before anything is written, and holds no readings; names of devices, inputs and hosts are in it (of the configuration no "
    "user names), and what is said of a payload that could not be read may show a piece of that. Nothing is left of a file that could not "
    "be written whole.");

}  // namespace millrace
