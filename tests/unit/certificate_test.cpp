// The one policy for certificates, how the failure of a handshake is told, and files that are waited for.
#include <doctest/doctest.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "net/certificate.h"
#include "net/handshake_watch.h"
#include "net/other_protocol.h"
#include "net/name_constraints.h"
#include "loop/uv_loop.h"
#include "net/needed_files.h"
#include "net/tls.h"
#include "net/tls_failure.h"

namespace certificate_test {
using namespace millrace;

namespace {

// CN=fixture, for gw.example, *.plant.example and 192.0.2.7, by its extended key usage for clients only; its
// key, and another.
const char* certificate = R"(-----BEGIN CERTIFICATE-----
MIIBvzCCAWagAwIBAgIUJyd28UGYl0xk0xyFfD9Cdj8Yr5gwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHZml4dHVyZTAgFw0yNjExMzAyMTA2NDVaGA8yMTI2MTEwNjIx
MDY0NVowEjEQMA4GA1UEAwwHZml4dHVyZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABNyGI/eB394l5qDeItQweb5QhRNeKSygbDNtEZnlkMzAccuMZcp9Uj4rD6Sp
3bNhi9orIwy7VKxAS2riCQlm5B2jgZcwgZQwHQYDVR0OBBYEFONklARGerhVUb0j
tvu4I//Pz/gUMB8GA1UdIwQYMBaAFONklARGerhVUb0jtvu4I//Pz/gUMA8GA1Ud
EwEB/wQFMAMBAf8wLAYDVR0RBCUwI4IKZ3cuZXhhbXBsZYIPKi5wbGFudC5leGFt
cGxlhwTAAAIHMBMGA1UdJQQMMAoGCCsGAQUFBwMCMAoGCCqGSM49BAMCA0cAMEQC
IEtDPjou2Uonsj02YcZWISjtVZu3rXjmXBR7Rqe9BVUsAiBAmTVuZWZf77E68LIK
KBHtTq6bmjJjGtqqzV785oefoA==
-----END CERTIFICATE-----
)";
const char* key = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgd5BlSWgfQs5dnSsn
FFq4ilRRzYAa0qtJq1Fmkjcw59ChRANCAATchiP3gd/eJeag3iLUMHm+UIUTXiks
oGwzbRGZ5ZDMwHHLjGXKfVI+Kw+kqd2zYYvaKyMMu1SsQEtq4gkJZuQd
-----END PRIVATE KEY-----
)";
const char* other_key = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOaR+ove/wSce9Tgs
pVAJNcBsmmawvrv85gES65H7eoKhRANCAARUF2QLyIVCr9oh7AkQuSW7NHNf801w
7hJamrv+1mkcQuhma+mlfYZZoylfAgs5nkg5ePCOWUt5PC2uFZD9vxFr
-----END PRIVATE KEY-----
)";

struct Files {
  std::string folder = text("/tmp/millrace-certificates-", ::getpid());
  Files() { std::filesystem::create_directory(folder); }
  ~Files() { std::filesystem::remove_all(folder); }
  std::string path(const std::string& name) const { return folder + "/" + name; }
  void write(const std::string& name, const std::string& content, mode_t mode = 0600) const {
    std::ofstream(path(name), std::ios::trunc) << content;
    ::chmod(path(name).c_str(), mode);
  }
};

Certificate for_host(const std::string& name) {
  Certificate one;
  one.hosts = {name};
  return one;
}

