#include "page_face.h"

#include <algorithm>
#include <cstdlib>

#include "base/ascii.h"
#include "base/text.h"
#include "latest_values.h"
#include "observe/device_list.h"

namespace millrace {
namespace {

constexpr const char* json_type = "application/json";
constexpr const char* plain_text = "text/plain; charset=utf-8";
constexpr std::size_t devices_shown_max = 500, metrics_shown_max = 6;
// a few milliseconds of the loop each
constexpr std::size_t value_pages_max = 8, value_page_bytes = 16 << 10;

// Nothing but our own files and answers: no other site's, no script or style within the page, no frame around
// it.
constexpr std::string_view policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'";

HttpResponse guarded(HttpResponse response) {
  response.headers.insert(response.headers.end(), {{"Content-Security-Policy", policy},
                                                   {"X-Content-Type-Options", "nosniff"},
                                                   {"Referrer-Policy", "no-referrer"},
                                                   {"Cross-Origin-Resource-Policy", "same-origin"},
                                                   {"Cross-Origin-Opener-Policy", "same-origin"},
                                                   {"Cache-Control", "no-cache"}});
  return response;
}

HttpResponse refused(int status, const char* why) { return guarded({status, plain_text, why}); }
HttpResponse json_answer(std::string json) { return guarded({200, json_type, std::move(json)}); }

// A link that somebody follows is no script that reads.
bool asked_by_another_site(const HttpRequest& request) {
  return !request.fetch_site.empty() && request.fetch_site != "same-origin" && request.fetch_site != "none";
}

bool takes_gzip(const HttpRequest& request) {
  const std::string given = lower(request.accept_encoding);
  return given.find("gzip") != std::string::npos || given.find('*') != std::string::npos;
}

DeviceWish wish_of(const HttpRequest& request) {
  DeviceWish wish;
  if (const std::string sort = request.value("sort"); !sort.empty()) wish.sort = sort;
  wish.part = request.value("part");
  if (const std::string most = request.value("max"); !most.empty())
    wish.most = std::min<std::size_t>(devices_shown_max, std::strtoull(most.c_str(), nullptr, 10));
  return wish;
}

}  // namespace

PageFace::PageFace(Parts of, std::size_t streams_max)
    : of_(std::move(of)),
      streams_(of_.loop, {.streams_max = streams_max}),
      refused_(of_.metrics.counter("millrace_page_streams_refused_total",
                                   "Tabs that could not be served live: observe.page_streams are")) {
  scrape_ = of_.metrics.before_scrape([this] {
    of_.metrics
        .gauge("millrace_page_streams",
               "Tabs that are served live (one of each browser has the stream for all)")
        .set(static_cast<double>(streams_.size()));
    of_.metrics
        .gauge("millrace_page_streams_dropped",
               "Of these, dropped since the start because they took nothing for 15 s")
        .set(static_cast<double>(streams_.dropped()));
  });
}

bool PageFace::answer(const HttpRequest& request, const HttpServer::Reply& reply) {
  const auto& files = built_page();
  const auto file =
      std::ranges::find_if(files, [&](const PageFile& one) { return request.path == one.path; });
  const bool asks = request.path.starts_with("/api/") || request.path == "/events";
  if (file == files.end() && !asks) return false;
  if (of_.for_this_machine && !is_loopback_host(request.host)) {
    reply(refused(
        421,
        "this page is for this machine: ask for 127.0.0.1 or localhost; from elsewhere by ssh -L 9464:127.0.0.1:9464 HOST\n"));
  } else if (asked_by_another_site(request) && request.path != "/") {
    reply(refused(403, "another site's page asked for this\n"));
  } else if (file != files.end()) {
    send_file(*file, request, reply);
  } else if (request.path == "/events") {
    begin_stream(reply);
  } else if (request.path == "/api/status") {
    reply(json_answer(of_.report.status_json(of_.ready())));
  } else if (request.path == "/api/history") {
    reply(json_answer(of_.report.history_json()));
  } else if (request.path == "/api/devices") {
    send_devices(request, reply);
  } else if (request.path == "/api/alarms") {
    of_.ask("log.last", {{"lane", "alarm"}, {"max", "20"}, {"from", request.value("from")}},
            [reply](std::string json) { reply(json_answer(std::move(json))); });
  } else if (request.path == "/api/letters") {
    of_.ask("dlq.ls", {{"max", "20"}, {"from", request.value("from")}},
            [reply](std::string json) { reply(json_answer(std::move(json))); });
  } else {
    reply(refused(
        404, "there are /api/status, /api/history, /api/devices, /api/alarms, /api/letters and /events\n"));
  }
  return true;
}

void PageFace::send_file(const PageFile& file, const HttpRequest& request,
                         const HttpServer::Reply& reply) const {
  if (!takes_gzip(request))
    return reply(refused(406, "it is packed by gzip: open it in a browser, or say curl --compressed\n"));
  HttpResponse response{200,
                        file.type,
                        std::string(reinterpret_cast<const char*>(file.bytes), file.size),
                        {{"Content-Encoding", "gzip"}}};
  reply(guarded(std::move(response)));
}

// {"list": as device_list() has it, "values": the newest records of those in it, as far as the log's end has
// them}
void PageFace::send_devices(const HttpRequest& request, const HttpServer::Reply& reply) {
  const DeviceWish wish = wish_of(request);
  LatestValues::Wish values{{}, 0, metrics_shown_max, value_pages_max, value_page_bytes, true};
  const std::string list = device_list(of_.devices, wish, of_.loop.now(), &values.devices);
  if (values.devices.empty()) return reply(json_answer(text("{\"list\":", list, ",\"values\":[]}")));
  LatestValues::look(of_.log, std::move(values), [reply, list](const Result<LatestValues::Found>& found) {
    std::string records;
    if (found.ok()) {
      for (const auto& [device, metrics] : found.value().devices) {
        for (const auto& [metric, record] : metrics)
          records += text(records.empty() ? "" : ",", record.second);
      }
    }
    reply(json_answer(text("{\"list\":", list, ",\"values\":[", records, "]}")));
  });
}

// ---- the stream

void PageFace::begin_stream(const HttpServer::Reply& reply) {
  if (streams_.full()) {
    refused_.add();
    return reply(refused(503, "as many tabs are open as observe.page_streams allows\n"));
  }
  HttpResponse response{200, "text/event-stream", "retry: 2000\n\n"};
  response.goes_on = [this](std::unique_ptr<Stream> stream) {
    if (streams_.full()) return;  // the last place went to another one meanwhile
    streams_.take(std::move(stream), state());
    if (!timer_) timer_ = of_.loop.after(every, [this] { tell(); });
  };
  reply(guarded(std::move(response)));
}

// A crowd that comes at once shares what was made.
std::string PageFace::state() {
  if (last_.empty() || of_.loop.now() - made_ >= every / 4) {
    last_ = EventStreams::event("state", of_.report.status_json(of_.ready()));
    made_ = of_.loop.now();
  }
  return last_;
}

void PageFace::tell() {
  timer_.reset();
  if (streams_.size() == 0) {
    last_ = {};
    return;
  }
  streams_.send(state());
  timer_ = of_.loop.after(every, [this] { tell(); });
}

}  // namespace millrace
