#include "mqtt/paho/paho_client.h"

#include <mqtt/async_client.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <set>

#include "base/logger.h"
#include "base/text.h"
#include "base/topic_filter.h"
#include "mqtt/packet.h"

namespace millrace {
namespace {

// An explicit instantiation may name a private member, and hands it out through a friend: the handle of Paho
// C. What goes past Paho C++ 1.2, and why: connect(), because its ssl_options leave Paho C with a pointer to
// an error handler that is gone when the handshake fails; subscribe(), because for several filters it gives
// Paho C a list of options that it does not have (paho.mqtt.cpp issue 524); the callbacks, because it has
// none for a DISCONNECT unless asked, hides the packet id of a message, and copies it.
template <auto Member>
struct OpenClient {
  friend MQTTAsync c_client(::mqtt::async_client& client) { return client.*Member; }
};
MQTTAsync c_client(::mqtt::async_client& client);
template struct OpenClient<&::mqtt::async_client::cli_>;

// Paho C writes a line for each packet unless it is told that only its errors are wanted, and makes OpenSSL
// ready, which nobody here asks it for: TLS is the door's.
void prepare_paho() {
  static const bool once = [] {
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;
    options.do_openssl_init = 0;
    MQTTAsync_global_init(&options);
    MQTTAsync_setTraceCallback([](enum MQTTASYNC_TRACE_LEVELS, char*) {});
    MQTTAsync_setTraceLevel(MQTTASYNC_TRACE_ERROR);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace

// Shared by the owner, the worker's tasks and the callbacks. `owner_alive` belongs to the loop.
struct PahoClient::Shared : std::enable_shared_from_this<PahoClient::Shared>,
                            ::mqtt::iaction_listener,
                            ::mqtt::iclient_persistence {
  Shared(Loop& l, PahoOptions o, Events e) : loop(l), options(std::move(o)), events(std::move(e)) {}

  Loop& loop;
  const PahoOptions options;
  const Events events;
  std::unique_ptr<::mqtt::async_client> client;  // made, used and destroyed on the worker
  bool owner_alive = true;
  // QoS 2 messages that put() took and message_arrived() will bring again; on Paho's thread
  std::set<std::uint16_t> taken;
  std::atomic<bool> given_up{false};  // nobody waits for this client any more

  // A SUBSCRIBE or UNSUBSCRIBE on its way: what Paho carries as the context of its callbacks. What a broker
  // refuses is asked for again for as long as the connection lasts, so those that were answered go.
  struct FilterRequest {
    FilterRequest(Shared* s, std::uint64_t r, std::size_t i) : self(s), request(r), index(i) {}
    Shared* self;
    std::uint64_t request;
    std::size_t index;
    std::atomic<bool> answered{false};  // by Paho, which calls once
  };
  std::deque<FilterRequest> filter_requests;  // on the worker

  // Requests on their way, by the number that Paho carries as the user context. On the loop.
  std::map<std::uint64_t, std::function<void(int)>> publishes;
  struct Subscribing {
    std::vector<int> granted;
    std::size_t left;
    std::function<void(std::vector<int>)> done;
  };
  std::map<std::uint64_t, Subscribing> subscribes;
  std::uint64_t next_request = 1;

  template <typename Task>
  void on_loop(Task task) {
    loop.post([self = shared_from_this(), task = std::move(task)] {
      if (self->owner_alive) task(*self);
    });
  }

  // ---- on Paho's threads
  // A message that the door has cut ends with its mark and the whole size.
  void deliver(ArrivedMessage& arrived) {
    constexpr std::size_t size_bytes = 8;
    const std::string_view payload = text_of(arrived.payload);
    const std::size_t tail = options.mark.size() + size_bytes;
    if (!options.mark.empty() && payload.size() >= tail &&
        payload.substr(payload.size() - tail, options.mark.size()) == options.mark) {
      for (const char byte : payload.substr(payload.size() - size_bytes))
        arrived.whole_bytes = arrived.whole_bytes << 8 | static_cast<unsigned char>(byte);
      arrived.payload = arrived.payload.first(payload.size() - tail);
    }
    if (events.arrived) events.arrived(arrived);
  }

  // Paho's store, which keeps nothing: what Paho would keep until PUBREL, the whole packet, is an arrival
  // ("r-7", "r5-7"). What it keeps besides are requests of ours ("c-") and its own queue ("q-"), whose bytes
  // could pass for a packet.
  void put(const std::string& key, const std::vector<::mqtt::string_view>& parts) override {
    if (!key.starts_with("r")) return;
    std::string bytes;
    for (const auto& part : parts) bytes.append(part.data(), part.size());
    mqtt::Framer framer(SIZE_MAX);
    framer.push(bytes_of(bytes));
    mqtt::Packet packet;
    mqtt::Publish publish;
    mqtt::UserProperties properties;
    if (framer.next(packet) != mqtt::Framer::Next::packet || packet.type != mqtt::PacketType::publish) return;
    // The door has judged it.
    if (!mqtt::parse_publish(packet, static_cast<std::uint8_t>(options.version), publish, properties,
                             mqtt::From::broker)
             .ok())
      return;
    taken.insert(publish.packet_id);
    ArrivedMessage arrived;
    arrived.topic = publish.topic;
    arrived.payload = publish.payload;
    arrived.packet_id = publish.packet_id;
    arrived.qos = publish.qos;
    arrived.duplicate = publish.duplicate;
    arrived.retained = publish.retain;
    if (options.want_properties) arrived.user_properties.assign(properties.begin(), properties.end());
    deliver(arrived);
  }
  void open(const std::string&, const std::string&) override {}
  void close() override {}
  void clear() override {}
  bool contains_key(const std::string&) override { return false; }
  ::mqtt::string_collection keys() const override { return {}; }
  std::string get(const std::string&) const override { return {}; }
  void remove(const std::string&) override {}

  void message_arrived(std::string_view topic, const MQTTAsync_message& message) {
    if (message.qos == 2 && taken.erase(static_cast<std::uint16_t>(message.msgid)) > 0) return;
    ArrivedMessage arrived;
    arrived.topic = topic;
    arrived.payload =
        bytes_of({static_cast<const char*>(message.payload), static_cast<std::size_t>(message.payloadlen)});
    arrived.packet_id = static_cast<std::uint16_t>(message.msgid);
    arrived.qos = static_cast<std::uint8_t>(message.qos);
    arrived.duplicate = message.dup != 0;
    arrived.retained = message.retained != 0;
    if (options.want_properties) {
      for (int i = 0; i < message.properties.count; ++i) {
        const MQTTProperty& property = message.properties.array[i];
        if (property.identifier != MQTTPROPERTY_CODE_USER_PROPERTY) continue;
        const MQTTLenString &name = property.value.data, &value = property.value.value;
        arrived.user_properties.emplace_back(std::string(name.data, static_cast<std::size_t>(name.len)),
                                             std::string(value.data, static_cast<std::size_t>(value.len)));
      }
    }
    deliver(arrived);
  }
  // The SUBACK or UNSUBACK for one filter; nothing: the request failed.
  void subscribed(const FilterRequest& filter, std::optional<int> code) {
    on_loop([request = filter.request, index = filter.index, code](Shared& self) {
      self.filter_answered(request, index, code);
    });
  }

  void on_success(const ::mqtt::token& token) override { finished(token, true); }
  void on_failure(const ::mqtt::token& token) override { finished(token, false); }

  void finished(const ::mqtt::token& token, bool ok) {
    if (token.get_type() != ::mqtt::token::PUBLISH) return;
    const auto request = reinterpret_cast<std::uintptr_t>(token.get_user_context());
    if (!ok)
      LOG_DEBUG("publish failed: ", token.get_return_code(), " ", static_cast<int>(token.get_reason_code()));
    const int code = ok                               ? static_cast<int>(token.get_reason_code())
                     : token.get_reason_code() >= 128 ? static_cast<int>(token.get_reason_code())
                                                      : -1;
    on_loop([request, code](Shared& self) { self.publish_done(request, code); });
  }

  void connect_succeeded(bool session_present) {
    on_loop([session_present](Shared& self) { self.events.connected(session_present); });
  }
  void connect_failed(const char* message) {
    const MqttFault fault{false, 0,
                          message && *message ? text("cannot connect: Paho: ", message) : "cannot connect"};
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
    for (const auto& [id, subscribing] : lost_subscribes) subscribing.done({});
  }
  void filter_answered(std::uint64_t request, std::size_t index, std::optional<int> code) {
    const auto found = subscribes.find(request);
    if (found == subscribes.end()) return;
    if (code) found->second.granted[index] = *code;
    if (code && --found->second.left > 0) return;
    const Subscribing subscribing = std::move(found->second);
    subscribes.erase(found);
    subscribing.done(code ? subscribing.granted : std::vector<int>{});
  }

  // ---- on the worker
  void make_client() {
    const int version = options.version == 5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    // What Paho holds for us is bounded by our own batches in flight; its default of 100 messages would
    // refuse the rest.
    const ::mqtt::create_options create(version, 60'000);
    const std::string uri = text("tcp://127.0.0.1:", options.port);
    client = std::make_unique<::mqtt::async_client>(uri, options.client_id, create,
                                                    events.arrived ? this : nullptr);
    // Before connecting: a message that arrives earlier would stick in Paho's own queue.
    MQTTAsync handle = c_client(*client);
    MQTTAsync_setCallbacks(
        handle, this, [](void*, char*) {},  // the door sees it, and why
        [](void* context, char* topic, int size, MQTTAsync_message* message) {
          // A size of 0 means that the topic ends with its NUL, which an empty one does as well.
          static_cast<Shared*>(context)->message_arrived(
              size > 0 ? std::string_view(topic, static_cast<std::size_t>(size)) : std::string_view(topic),
              *message);
          MQTTAsync_freeMessage(&message);
          MQTTAsync_free(topic);
          return 1;
        },
        nullptr);
  }

  // One SUBSCRIBE a filter. A SUBACK for several is told by Paho C in a list without its length (3.1.1), and
  // a failure among them as a success; with one filter a packet there is one code, and no packet above what a
  // broker takes unless its filter is.
  int ask_one(const std::string& filter, const std::optional<Subscription>& how, FilterRequest& request) {
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    static constexpr auto answered = [](void* context, std::optional<int> code) {
      auto& of = *static_cast<FilterRequest*>(context);
      of.self->subscribed(of, code);
      of.answered = true;  // it may be gone from here on
    };
    response.context = &request;
    if (options.version == 5) {
      // With a shared subscription it is a protocol error ([MQTT-3.8.3-4]), for which brokers hang up.
      const bool shared = topics_of_subscription(filter) != filter;
      response.subscribeOptions.noLocal = how && how->no_local && !shared;
      response.subscribeOptions.retainHandling = how && how->retained_on_new_only ? 1 : 0;  // section 3.8.3.1
      response.onSuccess5 = [](void* context, MQTTAsync_successData5* data) {
        answered(context, static_cast<int>(data->reasonCode));
      };
      response.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
        answered(context, data->reasonCode >= 128 ? std::optional<int>(data->reasonCode) : std::nullopt);
      };
    } else {
      // An UNSUBACK of 3.1.1 says nothing.
      if (how)
        response.onSuccess = [](void* context, MQTTAsync_successData* data) {
          answered(context, data->alt.qos);
        };
      else response.onSuccess = [](void* context, MQTTAsync_successData*) { answered(context, 0); };
      response.onFailure = [](void* context, MQTTAsync_failureData* data) {
        answered(context, data->code == 128 ? std::optional<int>(128) : std::nullopt);
      };
    }
    return how ? MQTTAsync_subscribe(c_client(*client), filter.c_str(), how->qos, &response)
               : MQTTAsync_unsubscribe(c_client(*client), filter.c_str(), &response);
  }

  // Paho C copies all it is given, but the pointer to `this`: it is used until the client is destroyed.
  int start_connect() {
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
      expiry.value.integer4 = static_cast<unsigned>(std::min<std::int64_t>(
          std::chrono::duration_cast<std::chrono::seconds>(options.session_expiry).count(), UINT32_MAX));
      MQTTProperties_add(&properties, &expiry);
      if (options.receive_maximum > 0) {
        MQTTProperty maximum{};
        maximum.identifier = MQTTPROPERTY_CODE_RECEIVE_MAXIMUM;
        maximum.value.integer2 = options.receive_maximum;
        MQTTProperties_add(&properties, &maximum);
      }
      if (options.packet_max > 0) {
        MQTTProperty maximum{};
        maximum.identifier = MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE;
        maximum.value.integer4 = options.packet_max;
        MQTTProperties_add(&properties, &maximum);
      }
      connect.connectProperties = &properties;
      connect.onSuccess5 = [](void* context, MQTTAsync_successData5* data) {
        self_of(context)->connect_succeeded(data->alt.connect.sessionPresent != 0);
      };
      connect.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
        self_of(context)->connect_failed(data->message);
      };
    } else {
      connect.MQTTVersion = MQTTVERSION_3_1_1;
      connect.cleansession = options.clean_start;
      connect.onSuccess = [](void* context, MQTTAsync_successData* data) {
        self_of(context)->connect_succeeded(data->alt.connect.sessionPresent != 0);
      };
      connect.onFailure = [](void* context, MQTTAsync_failureData* data) {
        self_of(context)->connect_failed(data->message);
      };
    }
    connect.keepAliveInterval =
        static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(options.keep_alive).count());
    // The owner of this client watches the time; Paho, which looks every three seconds, must not be first.
    connect.connectTimeout =
        static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(options.connect_timeout).count()) +
        5;
    connect.maxInflight = 1000;
    connect.username = options.token.c_str();
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
        if (shared->given_up) return;
        MqttFault fault;
        try {
          prepare_paho();
          shared->make_client();
          const int rc = shared->start_connect();
          if (rc == MQTTASYNC_SUCCESS) return;
          const char* why = MQTTAsync_strerror(rc);
          fault.text = text("Paho: ", why ? why : "connect failed", " (", rc, ")");
        } catch (const std::exception& error) { fault = {false, 0, text("Paho: ", error.what())}; }
        shared->on_loop([fault](Shared& self) { self.events.failed(fault); });
      },
      [] {});
}

