#include "faces.h"

#include <utility>

#include "base/logger.h"
#include "observe/device_list.h"

namespace millrace {
namespace {

constexpr Duration listen_again_in = std::chrono::seconds(2);
constexpr Duration metrics_fresh_for = std::chrono::milliseconds(10);
constexpr const char* plain_text = "text/plain; charset=utf-8";

// A reload's: {"ok":true}, and "warnings" where there are some.
std::string reply_of(const Result<std::vector<std::string>>& reloaded) {
  if (!reloaded.ok()) return control_error(reloaded.status().detail());
  if (reloaded.value().empty()) return control_reply(Status());
  JsonWriter json;
  json.begin_object().member("ok", true).key("warnings").begin_array();
  for (const std::string& warning : reloaded.value()) json.value(warning);
  json.end_array().end_object();
  return json.take();
}

DeviceWish wish_of(const ControlRequest& request) {
  DeviceWish wish;
  wish.sort = control_word(request, "sort", wish.sort);
  wish.part = control_word(request, "part", wish.part);
  wish.most = control_number(request, "max", wish.most);
  return wish;
}

}  // namespace

void Faces::open() {
  listen(http_face_);
  listen(control_face_);
}

void Faces::stop_trying() {
  stopping_ = true;
  http_face_.again.reset();
  control_face_.again.reset();
}

std::vector<ShutFace> Faces::shut() const {
  std::vector<ShutFace> shut;
  for (const Face* face : {&http_face_, &control_face_}) {
    if (!face->trouble.empty()) shut.push_back({face->what, face->without, face->trouble});
  }
  return shut;
}

void Faces::listen(Face& face) {
  face.again.reset();
  if (stopping_) return;
  if (const Status status = face.open(); !status.ok()) {
    if (std::exchange(face.trouble, status.detail()) != status.detail()) {
      LOG_ERROR(face.what, ": ", status.detail(), "; ", face.without,
                ", everything else goes on; will keep trying");
    }
    face.again = of_.loop.after(listen_again_in, [this, &face] { listen(face); });
    return;
  }
  if (!std::exchange(face.trouble, {}).empty()) LOG_INFO(face.what, ": it is open now");
}

Status Faces::open_control() {
  auto control = ControlServer::listen(of_.loop, of_.config.gateway.runtime_dir + "/control.sock");
  if (!control.ok()) return control.status();
  control_ = std::move(control).value();
  control_->add("status", false, [this](const ControlRequest&, ControlServer::Reply reply) {
    reply(of_.report.status_json(of_.why_not_ready().empty()));
  });
  control_->add("metrics", false, [this](const ControlRequest&, ControlServer::Reply reply) {
    JsonWriter json;
    json.begin_object().member("text", of_.report.metrics_text()).end_object();
    reply(json.take());
  });
  control_->add("devices", false, [this](const ControlRequest& request, ControlServer::Reply reply) {
    reply(device_list(of_.devices, wish_of(request), of_.loop.now()));
  });
  control_->add("payloads", false, [this](const ControlRequest& request, ControlServer::Reply reply) {
    reply(live_payloads(request));
  });
  log_commands_ = std::make_unique<LogCommands>(of_.loop, of_.log, of_.retry_letter, of_.leftovers);
  for (auto& [name, command] : log_commands_->table())
    control_->add(name, command.changes, std::move(command.run));
  control_->add("reload", true,
                [this](const ControlRequest&, ControlServer::Reply reply) { reply(reply_of(of_.reload())); });
  control_->add("forget", true, [this](const ControlRequest& request, ControlServer::Reply reply) {
    const std::string name = control_word(request, "uplink");
    if (name.empty() || name.front() == '@') return reply(control_error("which uplink?"));
    reply(control_reply(of_.forget(name)));
  });
  return {};
}

// {"next": the number to ask from, "letters": "NUMBER HEX" a line}.
std::string Faces::live_payloads(const ControlRequest& request) {
  const std::string input = control_word(request, "input");
  if (input.empty()) return control_error("of which input?");
  const LivePayloads::Page page =
      of_.payloads.since(input, control_number(request, "from", 0), of_.loop.now());
  if (page.refused) return control_error("others watch as many inputs as can be watched at a time");
  JsonWriter json;
  json.begin_object().member("next", page.next).member("letters", letters_in_hex(page.letters)).end_object();
  return json.take();
}

Status Faces::open_http() {
  const std::string& address = of_.config.observe.listen;
  if (address.empty()) return {};
  if (!page_ && of_.config.observe.has_page() && !built_page().empty()) make_page();
  std::unique_ptr<TlsServer> tls;
  if (const TlsConfig& own = of_.config.observe.tls; !own.cert.empty()) {
    auto made = TlsServer::make(of_.loop, {own.cert, own.key, {}, ClientCertificates::none, {}, {}});
    if (!made.ok()) return made.status();
    tls = std::move(made).value();
  }
  auto http = HttpServer::listen(
      of_.loop, address,
      [this](const HttpRequest& request, const HttpServer::Reply& reply) { answer(request, reply); },
      std::move(tls));
  if (!http.ok()) return http.status();
  http_ = std::move(http).value();
  if (address.ends_with(":0")) LOG_INFO("observe: listening on port ", http_->port());
  return {};
}

// It asks the commands that the control socket has, and of those the ones that change nothing.
void Faces::make_page() {
  PageFace::Parts parts{of_.loop,
                        of_.log,
                        of_.metrics,
                        of_.devices,
                        of_.report,
                        of_.config.observe.on_loopback,
                        [this] { return of_.why_not_ready().empty(); },
                        {}};
  page_commands_ = std::make_unique<LogCommands>(of_.loop, of_.log, nullptr);
  parts.ask = [this](const std::string& command, const ControlRequest& request, ControlServer::Reply reply) {
    const auto table = page_commands_->table();
    const auto found = table.find(command);
    if (found == table.end() || found->second.changes)
      return reply(control_error("nothing is asked of that name"));
    found->second.run(request, std::move(reply));
  };
  page_ = std::make_unique<PageFace>(std::move(parts), of_.config.observe.page_streams);
}

void Faces::answer(const HttpRequest& request, const HttpServer::Reply& reply) {
  gate_.ask(request, [this, request, reply](FaceGate::Answer answer) {
    if (answer != FaceGate::Answer::welcome) return refuse(answer, reply);
    if (!page_ || !page_->answer(request, reply)) reply(this->answer(request.path));
  });
}

void Faces::refuse(FaceGate::Answer why, const HttpServer::Reply& reply) {
  of_.metrics
      .counter(
          "millrace_observe_refused_total",
          "Requests without what observe.token_file or users_file wants, or with too many wrong ones before")
      .add();
  if (why == FaceGate::Answer::busy)
    return reply({429, plain_text, "too many tries; in ten seconds again\n", {{"Retry-After", "10"}}});
  const char* login = of_.config.observe.users_file.empty()
                          ? "Basic realm=\"millrace: any name, the token as password\", charset=\"UTF-8\""
                          : "Basic realm=\"millrace\", charset=\"UTF-8\"";
  reply({401, plain_text, gate_.wants(), {{"WWW-Authenticate", login}}});
}

HttpResponse Faces::answer(const std::string& path) {
  if (path == "/metrics") {
    // Making the answer costs a millisecond or two of the loop, and whoever reaches the port may ask: a crowd
    // shares it.
    if (metrics_text_.empty() || of_.loop.now() - metrics_made_ >= metrics_fresh_for) {
      metrics_text_ = of_.report.metrics_text();
      metrics_made_ = of_.loop.now();
    }
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_text_};
  }
  if (path == "/healthz") return {200, plain_text, "ok\n"};
  if (path == "/readyz") {
    const LogStats stats = of_.log.stats();
    std::string why = of_.why_not_ready();
    if (!stats.trouble.empty()) why += "log: " + stats.trouble + "\n";
    if (stats.blocked) why += "log: full, inputs pause\n";
    return why.empty() ? HttpResponse{200, plain_text, "ready\n"} : HttpResponse{503, plain_text, why};
  }
  return {
      404, plain_text,
      page_ ? "there are /, /metrics, /healthz and /readyz\n" : "there are /metrics, /healthz and /readyz\n"};
}

}  // namespace millrace
