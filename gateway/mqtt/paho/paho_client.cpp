#include "mqtt/paho/paho_client.h"

#include <mqtt/async_client.h>

#include <map>
#include <mutex>
#include <set>

#include "base/host_port.h"
#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"
#include "mqtt/packet.h"

namespace millrace {
namespace {

// An explicit instantiation may name a private member, and hands it out through a friend. Two are needed of Paho C++ 1.2:
// the packet id of an arrived message lies in its C struct, to which there is no way; and connect() must go to Paho C itself,
// because the C++ ssl_options leave it with a pointer to an error handler that is gone when the handshake fails.
template <auto Member>
struct OpenMessage {
  friend const MQTTAsync_message& c_message(const ::mqtt::message& message) { return message.*Member; }
};
const MQTTAsync_message& c_message(const ::mqtt::message& message);
template struct OpenMessage<&::mqtt::message::msg_>;

template <auto Member>
struct OpenClient {
  friend MQTTAsync c_client(::mqtt::async_client& client) { return client.*Member; }
};
MQTTAsync c_client(::mqtt::async_client& client);
template struct OpenClient<&::mqtt::async_client::cli_>;

// OpenSSL's line is "thread:error:code:library:function:reason:file:line:"; people want the reason.
std::string tls_reason(std::string_view line) {
  const auto parts = split(trim(line), ':');
  return std::string(parts.size() >= 6 ? parts[5] : trim(line));
}

std::string paho_uri(const std::string& server) {
  const bool tls = server.starts_with("mqtts://");
  const std::string rest = server.substr(tls ? 8 : 7);
  const auto where = parse_host_port(rest, tls ? 8883 : 1883);
  return (tls ? "ssl://" : "tcp://") + (where.ok() ? where.value().to_string() : rest);
}

// `code`: of the CONNACK where there was one; `message`: Paho's own words.
MqttFault fault_of(int code, const char* message, int version, bool tls, const std::string& tls_errors) {
  if ((version < 5 && code >= 1 && code <= 5) || (version == 5 && code >= 128)) return refused_connect(code, version);
  MqttFault fault;
  if (tls && !tls_errors.empty()) {
    fault.text = "TLS: " + tls_errors;
    fault.needs_person = tls_errors.find("certificate") != std::string::npos;
  } else {
    fault.text = message && *message ? text("cannot connect: ", message) : "cannot connect";
  }
  return fault;
}

}  // namespace

// Shared by the owner, the worker's tasks and the callbacks. `owner_alive` belongs to the loop.
struct PahoClient::Shared : std::enable_shared_from_this<PahoClient::Shared>, ::mqtt::callback, ::mqtt::iaction_listener, ::mqtt::iclient_persistence {
  Shared(Loop& l, PahoOptions o, Events e) : loop(l), options(std::move(o)), events(std::move(e)) {}

  Loop& loop;
  const PahoOptions options;
  const Events events;
  std::unique_ptr<::mqtt::async_client> client;  // made, used and destroyed on the worker
  bool owner_alive = true;
  std::mutex mutex;
  std::string tls_errors;
  std::set<std::uint16_t> taken;  // QoS 2 messages that put() took and message_arrived() will bring again; on Paho's thread

  // Requests on their way, by the number that Paho carries as the user context. On the loop.
  std::map<std::uint64_t, std::function<void(int)>> publishes;
  std::map<std::uint64_t, std::function<void(std::vector<int>)>> subscribes;
  std::uint64_t next_request = 1;

  template <typename Task>
  void on_loop(Task task) {
    loop.post([self = shared_from_this(), task = std::move(task)] {
      if (self->owner_alive) task(*self);
    });
  }