bool says(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

Status told(std::uint8_t alert, bool asked, bool showed) {
  TlsFailure failure;
  failure.error = MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE;
  failure.flags = UINT32_MAX;
  failure.alert = alert;
  failure.asked_for_ours = asked;
  failure.showed_ours = showed;
  failure.host = "central.example";
  return tell(failure);
}

std::string der(int tag, const std::string& content) {
  return std::string{static_cast<char>(tag), static_cast<char>(content.size())} + content;
}

// The extensions of a CA, with what it permits and excludes: GeneralNames in DER.
std::string extensions_of(const std::vector<std::string>& permitted,
                          const std::vector<std::string>& excluded) {
  std::string constraints;
  for (const auto& [tag, names] : {std::pair{0xA0, permitted}, std::pair{0xA1, excluded}}) {
    std::string subtrees;
    for (const std::string& name : names) subtrees += der(0x30, name);
    if (!names.empty()) constraints += der(tag, subtrees);
  }
  const std::string other =
      der(0x30, der(0x06, "\x55\x1d\x13") + der(0x01, "\xff") + der(0x04, der(0x30, "")));
  return der(0x30, other + der(0x30, der(0x06, "\x55\x1d\x1e") + der(0x04, der(0x30, constraints))));
}

}  // namespace

TEST_CASE(
    "tls client: files that are half written leave in place what was read before, but not at the start") {
  const Files files;
  UvLoop loop;
  const auto good = [&] {
    files.write("ca.pem", certificate);
    files.write("c.pem", certificate);
    files.write("c.key", key);
  };
  TlsConfig config;
  config.enabled = true;
  config.ca = files.path("ca.pem");
  config.cert = files.path("c.pem");
  config.key = {files.path("c.key")};
  const std::string cut = std::string(certificate).substr(0, 200);
  const std::vector<std::pair<const char*, std::string>> faults = {
      {"ca.pem", cut},       {"ca.pem", ""},       {"c.pem", cut},
      {"c.pem", "nonsense"}, {"c.key", other_key}, {"c.key", ""}};
  for (const auto& [file, content] : faults) {
    CAPTURE(file);
    CAPTURE(content);
    good();
    TlsClient client(loop, config, {"uplink", "own", "servers"});
    auto loaded = client.loader()();
    REQUIRE(loaded.ok());
    client.loaded(*loaded.value());
    files.write(file, content);
    CHECK_FALSE(TlsClient(loop, config).loader()().ok());  // nothing was read before
    for (int again = 0; again < 2; ++again) {
      loaded = client.loader()();
      REQUIRE(loaded.ok());
      client.loaded(*loaded.value());
    }
    files.write(file, "");
    CHECK(client.loader()().ok());
    good();
    CHECK(client.loader()().ok());
  }
}

TEST_CASE("certificates: a wildcard stands for one label, whole, and never for an address") {
  CHECK(name_fits("gw.example", "GW.Example"));
  CHECK(name_fits("gw.example", "gw.example."));
  CHECK(name_fits("*.plant.example", "press.plant.example"));
  for (const char* host : {"plant.example", "a.b.plant.example", ".plant.example", "xplant.example",
                           "press.plant.example.org"}) {
    CAPTURE(host);
    CHECK_FALSE(name_fits("*.plant.example", host));
  }
  CHECK_FALSE(name_fits("*.example", "gw.example"));  // half the world
  CHECK_FALSE(name_fits("*", "gw"));
  CHECK_FALSE(name_fits("p*.plant.example", "press.plant.example"));
  CHECK_FALSE(name_fits("", ""));
  CHECK_FALSE(judge_server(for_host("*.0.0.1"), "127.0.0.1").ok());
  CHECK_FALSE(judge_server(for_host("127.0.0.1"), "127.0.0.1").ok());  // a name that looks like an address
}

TEST_CASE("certificates: an address needs an address among the names; the common name is not looked at") {
  Certificate one;
  one.subject = "CN=gw.example";
  CHECK(says(judge_server(one, "gw.example").detail(), "no subject alternative name"));
  one.addresses = {"192.0.2.7", "2001:db8::7"};
  CHECK(judge_server(one, "192.0.2.7").ok());
  CHECK(judge_server(one, "2001:DB8:0::7").ok());
  CHECK(says(judge_server(one, "192.0.2.8").detail(),
             "it is for IP:192.0.2.7, IP:2001:db8::7, not for 192.0.2.8"));
  one.for_servers = false;
  CHECK(says(judge_server(one, "192.0.2.7").detail(), "serverAuth"));
  one.for_servers = true;
  one.rsa_bits = 1024;
  CHECK(says(judge_server(one, "192.0.2.7").detail(), "1024 bits"));
}

