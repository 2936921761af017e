#include "uplink/https/https_trial.h"

#include "base/text.h"
#include "loop/uv_loop.h"
#include "uplink/https/aws_role.h"
#include "uplink/https/dialect.h"
#include "uplink/https/https_login.h"

namespace millrace {
namespace {

// What a request of one record would be made with: a login, a signature, a token. Not ok: it cannot be made.
Status try_logins(const Dialect& dialect, HttpsLogin& login, UvLoop& loop) {
  if (auto header = login.header(); !header.ok()) return header.status();
  auto moment = login.moment(dialect, loop.wall(), loop.now());
  if (!moment.ok()) return moment.status();
  Carried what;
  what.first = what.last = 1;
  what.items = 1;
  what.records = 1;
  auto made = dialect.request({}, what, moment.value());
  return made.ok() ? Status{} : made.status();
}

Status fetch_role(const HttpsUplinkConfig& config, HttpsLogin& login, UvLoop& loop) {
  const DialectKind& kind = kind_of(config.dialect);
  const AwsAccess* access = kind.access ? kind.access(config.dialect.values.get()) : nullptr;
  if (!access || !access->of_role()) return {};
  AwsRole role(loop, *access);
  Status fetched;
  role.fetch([&](const Status& status) {
    fetched = status;
    loop.stop();
  });
  loop.run();
  login.take_role(role.keys());
  return fetched;
}

}  // namespace

Trial try_https(const HttpsUplinkConfig& config, const std::string& server, const std::string& gateway) {
  Trial trial{Trial::State::bad, text("uplink ", config.name, ": ", server), ""};
  UvLoop loop;
  TlsClient tls(loop, config.tls);
  const HttpUrl url = parse_http_url(server).value();
  const auto dialect =
      kind_of(config.dialect)
          .make(config.dialect.values.get(), {gateway, 0, host_of(url), url.path, config.send_timeout});
  HttpAsk ask = dialect->probe();
  ask.target = url.path + ask.target;
  HttpsLogin login(config);
  if (Status fetched = fetch_role(config, login, loop); !fetched.ok()) {
    trial.words = fetched.detail();
    return trial;
  }
  if (Status made = try_logins(*dialect, login, loop); !made.ok()) {
    trial.words = made.detail();
    return trial;
  }
  auto proxy = login.proxy();
  if (!proxy.ok()) {
    trial.words = proxy.status().detail();
    return trial;
  }
  HttpConnection::Options options;
  options.way.proxy = std::move(proxy).value();
  options.connect_timeout = options.answer_timeout = config.connect_timeout;
  const auto answered = [&](const HttpAnswered& answer) {
    // What it says to a login only a request with records shows, and nothing is written that nobody asked
    // for.
    trial.state = answer.status.ok() ? Trial::State::unsure : Trial::State::bad;
    trial.words = answer.status.ok()
                      ? text("answers (HTTP ", answer.reply.status,
                             "); the login and what is written to are not tried, that would write")
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