void PahoClient::ask(std::vector<std::string> filters, std::optional<Subscription> how, Answered done) {
  const std::uint64_t request = shared_->next_request++;
  shared_->subscribes.emplace(
      request, Shared::Subscribing{std::vector<int>(filters.size()), filters.size(), std::move(done)});
  loop_.run_blocking(
      "paho",
      [shared = shared_, request, filters = std::move(filters), how] {
        auto& requests = shared->filter_requests;
        while (!requests.empty() && requests.front().answered) requests.pop_front();
        for (std::size_t i = 0; i < filters.size() && !shared->given_up; ++i) {
          auto& filter = requests.emplace_back(shared.get(), request, i);
          // Header, identifier, no properties, filter with its length, options.
          if (how && 5 + 2 + 1 + 2 + filters[i].size() + 1 > how->packet_max) {
            shared->subscribed(filter, mqtt::packet_too_large);
            filter.answered = true;
          } else if (!shared->client || shared->ask_one(filters[i], how, filter) != MQTTASYNC_SUCCESS) {
            return shared->subscribed(filter, std::nullopt);
          }
        }
      },
      [] {});
}

void PahoClient::publish(std::string topic, std::shared_ptr<const Bytes> payload, int qos,
                         std::function<void(int)> done) {
  const std::uint64_t request = shared_->next_request++;
  shared_->publishes.emplace(request, std::move(done));
  loop_.run_blocking(
      "paho",
      [shared = shared_, request, topic = std::move(topic), payload = std::move(payload), qos] {
        try {
          auto message = ::mqtt::message::create(topic, payload->data(), payload->size(), qos, false,
                                                 ::mqtt::properties{});
          shared->client->publish(message, reinterpret_cast<void*>(static_cast<std::uintptr_t>(request)),
                                  *shared);
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
  shared->given_up = true;
  // Destroying sends DISCONNECT and closes in one go, under Paho's lock; a disconnect() before it would let
  // Paho read on.
  loop_.run_blocking(
      "paho", [shared] { shared->client.reset(); }, std::move(destroyed));
}

}  // namespace millrace
