// Where the gateway can be asked: the control socket for commands, and HTTP for metrics, health and the page.
// A place may be taken for a while, or not be there yet: readings are collected meanwhile, and it is tried
// again. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "face_gate.h"
#include "log_commands.h"
#include "loop/uv_loop.h"
#include "net/http_server.h"
#include "observe/control.h"
#include "observe/device_table.h"
#include "page_face.h"
#include "pipeline/live_payloads.h"
#include "self_report.h"

namespace millrace {

class Faces {
 public:
  // What is asked of the daemon as a whole.
  struct Daemon {
    const Config& config;
    UvLoop& loop;
    Metrics& metrics;
    SqliteLog& log;
    DeviceTable& devices;
    SelfReport& report;
    LivePayloads& payloads;
    LetterCommands::Retry retry_letter;
    LogCommands::Leftovers leftovers;
    std::function<Result<std::vector<std::string>>()> reload;  // what there is to warn of
    std::function<Status(const std::string& uplink)> forget;
    std::function<std::string()> why_not_ready;  // a line each; empty: it is
  };

  explicit Faces(Daemon of) : of_(std::move(of)) {}
  void open();
  // No new tries; what is open stays.
  void stop_trying();
  std::vector<ShutFace> shut() const;

 private:
  struct Face {
    std::string what, without;  // "control socket", what cannot be done while it is not there
    std::function<Status()> open;
    std::string trouble;
    std::unique_ptr<Timer> again;
  };
  void listen(Face& face);
  Status open_http();
  Status open_control();
  void answer(const HttpRequest& request, const HttpServer::Reply& reply);
  void refuse(FaceGate::Answer why, const HttpServer::Reply& reply);
  HttpResponse answer(const std::string& path);
  std::string live_payloads(const ControlRequest& request);
  void make_page();

  Daemon of_;
  std::unique_ptr<LogCommands> log_commands_;
  std::unique_ptr<LogCommands> page_commands_;
  std::unique_ptr<PageFace> page_;
  std::unique_ptr<HttpServer> http_;
  FaceGate gate_{of_.loop, of_.config.observe};
  std::unique_ptr<ControlServer> control_;
  Face http_face_{
      "observe.listen", "metrics and health cannot be asked for", [this] { return open_http(); }, {}, {}};
  Face control_face_{
      "control socket", "commands cannot talk to this gateway", [this] { return open_control(); }, {}, {}};
  bool stopping_ = false;
  std::string metrics_text_;
  Instant metrics_made_{};
};

}  // namespace millrace
