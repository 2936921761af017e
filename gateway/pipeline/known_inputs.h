// The inputs as the pipeline knows them, by name: how the payloads of each become records, under which
// configuration, what it remembers, what it counts, and how something is said back. On the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/handle.h"
#include "base/metrics.h"
#include "decode/router.h"
#include "ingest/decode.h"
#include "ingest/intake.h"
#include "ingest/mapped_inbox.h"
#include "log/log.h"
#include "pipeline/input_memory.h"
#include "pipeline/retained_values.h"
#include "pipeline/stamp_order.h"

namespace millrace {

// One configuration of an input. `through`: the last ticket of the inbox that is its; what was put later is
// its successor's.
struct InputDecoder {
  std::uint64_t id;
  Decode decode;
  bool retained_once;
  Ticket through = UINT64_MAX;
  bool current() const { return through == UINT64_MAX; }
};

struct KnownInput {
  KnownInput(std::string of, const Log& log, Metrics& metrics);

  // Whose payload it is; null: of none that is known.
  const InputDecoder* decoder_of(Ticket ticket) const {
    for (const InputDecoder& decoder : decoders) {
      if (ticket <= decoder.through) return &decoder;
    }
    return nullptr;
  }

  const std::string name;
  std::deque<InputDecoder> decoders;  // the oldest first; the last one is in the configuration, if any is
  StampOrder stamps;
  RetainedValues retained;
  std::shared_ptr<InputMemory> memory;  // of the formats that have one; outlives their configurations
  bool latin1_told = false, retained_told = false;
  Counter *payloads, *records, *undecodable, *retained_dropped, *no_value, *ignored, *latin1, *suppressed;
  Gauge* retained_topics;
};

class KnownInputs {
 public:
  using Say = std::function<bool(const Saying&)>;

  KnownInputs(MappedInbox& inbox, Log& log, Metrics& metrics) : inbox_(inbox), log_(log), metrics_(metrics) {}

  // What Pipeline::set_input and set_voice promise.
  Handle add(const std::string& name, Decode decode, bool retained_once);
  Handle add(const std::string& name, std::shared_ptr<const Router> router, bool retained_once);
  Handle set_voice(const std::string& name, Say say);

  KnownInput* find(std::string_view name) { return last_ && last_->name == name ? last_ : look_up(name); }
  // Whether it was said, by the input's driver.
  bool say(const std::string& name, const Saying& reply);
  // The inbox's entries up to here are decoded: whoever is no longer configured and has none behind it goes.
  // What is known of his retained messages and not saved yet joins the set.
  void drop_finished(Ticket done_through, WriteSet& set);
  // What formats remember of what was offered, or of what the inbox gave, joins the set; with the latter what
  // is known of retained messages, too.
  void save_memories(bool offered, WriteSet& set);
  void save_retained(WriteSet& set, Instant now, bool stopping);
  // Removes what the log still has of inputs that are no longer configured, or whose formats remember nothing
  // any more.
  void drop_old_memories();
  // Whether that nobody knows this input is to be told: once, of so many names.
  bool tell_unknown(std::string_view name);

 private:
  KnownInput* look_up(std::string_view name);
  KnownInput& known(const std::string& name);
  void end(const std::string& name, std::uint64_t id);

  MappedInbox& inbox_;
  Log& log_;
  Metrics& metrics_;
  std::map<std::string, KnownInput, std::less<>> inputs_;
  std::map<std::string, std::pair<std::uint64_t, Say>, std::less<>> voices_;
  // they are not configured, and had something in the inbox
  std::set<std::string, std::less<>> told_unknown_;
  std::uint64_t next_id_ = 1;   // of decoders and voices
  KnownInput* last_ = nullptr;  // who was found last
};

}  // namespace millrace