TEST_CASE("certificates: a file is read with names and use, and the key must be its own") {
  const Files files;
  files.write("cert", certificate);
  files.write("key", key);
  files.write("other", other_key);
  const auto read = read_certificates(files.path("cert"));
  REQUIRE(read.ok());
  REQUIRE(read.value().size() == 1);
  const Certificate& one = read.value().front();
  CHECK(one.subject == "CN=fixture");
  CHECK(one.names() == "DNS:gw.example, DNS:*.plant.example, IP:192.0.2.7");
  CHECK_FALSE(one.for_servers);
  CHECK(one.for_clients);
  CHECK(one.from < one.to);
  CHECK(check_key(files.path("cert"), {files.path("key")}).ok());
  CHECK(says(check_key(files.path("cert"), {files.path("other")}).detail(), "is not the key of"));
}

TEST_CASE(
    "needed files: missing, empty, half written, readable by everybody, and of another pair: each is waited for, in words") {
  const Files files;
  TlsConfig tls;
  tls.enabled = true;
  tls.ca = tls.cert = files.path("cert");
  tls.key = {files.path("key")};
  for (const bool for_mbedtls : {true, false}) {
    CAPTURE(for_mbedtls);
    NeededFiles needs;
    need_tls(needs, tls, "tls_", for_mbedtls);
    need_secret(needs, "password_file", {files.path("password")});
    CHECK(says(missing_of(needs), "tls_ca: open"));
    CHECK(says(missing_of(needs), "tls_key_file: "));
    CHECK(says(missing_of(needs), "password_file: "));
    files.write("cert", "");
    CHECK(says(missing_of(needs), "it is empty"));
    files.write("cert", std::string(certificate).substr(0, 400));
    CHECK_FALSE(missing_of(needs).empty());
    files.write("cert", certificate);
    files.write("key", key, 0644);
    files.write("password", "\n");
    CHECK(says(missing_of(needs), "chmod 600"));
    CHECK(says(missing_of(needs), "password: it is empty"));
    if (for_mbedtls) {
      files.write("key", other_key);
      CHECK(says(missing_of(needs), "is not the key of"));
    }
    files.write("key", std::string(key).substr(0, 100));
    CHECK_FALSE(missing_of(needs).empty());
    files.write("key", key);
    files.write("password", "sesame\n");
    CHECK(missing_of(needs) == "");
    for (const char* name : {"cert", "key", "password"}) std::filesystem::remove(files.path(name));
  }
}

TEST_CASE("what a client speaks is told by its first bytes, wherever they are cut off") {
  using namespace std::string_view_literals;
  struct Row {
    std::string_view begin;
    std::size_t enough;
    Speaks speaks;
  };
  const Row rows[] = {
      {"\x16\x03\x01\x02\x00\x01\x00"sv, 6, Speaks::tls},
      {"GET /metrics HTTP/1.1\r\n", 4, Speaks::http},
      {"OPTIONS * HTTP/1.1\r\n", 8, Speaks::http},
      {"PRI * HTTP/2.0\r\n\r\n", 14, Speaks::http},
      {"\x10\x0e\x00\x04MQTT\x05"sv, 8, Speaks::mqtt},
      {"\x10\xff\xff\xff\x7f\x00\x04MQTT\x04"sv, 11, Speaks::mqtt},
      {"\x10\x12\x00\x06MQIsdp\x03"sv, 10, Speaks::mqtt},
      {"\x16\x03\x01\x02\x00\x02\x00"sv, 99, Speaks::unknown},
      {"GETTING\r\n", 99, Speaks::unknown},
      {"\x10\x0e\x00\x04MQXX\x05"sv, 99, Speaks::unknown},
      {"\x10\xff\xff\xff\xff\xff\xff\xff\xff"sv, 99, Speaks::unknown},
      {"\x80\x2e\x01\x03\x01"sv, 99, Speaks::unknown},
  };
  for (const Row& row : rows) {
    for (std::size_t size = 0; size <= row.begin.size(); ++size) {
      CAPTURE(size);
      const Speaks told = spoken_by(bytes_of(row.begin.substr(0, size)));
      CHECK(told == (size >= row.enough ? row.speaks : Speaks::unknown));
    }
  }
}

