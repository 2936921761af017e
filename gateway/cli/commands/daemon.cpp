#include "cli/commands/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "base/instance.h"
#include "base/json.h"
#include "base/real_path.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/disk_warnings.h"
#include "cli/page.h"
#include "kinds.h"
#include "observe/control.h"
#include "registry.h"

namespace millrace {

void print(const std::string& text) {
  const std::string printed = as_printed(text, STDOUT_FILENO);
  std::fwrite(printed.data(), 1, printed.size(), stdout);
}

void print_now(const std::string& text) {
  print(text);
  std::fflush(stdout);
}

void show_progress(const std::string& line) {
  if (::isatty(STDERR_FILENO)) std::fprintf(stderr, "\r\033[K%s", as_printed(line, STDERR_FILENO).c_str());
}

int complain(int code, const std::string& text) {
  std::fprintf(stderr, "%s\n", as_printed(text, STDERR_FILENO).c_str());
  return code;
}

std::string next_alone(const Status& why) {
  if (why.detail().ends_with(std::strerror(EACCES))) return std::string(ask_as);
  return text("systemctl status ", instance_unit(), "; journalctl -u ", instance_unit(), " -n 50");
}

int no_answer(const Status& why) {
  const bool nobody = why.code() == Code::unavailable || why.code() == Code::timeout;
  return complain(exit_unavailable,
                  why.detail() + (nobody ? text("\n  next: ", next_alone(why)) : std::string()));
}

LoadedConfig load_whole(const std::string& path) {
  LoadedConfig loaded = load_config_file(path, built_kinds());
  check_whole(loaded);
  if (loaded.errors.empty())
    std::ranges::move(disk_warnings(loaded, path), std::back_inserter(loaded.warnings));
  return loaded;
}

int report_errors(const std::string& path, const LoadedConfig& loaded, std::string_view then) {
  std::fputs(as_printed(format_errors(path, loaded.errors), STDERR_FILENO).c_str(), stderr);
  std::string next;
  if (::access(path.c_str(), R_OK) != 0) {
    if (errno == EACCES) next = text("; ", ask_as);
    if (errno == ENOENT) next = "; -c FILE names another one, millrace config prints one to begin with";
  }
  return complain(exit_config,
                  text(loaded.errors.size(), " error", loaded.errors.size() == 1 ? "" : "s", next, then));
}

std::string request_of(const std::string& command, const Words& words) {
  JsonWriter json;
  json.begin_object().member("command", command);
  for (const auto& [name, value] : words) {
    if (!value.empty()) json.member(name, value);
  }
  json.end_object();
  return json.take();
}

Result<DaemonAnswer> read_answer(std::string_view json) {
  auto answer = DaemonAnswer::read(json);
  if (!answer.ok()) return answer;
  if (answer.value().type() != DaemonAnswer::Type::object)
    return Status{Code::invalid, "what answers is no gateway"};
  if (!answer.value()["error"].there()) return answer;
  const std::string& error = answer.value()["error"].text();
  if (error == ControlServer::unknown_command)
    return Status{Code::invalid,
                  text("the gateway that runs is of another version, which does not know this; "
                       "restart it: systemctl restart ",
                       instance_unit())};
  return Status{Code::invalid, error};
}

Result<std::string> ask_text(const Config& config, const std::string& command, const Words& words,
                             int timeout_seconds) {
  auto said =
      ask_daemon(config.gateway.runtime_dir + "/control.sock", request_of(command, words), timeout_seconds);
  if (!said.ok()) return said;
  if (const auto answer = read_answer(said.value()); !answer.ok()) return answer.status();
  return said;
}

Result<DaemonAnswer> ask(const Config& config, const std::string& command, const Words& words,
                         int timeout_seconds) {
  const auto said =
      ask_daemon(config.gateway.runtime_dir + "/control.sock", request_of(command, words), timeout_seconds);
  if (!said.ok()) return said.status();
  return read_answer(said.value());
}

int talk(const std::string& config, bool json, const std::string& command, const Words& words) {
  const LoadedConfig loaded = load_config_file(config, built_kinds());
  if (!loaded.errors.empty()) return report_errors(config, loaded);
  const auto said =
      ask_daemon(loaded.config.gateway.runtime_dir + "/control.sock", request_of(command, words));
  if (!said.ok()) return no_answer(said.status());
  const auto answer = read_answer(said.value());
  print((json || !answer.ok() ? said.value() : pretty_json(said.value())) + "\n");
  if (answer.ok()) {
    for (const DaemonAnswer& warning : answer.value()["warnings"].items())
      complain(0, "warning: " + shown(warning.text(), 4000));
    return exit_ok;
  }
  for (const std::string_view line : split(std::string_view(answer.status().detail()), '\n')) {
    if (!line.empty()) complain(exit_no, shown(line, 4000));
  }
  return exit_no;
}

std::string holder_of(const std::string& path, const std::function<bool(const std::string& claim)>& is) {
  const LoadedConfig loaded = load_config_file(path, built_kinds());
  if (!loaded.errors.empty() || !ask_text(loaded.config, "status").ok()) return {};
  for (const InputPlan& plan : plan_inputs(loaded.config)) {
    if (std::ranges::any_of(plan.claims, is)) return plan.name;
  }
  return {};
}

std::string holder_of_tty(const std::string& path, const std::string& device) {
  return holder_of(path, [port = real_path(device)](const std::string& claim) {
    return claim.starts_with("tty ") && real_path(claim.substr(4)) == port;
  });
}

}  // namespace millrace
