#include "cli/commands/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
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

LoadedConfig load_whole(const std::string& path) {
  LoadedConfig loaded = load_config_file(path, built_kinds());
  if (loaded.errors.empty()) check_whole(loaded);
  if (loaded.errors.empty())
    std::ranges::move(disk_warnings(loaded, path), std::back_inserter(loaded.warnings));
  return loaded;
}

int report_errors(const std::string& path, const LoadedConfig& loaded, std::string_view then) {
  std::fputs(as_printed(format_errors(path, loaded.errors), STDERR_FILENO).c_str(), stderr);
  const bool not_for_us = ::access(path.c_str(), R_OK) != 0 && errno == EACCES;
  return complain(exit_config, text(loaded.errors.size(), " error", loaded.errors.size() == 1 ? "" : "s",
                                    not_for_us ? text("; ", ask_as) : std::string(), then));
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
  if (!said.ok()) return complain(exit_unavailable, said.status().detail());
  const auto answer = read_answer(said.value());
  print((json || !answer.ok() ? said.value() : pretty_json(said.value())) + "\n");
  if (answer.ok()) return exit_ok;
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
