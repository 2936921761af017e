#include "uplink/https/https_trial.h"

#include "base/text.h"
#include "loop/uv_loop.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_login.h"

namespace millrace {

Trial try_https(const HttpsUplinkConfig& config, const std::string& server, const std::string& gateway) {
  Trial trial{Trial::State::bad, text("uplink ", config.name, ": ", server), ""};
  UvLoop loop;
  TlsClient tls(loop, config.tls);
  const HttpUrl url = parse_http_url(server).value();
  const auto dialect = kind_of(config.dialect).make(config.dialect.values.get(), {gateway, 0, host_of(url), url.path});
  HttpAsk ask = dialect->probe();
  ask.target = url.path + ask.target;
  const HttpsLogin login(config);
  auto proxy = login.proxy();
  if (!proxy.ok()) {
    trial.words = proxy.status().detail();
    return trial;
  }
  HttpConnection::Options options;
  options.way.proxy = std::move(proxy).value();
  options.connect_timeout = options.answer_timeout = config.connect_timeout;
  const auto answered = [&](const HttpAnswered& answer) {
    // What it says to a login only a request with records shows, and nothing is written that nobody asked for.
    trial.state = answer.status.ok() ? Trial::State::unsure : Trial::State::bad;
    trial.words = answer.status.ok() ? text("answers (HTTP ", answer.reply.status, "); the login and what is written to are not tried, that would write")
                                     : answer.status.detail();
    loop.stop();
  };
  std::unique_ptr<HttpConnection> connection;
  connection = std::make_unique<HttpConnection>(
      loop, url, &tls, options,
      [&](const Status& status) {
        if (status.ok()) return connection->ask(std::move(ask), answered);
        trial.words = status.detail();
        loop.stop();
      },
      [] {});
  loop.run();
  return trial;
}

}  // namespace millrace
