// The web page: what a person sees in a browser, live. The page itself (gateway/page/, packed at build time),
// what it asks for as JSON, and a stream of events: one rendering a second for all who look, none when nobody
// does. It reads and changes nothing.
//
// For this machine's loopback, or behind TLS and a login (config settles that). On loopback it still meets
// other people's pages in the same browser: the Host header must be a name of loopback, or a name of theirs
// that was resolved to us would be one of ours (DNS rebinding), and what another site's script asks for is
// refused. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "log/log.h"
#include "log_commands.h"
#include "net/event_streams.h"
#include "net/http_server.h"
#include "observe/device_table.h"
#include "self_report.h"

namespace millrace {

// A file of the page as it is sent: packed by gzip.
struct PageFile {
  const char *path, *type;
  const unsigned char* bytes;
  std::size_t size;
};
// Nothing: this millrace was built without the page (MILLRACE_PAGE).
const std::vector<PageFile>& built_page();

class PageFace {
 public:
  static constexpr Duration every = std::chrono::seconds(1);
  struct Parts {
    Loop& loop;
    Log& log;
    Metrics& metrics;
    DeviceTable& devices;
    SelfReport& report;
    bool for_this_machine = true;  // else whoever asks has a login, and TLS says where he is
    std::function<bool()> ready;
    // What a command of the control socket answers; only those that change nothing are asked.
    std::function<void(const std::string& command, const ControlRequest&, ControlServer::Reply)> ask;
  };

  PageFace(Parts of, std::size_t streams_max);

  // Whether the path is one of the page's; then `reply` gets the answer.
  bool answer(const HttpRequest& request, const HttpServer::Reply& reply);

 private:
  void send_file(const PageFile& file, const HttpRequest& request, const HttpServer::Reply& reply) const;
  void send_devices(const HttpRequest& request, const HttpServer::Reply& reply);
  void begin_stream(const HttpServer::Reply& reply);
  void tell();
  std::string state();

  Parts of_;
  EventStreams streams_;
  std::unique_ptr<Timer> timer_;
  std::string last_;  // event, for who comes while it is fresh
  Instant made_;
  Counter& refused_;
  Metrics::Hook scrape_;
};

}  // namespace millrace
