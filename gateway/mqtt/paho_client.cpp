#include "mqtt/paho_client.h"

#include <mqtt/async_client.h>

#include <map>
#include <mutex>

#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"

namespace millrace {
namespace {

// Paho C++ 1.2 keeps the packet id of an arrived message in its C struct and gives no way to it. An explicit instantiation
// may name a private member, and hands it out through a friend.
template <auto Member>
struct OpenMessage {
  friend const MQTTAsync_message& c_message(const mqtt::message& message) { return message.*Member; }
};
const MQTTAsync_message& c_message(const mqtt::message& message);
template struct OpenMessage<&mqtt::message::msg_>;

std::string paho_uri(const std::string& server) {
  const bool tls = server.starts_with("mqtts://");
  std::string rest = server.substr(tls ? 8 : 7);
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string::npos || rest.ends_with(']')) rest += tls ? ":8883" : ":1883";
  return (tls ? "ssl://" : "tcp://") + rest;
}

MqttFault fault_of(const mqtt::token& token, int version, bool tls, const std::string& tls_errors) {
  MqttFault fault;
  fault.reason_code = token.get_reason_code();
  const int rc = token.get_return_code();
  static constexpr const char* connack[] = {"", "protocol version refused", "client id refused", "server unavailable",
                                            "wrong user name or password", "not authorised"};
  if (version < 5 && rc >= 1 && rc <= 5) {  // MQTT 3.1.1, section 3.2.2.3
    fault.text = connack[rc];
    fault.needs_person = rc != 3;
  } else if (fault.reason_code >= 128) {
    fault.text = reason_text(fault.reason_code);
    switch (fault.reason_code) {
      case 132: case 133: case 134: case 135: case 138: case 140: fault.needs_person = true; break;
      default: break;
    }
  } else if (tls && !tls_errors.empty()) {
    fault.text = "TLS: " + tls_errors;
    fault.needs_person = tls_errors.find("certificate") != std::string::npos || tls_errors.find("verify") != std::string::npos;
  } else {
    fault.text = tls ? "cannot connect, or the TLS handshake failed" : "cannot connect";
  }
  return fault;
}

}  // namespace

std::string reason_text(int code) {
  switch (code) {
    case 128: return "unspecified error";
    case 131: return "the broker refuses for reasons of its own";
    case 132: return "the broker does not speak this version of MQTT";
    case 133: return "client id refused";
    case 134: return "wrong user name or password";
    case 135: return "not authorised";
    case 136: return "server unavailable";
    case 137: return "server busy";
    case 138: return "banned";
    case 139: return "server shutting down";
    case 142: return "another client took over this client id";
    case 144: return "topic refused";
    case 147: return "receive maximum exceeded";
    case 149: return "packet too large";
    case 150: return "message rate too high";
    case 151: return "quota exceeded";
    case 153: return "payload format refused";
    default: return text("MQTT reason code ", code);
  }
}

// Shared by the owner, the worker's tasks and the callbacks. `owner_alive` belongs to the loop.
struct PahoClient::Shared : std::enable_shared_from_this<PahoClient::Shared>, mqtt::callback, mqtt::iaction_listener {
  Shared(Loop& l, PahoOptions o, Events e) : loop(l), options(std::move(o)), events(std::move(e)) {}

