// A subscriber on the same Paho version whose callback does nothing: what the library itself costs.
#include <mqtt/async_client.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>

struct Nothing : mqtt::callback {
  std::atomic<long> count{0};
  void message_arrived(mqtt::const_message_ptr) override { count.fetch_add(1, std::memory_order_relaxed); }
};

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const long wanted = std::atol(argv[2]);
  mqtt::async_client client(std::string("tcp://127.0.0.1:") + argv[1], "null",
                            mqtt::create_options(MQTTVERSION_5), nullptr);
  Nothing nothing;
  client.set_callback(nothing);
  mqtt::connect_options options;
  options.set_mqtt_version(MQTTVERSION_5);
  options.set_clean_start(true);
  client.connect(options)->wait();
  client.subscribe("plant/#", 1)->wait();
  while (nothing.count < wanted) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return 0;
}