  // ---- on Paho's threads
  // Paho's store, which keeps nothing: what Paho would keep until PUBREL, the whole packet, is an arrival.
  void put(const std::string&, const std::vector<::mqtt::string_view>& parts) override {
    std::string bytes;
    for (const auto& part : parts) bytes.append(part.data(), part.size());
    mqtt::Framer framer(SIZE_MAX);
    framer.push(bytes_of(bytes));
    mqtt::Packet packet;
    mqtt::Publish publish;
    mqtt::UserProperties properties;
    if (framer.next(packet) != mqtt::Framer::Next::packet || packet.type != mqtt::PacketType::publish) return;
    if (!mqtt::parse_publish(packet, static_cast<std::uint8_t>(options.version), publish, properties).ok()) return;  // message_arrived() takes it
    taken.insert(publish.packet_id);
    ArrivedMessage arrived;
    arrived.topic = publish.topic;
    arrived.payload = publish.payload;
    arrived.packet_id = publish.packet_id;
    arrived.qos = publish.qos;
    arrived.duplicate = publish.duplicate;
    arrived.retained = publish.retain;
    if (options.want_properties) arrived.user_properties.assign(properties.begin(), properties.end());
    if (events.arrived) events.arrived(arrived);
  }
  void open(const std::string&, const std::string&) override {}
  void close() override {}
  void clear() override {}
  bool contains_key(const std::string&) override { return false; }
  ::mqtt::string_collection keys() const override { return {}; }
  std::string get(const std::string&) const override { return {}; }
  void remove(const std::string&) override {}

  void message_arrived(::mqtt::const_message_ptr message) override {
    const MQTTAsync_message& c = c_message(*message);
    if (c.qos == 2 && taken.erase(static_cast<std::uint16_t>(c.msgid)) > 0) return;
    const std::string& topic = message->get_topic();
    const auto& payload = message->get_payload_ref();
    ArrivedMessage arrived;
    arrived.topic = topic;
    arrived.payload = bytes_of({payload.data(), payload.size()});
    arrived.packet_id = static_cast<std::uint16_t>(c.msgid);
    arrived.qos = static_cast<std::uint8_t>(c.qos);
    arrived.duplicate = c.dup != 0;
    arrived.retained = c.retained != 0;
    if (options.want_properties) {
      const ::mqtt::properties& properties = message->get_properties();
      const std::size_t count = properties.count(::mqtt::property::USER_PROPERTY);
      for (std::size_t i = 0; i < count; ++i) {
        auto [key, value] = ::mqtt::get<::mqtt::string_pair>(properties, ::mqtt::property::USER_PROPERTY, i);
        arrived.user_properties.emplace_back(std::move(key), std::move(value));
      }
    }
    if (events.arrived) events.arrived(arrived);
  }
  void connection_lost(const std::string& cause) override {
    on_loop([cause](Shared& self) {
      self.events.lost({false, 0, cause.empty() ? "connection lost" : "connection lost: " + cause});
    });
  }
  void on_success(const ::mqtt::token& token) override { finished(token, true); }
  void on_failure(const ::mqtt::token& token) override { finished(token, false); }

  void finished(const ::mqtt::token& token, bool ok) {
    const auto request = reinterpret_cast<std::uintptr_t>(token.get_user_context());
    switch (token.get_type()) {
      case ::mqtt::token::SUBSCRIBE: {
        std::vector<int> granted;
        if (ok) {
          const ::mqtt::subscribe_response response = token.get_subscribe_response();
          for (const auto code : response.get_reason_codes()) granted.push_back(static_cast<int>(code));
        } else if (token.get_reason_code() >= 128) {
          granted.push_back(token.get_reason_code());
        }
        on_loop([request, granted](Shared& self) {
          const auto found = self.subscribes.find(request);
          if (found == self.subscribes.end()) return;
          const auto done = std::move(found->second);
          self.subscribes.erase(found);
          done(granted);
        });
        return;
      }
      case ::mqtt::token::PUBLISH: {
        if (!ok) LOG_DEBUG("publish failed: ", token.get_return_code(), " ", static_cast<int>(token.get_reason_code()));
        const int code = ok ? static_cast<int>(token.get_reason_code()) : token.get_reason_code() >= 128 ? static_cast<int>(token.get_reason_code()) : -1;
        on_loop([request, code](Shared& self) { self.publish_done(request, code); });
        return;
      }
      default: return;
    }
  }

  void connect_succeeded(bool session_present) {
    on_loop([session_present](Shared& self) { self.events.connected(session_present); });
  }
  void connect_failed(int code, const char* message) {
    const std::lock_guard lock(mutex);
    const MqttFault fault = fault_of(code, message, options.version, options.tls.enabled, tls_errors);
    on_loop([fault](Shared& self) { self.events.failed(fault); });
  }