  Loop& loop;
  const PahoOptions options;
  const Events events;
  std::unique_ptr<mqtt::async_client> client;  // made, used and destroyed on the worker
  bool owner_alive = true;
  bool connected = false;                      // on the loop
  std::mutex mutex;
  std::string tls_errors;

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
  void message_arrived(mqtt::const_message_ptr message) override {
    const MQTTAsync_message& c = c_message(*message);
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
      const mqtt::properties& properties = message->get_properties();
      const std::size_t count = properties.count(mqtt::property::USER_PROPERTY);
      for (std::size_t i = 0; i < count; ++i) {
        auto [key, value] = mqtt::get<mqtt::string_pair>(properties, mqtt::property::USER_PROPERTY, i);
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
  void on_success(const mqtt::token& token) override { finished(token, true); }
  void on_failure(const mqtt::token& token) override { finished(token, false); }

  void finished(const mqtt::token& token, bool ok) {
    const auto request = reinterpret_cast<std::uintptr_t>(token.get_user_context());
    switch (token.get_type()) {
      case mqtt::token::CONNECT:
        if (ok) {
          const bool session = token.get_connect_response().is_session_present();
          on_loop([session](Shared& self) {
            // Paho C++ 1.2 reports one successful connect twice.
            if (!std::exchange(self.connected, true)) self.events.connected(session);
          });
        } else {
          const std::lock_guard lock(mutex);
          const MqttFault fault = fault_of(token, options.version, options.tls.enabled, tls_errors);
          on_loop([fault](Shared& self) { self.events.failed(fault); });
        }
        return;
      case mqtt::token::SUBSCRIBE: {
        std::vector<int> granted;
        if (ok) {
          const mqtt::subscribe_response response = token.get_subscribe_response();
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
      case mqtt::token::PUBLISH: {
        const int code = ok ? static_cast<int>(token.get_reason_code()) : token.get_reason_code() >= 128 ? static_cast<int>(token.get_reason_code()) : -1;
        on_loop([request, code](Shared& self) { self.publish_done(request, code); });
        return;
      }
      default: return;
    }
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
    const mqtt::create_options create(version);
    const std::string uri = paho_uri(options.server);
    if (options.persistence_dir.empty()) client = std::make_unique<mqtt::async_client>(uri, options.client_id, create, nullptr);
    else client = std::make_unique<mqtt::async_client>(uri, options.client_id, create, options.persistence_dir);
    client->set_callback(*this);  // before connecting: a message that arrives earlier would stick in Paho's own queue
  }

  mqtt::connect_options connect_options() {
    mqtt::connect_options connect;
    if (options.version == 5) {
      connect.set_mqtt_version(MQTTVERSION_5);
      connect.set_clean_start(options.clean_start);
      mqtt::properties properties;
      const auto expiry = std::min<std::int64_t>(std::chrono::duration_cast<std::chrono::seconds>(options.session_expiry).count(), UINT32_MAX);
      properties.add(mqtt::property(mqtt::property::SESSION_EXPIRY_INTERVAL, static_cast<std::int32_t>(expiry)));
      if (options.receive_maximum > 0) properties.add(mqtt::property(mqtt::property::RECEIVE_MAXIMUM, options.receive_maximum));
      connect.set_properties(std::move(properties));
    } else {
      connect.set_mqtt_version(MQTTVERSION_3_1_1);
      connect.set_clean_session(options.clean_start);
    }
    connect.set_keep_alive_interval(std::chrono::duration_cast<std::chrono::seconds>(options.keep_alive));
    connect.set_connect_timeout(std::chrono::duration_cast<std::chrono::seconds>(options.connect_timeout));
    connect.set_max_inflight(1000);
    connect.set_automatic_reconnect(false);
    if (options.tls.enabled) {
      mqtt::ssl_options ssl;
      if (options.tls.ca.empty()) ssl.ca_path("/etc/ssl/certs");
      else ssl.set_trust_store(options.tls.ca);
      if (!options.tls.cert.empty()) {
        ssl.set_key_store(options.tls.cert);
        if (auto path = secret_path(options.tls.key); path.ok()) ssl.set_private_key(path.value());
      }
      ssl.set_enable_server_cert_auth(true);
      ssl.set_verify(true);  // the certificate must also name the host
      ssl.set_ssl_version(MQTT_SSL_VERSION_TLS_1_2);
      ssl.set_error_handler([weak = weak_from_this()](const std::string& error) {
        if (const auto self = weak.lock()) {
          const std::lock_guard lock(self->mutex);
          if (self->tls_errors.size() < 500) self->tls_errors += (self->tls_errors.empty() ? "" : "; ") + std::string(trim(error));
        }
      });
      connect.set_ssl(std::move(ssl));
    }
    return connect;
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
        MqttFault fault{true, 0, ""};
        try {
          shared->make_client();
          mqtt::connect_options connect = shared->connect_options();
          if (!shared->options.username.empty()) connect.set_user_name(shared->options.username);
          if (shared->options.password.given()) {
            auto password = read_secret(shared->options.password);
            if (!password.ok()) fault.text = "password_file: " + password.status().detail();
            else connect.set_password(mqtt::binary_ref(std::move(password).value()));
          }
          if (fault.text.empty()) {
            shared->client->connect(connect, nullptr, *shared);
            return;
          }
        } catch (const std::exception& error) {
          fault.text = text("Paho: ", error.what());
          fault.needs_person = false;
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
          std::vector<mqtt::subscribe_options> options;
          if (shared->options.version == 5) {
            options.assign(filters.size(), mqtt::subscribe_options(no_local, mqtt::subscribe_options::NO_RETAIN_AS_PUBLISHED,
                                                                  retained_on_new_only ? mqtt::subscribe_options::SEND_RETAINED_ON_NEW
                                                                                       : mqtt::subscribe_options::SEND_RETAINED_ON_SUBSCRIBE));
          }
          shared->client->subscribe(mqtt::string_collection::create(filters), std::vector<int>(filters.size(), qos),
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

void PahoClient::publish(std::string topic, std::shared_ptr<const Bytes> payload, int qos, Properties properties,
                         std::string content_type, std::function<void(int)> done) {
  const std::uint64_t request = shared_->next_request++;
  shared_->publishes.emplace(request, std::move(done));
  loop_.run_blocking(
      "paho",
      [shared = shared_, request, topic = std::move(topic), payload = std::move(payload), qos, properties = std::move(properties),
       content_type = std::move(content_type)] {
        try {
          mqtt::properties props;
          if (shared->options.version == 5) {
            if (!content_type.empty()) props.add(mqtt::property(mqtt::property::CONTENT_TYPE, content_type));
            for (const auto& [name, value] : properties) props.add(mqtt::property(mqtt::property::USER_PROPERTY, name, value));
          }
          auto message = mqtt::message::create(topic, payload->data(), payload->size(), qos, false, props);
          shared->client->publish(message, reinterpret_cast<void*>(static_cast<std::uintptr_t>(request)), *shared);
        } catch (const std::exception&) {
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
        if (!shared->client) return;
        try {
          if (shared->client->is_connected()) {
            // Paho sends DISCONNECT at once; acknowledgements already written go out before it.
            shared->client->disconnect(500)->wait_for(std::chrono::seconds(2));
          }
        } catch (const std::exception&) {  // it was gone already
        }
        shared->client.reset();
      },
      std::move(destroyed));
}

}  // namespace millrace
