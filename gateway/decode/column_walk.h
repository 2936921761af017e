// Lists beside each other are columns: {"id": "a", "ts": [1, 2], "t": [20, 21]} becomes the messages {"id":
// "a", "ts": 1, "t": 20} and {"id": "a", "ts": 2, "t": 21}, as if they stood in a list. Stands between
// whoever reads the bytes and the walk. Where `each` leads to, there the lists are (the payload itself
// without it). A column that is shorter lacks its last cells; what is no list belongs to every row, and where
// there is no list at all it is one row. Cells keep the places that they have in the payload, so that a retry
// gives the same values, turned or not; what is repeated has a place a row, behind all others.
//
// Bounds: what is repeated for every row is refused where that makes more than repeated_max of it; a cell
// that is no bare value is refused.
#pragma once

#include <vector>

#include "base/lenient_json.h"
#include "decode/json_walk.h"
#include "decode/path_follower.h"

namespace millrace {

class ColumnWalk final : public LenientHandler {
 public:
  static constexpr std::size_t repeated_max = 200'000;
  static constexpr std::uint32_t repeated = 0x8000'0000;  // places from here on

  ColumnWalk(const JsonPlan& plan, JsonWalk& walk, Unread& unread)
      : path_(plan.columns_at), walk_(walk), unread_(unread) {
    walk_.also(&row_);
  }

  bool null() override { return value({Event::null, false, 0, {}}); }
  bool boolean(bool flag) override { return value({Event::truth, flag, 0, {}}); }
  bool number(std::string_view spelling) override { return value({Event::number, false, 0, spelling}); }
  bool string(std::string_view text) override { return value({Event::string, false, 0, text}); }
  bool unreadable(std::string_view token) override { return value({Event::unreadable, false, 0, token}); }
  bool key(std::string_view name) override;
  bool begin_object() override { return begin(Event::object); }
  bool end_object() override { return end(Event::object_end); }
  bool begin_array() override { return begin(Event::array); }
  bool end_array() override { return end(Event::array_end); }
  void skipped(std::string_view name, std::size_t values, std::string_view why) override;
  void broken(const std::string& why) override;

  const Status& fault() const { return fault_; }

 private:
  struct Event {
    enum Kind : std::uint8_t {
      nothing,
      null,
      truth,
      number,
      string,
      unreadable,
      key,
      object,
      object_end,
      array,
      array_end
    } kind;
    bool flag = false;
    std::uint32_t place = 0;
    std::string_view text;
  };
  struct Column {
    std::string_view name;
    bool list = false;
    std::vector<Event> events;  // of a list its cells
  };

  bool value(Event event);
  bool begin(Event::Kind kind);
  bool end(Event::Kind kind);
  bool tell(const Event& event);
  bool tell_rows();
  bool tell_row(std::size_t row, std::uint32_t first);

  PathFollower path_;
  JsonWalk& walk_;
  Unread& unread_;
  std::size_t depth_ = 0;  // inside of the columns: 0 is outside, 1 between them, 2 in one
  std::vector<Column> columns_;
  std::uint32_t place_ = 0, columns_from_ = 0, cell_from_ = 0;
  std::size_t repeated_ = 0;                // events for each row
  std::uint32_t repeated_from_ = repeated;  // where the next document's begin
  ValueRuns row_;                           // the values of the row that is told
  Status fault_;
};

}  // namespace millrace