  // ---- on the loop
  void publish_done(std::uint64_t request, int code) {
    const auto found = publishes.find(request);
    if (found == publishes.end()) return;
    const auto done = std::move(found->second);
    publishes.erase(found);
    done(code);
  }
  void fail_requests() {
    const auto lost_publishes = std::exchange(publishes, {});
    const auto lost_subscribes = std::exchange(subscribes, {});
    for (const auto& [id, done] : lost_publishes) done(-1);
    for (const auto& [id, done] : lost_subscribes) done({});
  }

  // ---- on the worker
  void make_client() {
    const int version = options.version == 5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    // What Paho holds for us is bounded by our own batches in flight; its default of 100 messages would refuse the rest.
    const ::mqtt::create_options create(version, 60'000);
    const std::string uri = paho_uri(options.server);
    client = std::make_unique<::mqtt::async_client>(uri, options.client_id, create, events.arrived ? this : nullptr);
    client->set_callback(*this);  // before connecting: a message that arrives earlier would stick in Paho's own queue
  }

  // Paho C copies all it is given, but the pointer to `this`: it is used until the client is destroyed.
  int start_connect(const std::string& password) {
    static constexpr auto self_of = [](void* context) { return static_cast<Shared*>(context); };
    MQTTAsync_connectOptions connect = MQTTAsync_connectOptions_initializer;
    MQTTProperties properties = MQTTProperties_initializer;
    connect.context = this;
    if (options.version == 5) {
      connect = MQTTAsync_connectOptions_initializer5;
      connect.context = this;
      connect.cleanstart = options.clean_start;
      MQTTProperty expiry{};
      expiry.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL;
      expiry.value.integer4 = static_cast<unsigned>(std::min<std::int64_t>(std::chrono::duration_cast<std::chrono::seconds>(options.session_expiry).count(), UINT32_MAX));
      MQTTProperties_add(&properties, &expiry);
      if (options.receive_maximum > 0) {
        MQTTProperty maximum{};
        maximum.identifier = MQTTPROPERTY_CODE_RECEIVE_MAXIMUM;
        maximum.value.integer2 = options.receive_maximum;
        MQTTProperties_add(&properties, &maximum);
      }
      connect.connectProperties = &properties;
      connect.onSuccess5 = [](void* context, MQTTAsync_successData5* data) { self_of(context)->connect_succeeded(data->alt.connect.sessionPresent != 0); };
      connect.onFailure5 = [](void* context, MQTTAsync_failureData5* data) { self_of(context)->connect_failed(data->code, data->message); };
    } else {
      connect.MQTTVersion = MQTTVERSION_3_1_1;
      connect.cleansession = options.clean_start;
      connect.onSuccess = [](void* context, MQTTAsync_successData* data) { self_of(context)->connect_succeeded(data->alt.connect.sessionPresent != 0); };
      connect.onFailure = [](void* context, MQTTAsync_failureData* data) { self_of(context)->connect_failed(data->code, data->message); };
    }
    connect.keepAliveInterval = static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(options.keep_alive).count());
    connect.connectTimeout = static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(options.connect_timeout).count());
    connect.maxInflight = 1000;
    if (!options.username.empty()) connect.username = options.username.c_str();
    if (!password.empty()) {
      connect.binarypwd.data = password.data();
      connect.binarypwd.len = static_cast<int>(password.size());
    }
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    std::string key;
    if (options.tls.enabled) {
      if (options.tls.ca.empty()) ssl.CApath = "/etc/ssl/certs";
      else ssl.trustStore = options.tls.ca.c_str();
      if (!options.tls.cert.empty()) {
        ssl.keyStore = options.tls.cert.c_str();
        if (auto path = secret_path(options.tls.key); path.ok()) key = std::move(path).value();
        ssl.privateKey = key.c_str();
      }
      ssl.enableServerCertAuth = 1;
      ssl.verify = 1;  // the certificate must also name the host
      ssl.sslVersion = MQTT_SSL_VERSION_TLS_1_2;
      ssl.ssl_error_context = this;
      ssl.ssl_error_cb = [](const char* line, std::size_t size, void* context) {
        Shared& self = *self_of(context);
        const std::lock_guard lock(self.mutex);
        if (self.tls_errors.size() < 500) self.tls_errors += (self.tls_errors.empty() ? "" : "; ") + tls_reason({line, size});
        return 1;
      };
      connect.ssl = &ssl;
    }
    const int rc = MQTTAsync_connect(c_client(*client), &connect);
    MQTTProperties_free(&properties);
    return rc;
  }
};

