// Bytes and CPU of the columnar batch on the fleets of the budgets. Prints one JSON object a line: id, value,
// unit, beside, beside_value. CPU is this thread's, best of several rounds.
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "sim/fleet/series.h"
#include "tests/bench/measure.h"

using namespace millrace;

namespace {

constexpr std::size_t devices = 200, batch_size = 1000;

// Batches of 1,000 readings of 200 devices. `stamped`: each device has its phase and jitter, as arrival
// stamps in us have; otherwise a common grid of a second.
std::vector<Readings> fleet(const sim::Series& series, bool stamped, int metrics, std::size_t batches) {
  Rng rng(1);
  struct Event {
    std::int64_t time;
    std::uint32_t device;
    std::uint64_t n;
  };
  std::vector<Event> events;
  const std::int64_t start = 1'700'000'000'000'000;
  for (std::uint32_t d = 0; d < devices; ++d) {
    const auto phase = static_cast<std::int64_t>(rng.below(1'000'000));
    for (std::uint64_t n = 0; n < batches * batch_size / devices; ++n) {
      std::int64_t time = start + static_cast<std::int64_t>(n) * 1'000'000;
      if (stamped)
        time += phase + static_cast<std::int64_t>(rng.unit() * 1000 - 2000 * std::log(1 - rng.unit()));
      events.push_back({time, d, n});
    }
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const Event& a, const Event& b) { return a.time < b.time; });
  std::vector<Readings> out;
  for (std::size_t i = 0; i + batch_size <= events.size(); i += batch_size) {
    Readings& readings = out.emplace_back();
    for (std::size_t k = i; k < i + batch_size; ++k) {
      const Event& e = events[k];
      readings.add(e.device, static_cast<std::uint32_t>(e.device % static_cast<std::uint32_t>(metrics)),
                   e.time, series.value(e.device, e.n));
    }
  }
  return out;
}

double bytes_per_reading(const std::vector<Readings>& batches, bool compressed = true) {
  BatchEncoder encoder;
  std::size_t bytes = 0, readings = 0;
  std::vector<std::uint32_t> order;
  for (const Readings& batch : batches) {
    Bytes message;
    encoder.encode(batch, devices, 4, message, order);
    bytes += compressed ? close_batch(std::move(message)).bytes.size() : message.size();
    readings += batch.size();
  }
  return static_cast<double>(bytes) / static_cast<double>(readings);
}

std::size_t zstd_size(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  return ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1);
}

double json_bytes(const std::vector<Readings>& batches, bool compressed = true) {
  std::size_t bytes = 0, readings = 0;
  for (const Readings& batch : batches) {
    std::string text;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      JsonWriter json;
      json.begin_object()
          .member("device", "dev-" + std::to_string(batch.device[i]))
          .member("ts", batch.time_us[i]);
      json.member("value", std::bit_cast<double>(batch.bits[i])).end_object();
      text += json.text() + "\n";
    }
    bytes += compressed ? zstd_size(text) : text.size();
    readings += batch.size();
  }
  return static_cast<double>(bytes) / static_cast<double>(readings);
}

double record_bytes(const std::vector<Readings>& batches, bool compressed = true) {
  std::size_t bytes = 0, readings = 0;
  for (const Readings& batch : batches) {
    std::string all;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      Record record;
      record.device = std::to_string(batch.device[i]);
      record.metric = "v";
      record.time = {batch.time_us[i]};
      record.value = std::bit_cast<double>(batch.bits[i]);
      all += text_of(encode_record(record));
    }
    bytes += compressed ? zstd_size(all) : all.size();
    readings += batch.size();
  }
  return static_cast<double>(bytes) / static_cast<double>(readings);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string data = argc > 1 ? argv[1] : "sim/data";
  auto real = sim::Series::load("real", data, 1);
  auto walk = sim::Series::load("walk", data, 1);
  if (!real.ok() || !walk.ok()) {
    std::fprintf(stderr, "%s\n", real.ok() ? walk.status().detail().c_str() : real.status().detail().c_str());
    return 1;
  }
  const auto stamped = fleet(real.value(), true, 4, 22);
  if (argc > 2 && std::string(argv[2]) == "forms") {
    std::printf("the four real series on 200 devices, batches of 1,000, bytes a reading: plain, zstd 1\n");
    const auto on_grid = fleet(real.value(), false, 4, 22);
    for (const auto& [name, batches] :
         {std::pair{"arrival stamps in us", &stamped}, std::pair{"a common grid of 1 s", &on_grid}}) {
      std::printf("%-22s JSON lines %6.2f %6.2f   single records %6.2f %6.2f   columnar batch %6.2f %6.2f\n",
                  name, json_bytes(*batches, false), json_bytes(*batches), record_bytes(*batches, false),
                  record_bytes(*batches), bytes_per_reading(*batches, false), bytes_per_reading(*batches));
    }
    return 0;
  }
  print("bytes_real", bytes_per_reading(stamped), "bytes/reading", "JSON + zstd 1", json_bytes(stamped));
  const auto grid = fleet(walk.value(), false, 1, 22);
  print("bytes_grid", bytes_per_reading(grid), "bytes/reading", "single records + zstd 1",
        record_bytes(grid));
  const auto walk_stamped = fleet(walk.value(), true, 1, 22);
  print("bytes_stamped", bytes_per_reading(walk_stamped), "bytes/reading", "single records + zstd 1",
        record_bytes(walk_stamped));

  BatchEncoder encoder;
  std::vector<std::uint32_t> order;
  std::vector<EncodedBatch> encoded;
  const std::size_t readings = stamped.size() * batch_size;
  const double encode = best_ns(15, readings, [&] {
    encoded.clear();
    for (const Readings& batch : stamped) {
      Bytes message;
      encoder.encode(batch, devices, 4, message, order);
      encoded.push_back(close_batch(std::move(message)));
    }
  });
  const double nanopb = best_ns(15, readings / 11, [&] {
    for (std::size_t b = 0; b < stamped.size() / 11; ++b) {
      for (std::size_t i = 0; i < batch_size; ++i) {
        Record record;
        record.time = {stamped[b].time_us[i]};
        record.value = std::bit_cast<double>(stamped[b].bits[i]);
        if (encode_record(record).empty()) std::abort();
      }
    }
  });
  print("encode_cpu", encode, "ns/reading", "a nanopb record each", nanopb);
  const double decode = best_ns(15, readings, [&] {
    for (const EncodedBatch& batch : encoded) {
      auto message = open_batch(batch.bytes, batch.zstd);
      DecodedBatch out;
      if (!message.ok() || !decode_batch_columns(message.value(), batch_size, out).ok() ||
          out.readings.size() != batch_size)
        std::abort();
    }
  });
  std::vector<Bytes> singles;
  for (std::size_t i = 0; i < batch_size; ++i) {
    Record record;
    record.time = {stamped[0].time_us[i]};
    record.value = std::bit_cast<double>(stamped[0].bits[i]);
    singles.push_back(encode_record(record));
  }
  const double nanopb_decode = best_ns(15, batch_size, [&] {
    for (const Bytes& single : singles) {
      if (!decode_record(single).ok()) std::abort();
    }
  });
  print("decode_cpu", decode, "ns/reading", "a nanopb record each", nanopb_decode);
  return 0;
}