TEST_CASE(
    "TLS: an alert is told as what it is, and blames a certificate of ours only where one was asked for or shown") {
  struct Row {
    std::uint8_t alert;
    bool asked, showed;
    const char* words;
    Code code;
  };
  const Row rows[] = {
      {70, false, false, "speaks only TLS 1.3, this build up to 1.2", Code::invalid},
      {40, false, false, "RSA or ECDSA, not Ed25519", Code::invalid},
      {40, true, false, "demands a client certificate, and none is configured", Code::invalid},
      {40, true, true, "refused our certificate", Code::invalid},
      {116, false, false, "demands a client certificate, and none is configured", Code::invalid},
      {42, true, false, "demands a client certificate, and none is configured", Code::invalid},
      {45, true, true, "refused our certificate (tls_cert): it has expired", Code::invalid},
      {48, true, true, "does not know the CA that issued it", Code::invalid},
      {112, false, false, "knows no host called central.example", Code::invalid},
      {120, false, false, "asked for a protocol by its name, and none was (ALPN: tls_alpn", Code::invalid},
      {80, false, false, "alert internal_error", Code::unavailable},
      {90, true, true, "alert user_canceled", Code::unavailable},
      {48, false, false, "alert 48", Code::unavailable},
      {200, false, false, "alert 200", Code::unavailable},
  };
  for (const Row& row : rows) {
    const Status status = told(row.alert, row.asked, row.showed);
    CAPTURE(status.detail());
    CHECK(says(status.detail(), row.words));
    CHECK(status.code() == row.code);
    if (!row.asked && !row.showed && row.alert != 116) CHECK_FALSE(says(status.detail(), "our certificate"));
  }
}

TEST_CASE("TLS: a server that does not speak what it was asked for is told by that name") {
  TlsFailure failure;
  failure.flags = UINT32_MAX;
  failure.alert = 120;
  failure.alpn = {"x-amzn-mqtt-ca", "mqtt"};
  CHECK(says(tell(failure).detail(), "does not speak \"x-amzn-mqtt-ca\", \"mqtt\" (ALPN"));
  CHECK(tell(failure).code() == Code::invalid);
}

TEST_CASE("TLS: what the library refuses is told as what it is") {
  TlsFailure failure;
  failure.flags = UINT32_MAX;
  failure.error = MBEDTLS_ERR_PK_UNKNOWN_PK_ALG;
  CHECK(says(tell(failure).detail(), "Ed25519"));
  CHECK(tell(failure).code() == Code::invalid);
  failure.error = MBEDTLS_ERR_X509_INVALID_EXTENSIONS + MBEDTLS_ERR_ASN1_UNEXPECTED_TAG;
  CHECK(says(tell(failure).detail(), "name constraints?"));
  failure.error = MBEDTLS_ERR_SSL_INVALID_RECORD;
  CHECK(says(tell(failure).detail(), "a port without TLS?"));
  CHECK(tell(failure).code() == Code::unavailable);
  failure.closed = true;
  CHECK(tell(failure).code() == Code::unavailable);
  failure.asked_for_ours = true;
  CHECK(says(tell(failure).detail(), "demands a client certificate"));
  CHECK(tell(failure).code() == Code::invalid);
  failure.flags = MBEDTLS_X509_BADCERT_EXPIRED;
  failure.certificate = "it expired on ...";
  CHECK(tell(failure).detail() == "certificate: it expired on ...");
}

