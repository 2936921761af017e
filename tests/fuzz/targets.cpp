// One fuzz target a build: MILLRACE_FUZZ_TARGET says which. Each takes foreign bytes into a parser of ours; crashing,
// hanging or taking memory without bound is the fault looked for, the sanitizers are the judge.
#include <cstdlib>

#include "base/text.h"
#include "config/load.h"
#include "decode/line_framer.h"
#include "decode/router.h"
#include "decode/timestamps.h"
#include "record/batch.h"
#include "record/record_proto.h"

using namespace millrace;

namespace {

void batch(BytesView bytes) {
  std::vector<Record> records;
  if (!decode_batch(bytes, false, records).ok()) return;
  // What was read must survive being written again.
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  if (builder.empty()) return;
  const EncodedBatch again = builder.encode(0, 0);
  std::vector<Record> twice;
  if (!decode_batch(again.bytes, again.zstd, twice).ok() || twice.size() != records.size()) std::abort();
}

void record(BytesView bytes) {
  auto decoded = decode_record(bytes);
  if (decoded.ok() && !decode_record(encode_record(decoded.value())).ok()) std::abort();
  (void)decode_envelope(bytes);
}

void json(BytesView bytes) {
  static const Router router = [] {
    RouteConfig all, named, each;
    all.topic = "a/{device}";
    all.time = "ts";
    named = all;
    named.topic = "b/{device}";
    named.quality = "q";
    named.metrics = {{"x", "a.b[1]", "", false}, {"y", "c", "", true}};
    each = all;
    each.topic = "c/{device}";
    each.each = "r[]";
    each.time = "$.ts";
    return std::move(Router::make({all, named, each})).value();
  }();
  for (const char* topic : {"a/d", "b/d", "c/d"}) {
    Arrival arrival;
    arrival.channel = topic;
    arrival.bytes = bytes;
    std::vector<Record> out(1);
    if (!router.decode(arrival, out).ok() && out.size() != 1) std::abort();
  }
}

void text_forms(BytesView bytes) {
  (void)parse_time_text(text_of(bytes));
  (void)parse_time_number(text_of(bytes), TimeFormat::automatic);
  (void)parse_duration(text_of(bytes));
  (void)parse_size(text_of(bytes));
  if (auto pattern = TopicPattern::parse(text_of(bytes)); pattern.ok()) {
    TopicMatch match;
    (void)pattern.value().matches(text_of(bytes), match);
  }
  LineFramer framer(16);
  framer.push(bytes, [](BytesView line) {
    if (line.size() > 16) std::abort();
  });
}

// ASCII only: toml++ 3.3 marks a branch of its whitespace test for U+00A0 to U+0499 as unreachable that is not (it then
// compares and says no). What of it we can keep from it is kept by config/toml.cpp.
void config(BytesView bytes) {
  for (const std::byte b : bytes) {
    if (static_cast<unsigned>(b) >= 0x80) return;
  }
  (void)load_config(std::string(text_of(bytes)), "fuzz.toml");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MILLRACE_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
