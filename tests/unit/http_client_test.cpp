// The HTTP client against answers that a real server cannot be made to give.
#include <doctest/doctest.h>

#include "base/text.h"
#include "loop/uv_loop.h"
#include "net/http_client.h"
#include "net/http_connection.h"

namespace http_client_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

// Asks a server that says `answer` in pieces of `piece` and closes.
Result<HttpAnswer> ask(const std::string& answer, std::size_t piece = SIZE_MAX, bool close = true,
                       std::string* heard = nullptr) {
  UvLoop loop;
  std::unique_ptr<Stream> served;
  auto listener = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> accepted) {
    served = std::move(accepted);
    served->read([&](BytesView chunk) {
      if (chunk.empty()) return;
      if (heard) *heard += text_of(chunk);
      for (std::size_t at = 0; at < answer.size(); at += piece) served->write(answer.substr(at, piece));
      if (close) served->finish([&] { served.reset(); });
    });
  });
  REQUIRE(listener.ok());
  TlsClient tls(loop, {});
  HttpQuery request;
  request.method = "POST";
  request.url = parse_http_url(text("http://localhost:", listener.value()->port(), "/base/")).value();
  request.url.path += "/more";
  request.headers = {{"X-One", "1"}};
  request.body = "hello";
  request.timeout = 1s;
  request.answer_max = 1000;
  std::optional<Result<HttpAnswer>> result;
  HttpCall call(loop, tls, std::move(request), [&](Result<HttpAnswer> got) {
    result.emplace(std::move(got));
    loop.stop();
  });
  const auto limit = loop.after(5s, [&] { loop.stop(); });
  loop.run();
  REQUIRE(result.has_value());
  return *result;
}

}  // namespace

TEST_CASE("http client: answers by length, in chunks and to the end of the stream, however they are cut") {
  for (const std::size_t piece : {SIZE_MAX, std::size_t{1}, std::size_t{7}}) {
    CAPTURE(piece);
    std::string heard;
    auto answer = ask("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", piece, true, &heard);
    REQUIRE(answer.ok());
    CHECK(answer.value().status == 200);
    CHECK(answer.value().body == "body");
    CHECK(heard.starts_with("POST /base/more HTTP/1.1\r\nHost: localhost:"));
    CHECK(heard.ends_with("X-One: 1\r\n\r\nhello"));
    answer = ask(
        "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", piece);
    REQUIRE(answer.ok());
    CHECK(answer.value().status == 409);
    CHECK(answer.value().body == "abcde");
    answer = ask("HTTP/1.0 200 OK\r\n\r\nto the end", piece);
    REQUIRE(answer.ok());
    CHECK(answer.value().body == "to the end");
    answer = ask(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nbody",
        piece);
    REQUIRE(answer.ok());
    CHECK(answer.value().status == 404);
    CHECK(answer.value().body == "body");
  }
}

TEST_CASE("http client: what is no answer, too large, or late") {
  CHECK(ask("220 mail.example ESMTP\r\n").status().detail() == "the answer is not HTTP");
  CHECK(ask("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + std::string(4000, 'x')).status().detail() ==
        "the answer is too large");
  CHECK(ask("HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x')).status().code() == Code::unavailable);
  CHECK(ask("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").status().detail() ==
        "the answer is not HTTP");
  CHECK(ask("HTTP/1.1 200 OK\r\n", SIZE_MAX, false).status().code() == Code::timeout);
}

TEST_CASE("http connection: a proxy that refuses is told once, and may say what it likes to nobody") {
  UvLoop loop;
  std::unique_ptr<Stream> served;
  std::unique_ptr<Timer> more;
  bool left = false;
  auto proxy = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> accepted) {
    served = std::move(accepted);
    served->read([&](BytesView chunk) {
      if (chunk.empty()) {
        left = true;
        served.reset();
        loop.stop();
        return;
      }
      served->write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 10\r\n\r\n");
      more = loop.after(30ms, [&] {
        if (served) served->write("first login");
      });
    });
  });
  REQUIRE(proxy.ok());
  HttpConnection::Options options;
  options.way.proxy = Proxy{{"127.0.0.1", proxy.value()->port()}, ""};
  std::vector<std::string> told;
  HttpConnection connection(
      loop, parse_http_url("http://far.example").value(), nullptr, options,
      [&](const Status& status) { told.push_back(status.detail()); }, [] {});
  const auto limit = loop.after(2s, [&] { loop.stop(); });
  loop.run();
  REQUIRE(told.size() == 1);
  CHECK(told[0].find("407: it wants a login") != std::string::npos);
  CHECK(left);  // though the connection's owner has not given it up
}

TEST_CASE(
    "http connection: an end that meets a first request may have crossed it only where the connection had rested") {
  for (const bool rested : {false, true}) {
    CAPTURE(rested);
    UvLoop loop;
    std::unique_ptr<Stream> served;
    auto listener = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> accepted) {
      served = std::move(accepted);
      served->read([&](BytesView) { served.reset(); });
    });
    REQUIRE(listener.ok());
    std::optional<HttpAnswered> answered;
    std::unique_ptr<HttpConnection> connection;
    std::unique_ptr<Timer> resting;
    connection = std::make_unique<HttpConnection>(
        loop, parse_http_url(text("http://127.0.0.1:", listener.value()->port())).value(), nullptr,
        HttpConnection::Options{},
        [&](const Status& status) {
          REQUIRE(status.ok());
          resting = loop.after(rested ? 1200ms : 0ms, [&] {
            connection->ask({}, [&](HttpAnswered got) {
              answered = std::move(got);
              loop.stop();
            });
          });
        },
        [] {});
    const auto limit = loop.after(5s, [&] { loop.stop(); });
    loop.run();
    REQUIRE(answered.has_value());
    CHECK(answered->hung_up);
    CHECK(answered->stale == rested);
  }
}

TEST_CASE("http client: addresses as people write them") {
  CHECK(parse_http_url("https://registry.example").value().where.port == 443);
  CHECK(parse_http_url("http://[::1]:8081/a/b/").value().path == "/a/b");
  for (const char* bad :
       {"registry:8081", "http://", "http://u:p@h", "http://h/?q=1", "http://h/a b", "ftp://h"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_http_url(bad).ok());
  }
}

}  // namespace http_client_test