PahoClient::PahoClient(Loop& loop, PahoOptions options, Events events)
    : loop_(loop), shared_(std::make_shared<Shared>(loop, std::move(options), std::move(events))) {}

PahoClient::~PahoClient() {
  if (shared_) close([] {});
}

void PahoClient::connect() {
  loop_.run_blocking(
      "paho",
      [shared = shared_] {
        MqttFault fault;
        try {
          shared->make_client();
          std::string password;
          if (shared->options.password.given()) {
            auto secret = read_secret(shared->options.password);
            if (!secret.ok()) fault = {true, 0, "password_file: " + secret.status().detail()};
            else password = std::move(secret).value();
          }
          if (fault.text.empty()) {
            const int rc = shared->start_connect(password);
            if (rc == MQTTASYNC_SUCCESS) return;
            const char* why = MQTTAsync_strerror(rc);
            fault.text = text("Paho: ", why ? why : "connect failed", " (", rc, ")");
          }
        } catch (const std::exception& error) {
          fault = {false, 0, text("Paho: ", error.what())};
        }
        shared->on_loop([fault](Shared& self) { self.events.failed(fault); });
      },
      [] {});
}

void PahoClient::subscribe(std::vector<std::string> filters, int qos, bool no_local, bool retained_on_new_only,
                           std::function<void(std::vector<int>)> done) {
  const std::uint64_t request = shared_->next_request++;
  shared_->subscribes.emplace(request, std::move(done));
  loop_.run_blocking(
      "paho",
      [shared = shared_, request, filters = std::move(filters), qos, no_local, retained_on_new_only] {
        try {
          std::vector<::mqtt::subscribe_options> options;
          if (shared->options.version == 5) {
            options.assign(filters.size(), ::mqtt::subscribe_options(no_local, ::mqtt::subscribe_options::NO_RETAIN_AS_PUBLISHED,
                                                                  retained_on_new_only ? ::mqtt::subscribe_options::SEND_RETAINED_ON_NEW
                                                                                       : ::mqtt::subscribe_options::SEND_RETAINED_ON_SUBSCRIBE));
          }
          shared->client->subscribe(::mqtt::string_collection::create(filters), std::vector<int>(filters.size(), qos),
                                    reinterpret_cast<void*>(static_cast<std::uintptr_t>(request)), *shared, options);
        } catch (const std::exception&) {
          shared->on_loop([request](Shared& self) {
            const auto found = self.subscribes.find(request);
            if (found == self.subscribes.end()) return;
            const auto failed = std::move(found->second);
            self.subscribes.erase(found);
            failed({});
          });
        }
      },
      [] {});
}

void PahoClient::publish(std::string topic, std::shared_ptr<const Bytes> payload, int qos, std::function<void(int)> done) {
  const std::uint64_t request = shared_->next_request++;
  shared_->publishes.emplace(request, std::move(done));
  loop_.run_blocking(
      "paho",
      [shared = shared_, request, topic = std::move(topic), payload = std::move(payload), qos] {
        try {
          auto message = ::mqtt::message::create(topic, payload->data(), payload->size(), qos, false, ::mqtt::properties{});
          shared->client->publish(message, reinterpret_cast<void*>(static_cast<std::uintptr_t>(request)), *shared);
        } catch (const std::exception& error) {
          LOG_DEBUG("publish: ", error.what());
          shared->on_loop([request](Shared& self) { self.publish_done(request, -1); });
        }
      },
      [] {});
}

void PahoClient::close(std::function<void()> destroyed) {
  auto shared = std::exchange(shared_, nullptr);
  MILLRACE_CHECK(shared);
  shared->fail_requests();
  shared->owner_alive = false;
  loop_.run_blocking(
      "paho",
      [shared] {
        // Destroying sends DISCONNECT and closes in one go, under Paho's lock. A disconnect() before it would let Paho go on
        // reading for a while, acknowledging messages into a queue of its own that nobody will see.
        shared->client.reset();
      },
      std::move(destroyed));
}

}  // namespace millrace
