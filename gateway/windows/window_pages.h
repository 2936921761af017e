// Window state as it lies in the log: a head and pages of devices, in small pieces, of which a snapshot
// writes what changed. All pieces of a snapshot are one WriteSet, so they are of one moment. A page that is
// missing or damaged costs its devices' windows, nobody else's. Layouts are in the source file, next to the
// code that reads them.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "record/varint.h"
#include "windows/window_engine.h"

namespace millrace {

class WindowPages {
 public:
  static constexpr std::string_view prefix = "windows/";
  static constexpr std::size_t piece_bytes_max = 8 << 10;
  struct Piece {
    std::string name;
    Bytes bytes;  // empty: it is removed
  };
  struct Found {
    bool head = false;
    std::size_t pages_lost = 0;  // missing or damaged
    // for want of room: the configuration allows less than it did, or its aggregates take more
    std::size_t keys_dropped = 0;
  };

  // What changed since the last call, and the head: they belong into one WriteSet.
  static std::vector<Piece> take_changes(WindowEngine& engine);
  // About how many bytes that would be.
  static std::size_t changed_bytes(const WindowEngine& engine);
  // Of all pieces that are stored.
  static std::set<std::string> names(const WindowEngine& engine);
  // They did not get there: all of it is written the next time.
  static void all_changed(WindowEngine& engine);

  // Into a new engine. Windows whose definition changed start anew.
  static Found restore(WindowEngine& engine,
                       const std::function<std::optional<Bytes>(const std::string& name)>& read);
  // From the one blob of earlier versions. On error the engine is as it was made.
  static Status restore_blob(WindowEngine& engine, BytesView blob);

 private:
  // A window as a snapshot has it: which it is today, where the definition is the same, and which aggregates
  // its panes have.
  struct Stored {
    struct Aggregate {
      std::size_t bytes = 0;
      // of today's; none: it is not asked for any longer, or is of another size
      std::optional<std::size_t> item;
    };
    std::optional<std::uint16_t> today;
    std::vector<Aggregate> aggregates;
  };
  using StoredWindows = std::vector<Stored>;

  static Bytes encode_head(const WindowEngine& engine);
  static Bytes encode_page(const WindowEngine& engine, const WindowPage& page);
  static StoredWindows restore_windows(WindowEngine& engine, std::uint64_t version, wire::Reader& reader);
  static void decode_series(WindowEngine& engine, WindowDevice& device, const StoredWindows& stored,
                            wire::Reader& reader, std::size_t& dropped);
  static bool decode_page(WindowEngine& engine, WindowPage& page, BytesView bytes,
                          const StoredWindows& stored, std::size_t& dropped);
  static WindowKey* restore_key(WindowState& state, WindowSeries& series, std::uint16_t window,
                                std::uint64_t number);
  static void restore_panes(WindowState& state, WindowKey& key, WindowPanes panes);
  static void name_aggregates(const WindowAggregates& aggregates, wire::Writer& writer);
  static void find_aggregates(const WindowAggregates* today, wire::Reader& reader, Stored& window);
  static bool same_aggregates(const WindowAggregates& today, const Stored& window);
  static void only_the_summary(const WindowAggregates* today, Stored& window);
  static void put_pane(const WindowAggregates& aggregates, const WindowPanes& panes, const WindowPane& pane,
                       std::int64_t before, wire::Writer& writer);
  static std::int64_t get_pane(const WindowAggregates* today, const Stored& window, std::int64_t before,
                               wire::Reader& reader, WindowPanes& panes);
  static std::string piece_name(std::uint32_t page, std::uint32_t chunk);
};

}  // namespace millrace