TEST_CASE(
    "TLS: whether the server asked for a certificate is seen however its messages are cut, and not in what is encrypted") {
  const auto message = [](char type, std::size_t size) {
    return std::string{type, 0, 0, static_cast<char>(size)} + std::string(size, 'x');
  };
  const auto record = [](char type, const std::string& content) {
    return std::string{type, 3, 3, 0, static_cast<char>(content.size())} + content;
  };
  const std::string hello = message(2, 38), chain = message(11, 60), request = message(13, 8),
                    done = message(14, 0);
  const auto asked = [](const std::string& bytes) {
    HandshakeWatch whole, slowly;
    whole.push(bytes_of(bytes));
    for (const char& byte : bytes) slowly.push(bytes_of(std::string_view(&byte, 1)));
    CHECK(whole.certificate_requested() == slowly.certificate_requested());
    return whole.certificate_requested();
  };
  CHECK_FALSE(asked(record(22, hello) + record(22, chain) + record(22, done)));
  CHECK(asked(record(22, hello) + record(22, chain) + record(22, request + done)));
  const std::string all = hello + chain + request + done;
  CHECK(asked(record(22, all.substr(0, 50)) + record(22, all.substr(50, 57)) + record(22, all.substr(107))));
  CHECK_FALSE(asked(record(22, hello) + record(21, request)));
  CHECK_FALSE(asked(record(20, "x") + record(22, request)));
}

TEST_CASE("certificates: a CA certifies what its name constraints allow, critical or not, and nothing else") {
  const std::string plant = der(0x30, der(0x31, der(0x30, der(0x06, "\x55\x04\x0a") + der(0x0c, "Plant"))));
  const std::string ten_net("\x0a\0\0\0\xff\0\0\0", 8);
  const std::string extensions =
      extensions_of({der(0x82, "plant.example"), der(0x87, ten_net), der(0xA4, plant)},
                    {der(0x82, "office.plant.example"), der(0x81, "x@y.example")});
  const auto read = name_constraints_of(bytes_of(extensions));
  REQUIRE(read.ok());
  const NameConstraints& constraints = read.value();
  const auto forbidden = [&](const std::string& name) {
    return forbidden_name(constraints, for_host(name), {});
  };
  for (const char* good :
       {"plant.example", "PRESS.Plant.example", "a.b.plant.example", "*.line.plant.example"})
    CHECK(forbidden(good).empty());
  for (const char* bad : {"example", "xplant.example", "plant.example.org", "office.plant.example",
                          "a.office.plant.example", "*.plant.example"}) {
    CAPTURE(bad);
    CHECK(forbidden(bad) == text("DNS:", bad));
  }
  Certificate one;
  one.addresses = {"10.1.2.3"};
  CHECK(forbidden_name(constraints, one, {}).empty());
  for (const char* address : {"11.1.2.3", "2001:db8::7"}) {
    one.addresses = {address};
    CHECK(forbidden_name(constraints, one, {}) == text("IP:", address));
  }
  Certificate named;
  named.subject = "O=Plant, CN=x";
  const std::string cn = der(0x31, der(0x30, der(0x06, "\x55\x04\x03") + der(0x0c, "x")));
  CHECK(forbidden_name(constraints, named, bytes_of(der(0x30, plant.substr(2) + cn))).empty());
  CHECK(forbidden_name(constraints, named, bytes_of(der(0x30, cn))) == "O=Plant, CN=x");
  // Without any, or of bytes that lie.
  CHECK(name_constraints_of({}).value().none());
  CHECK(name_constraints_of(bytes_of(der(0x30, ""))).value().none());
  for (std::size_t size = 1; size < extensions.size(); ++size)
    CHECK_FALSE(name_constraints_of(bytes_of(extensions.substr(0, size))).ok());
  for (std::size_t at = 0; at < extensions.size(); ++at) {
    std::string lies = extensions;
    lies[at] = static_cast<char>(0xFF);
    (void)name_constraints_of(bytes_of(lies));
  }
}

}  // namespace certificate_test
