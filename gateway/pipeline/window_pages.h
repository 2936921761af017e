// Window state as it lies in the log: a head and pages of devices, in small pieces, of which a snapshot writes what changed.
// All pieces of a snapshot are one WriteSet, so they are of one moment. A page that is missing or damaged costs its devices'
// windows, nobody else's. Layouts are in the source file, next to the code that reads them.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "pipeline/window_engine.h"

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
    std::size_t pages_lost = 0;     // missing or damaged
    std::size_t keys_dropped = 0;   // for want of room: the configuration allows less than it did
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
  static Found restore(WindowEngine& engine, const std::function<std::optional<Bytes>(const std::string& name)>& read);
  // From the one blob of earlier versions. On error the engine is as it was made.
  static Status restore_blob(WindowEngine& engine, BytesView blob);

 private:
  using Indices = std::vector<std::optional<std::uint16_t>>;  // stored window -> today's, where the definition is the same

  static Bytes encode_head(const WindowEngine& engine);
  static Bytes encode_page(const WindowEngine& engine, const WindowPage& page);
  static bool decode_page(WindowEngine& engine, WindowPage& page, BytesView bytes, const Indices& today, std::size_t& dropped);
  static WindowKey* restore_key(WindowState& state, WindowSeries& series, std::uint16_t window, std::uint64_t number);
  static void restore_panes(WindowState& state, WindowKey& key, std::vector<WindowPane> panes);
  static std::string piece_name(std::uint32_t page, std::uint32_t chunk);
};

}  // namespace millrace
