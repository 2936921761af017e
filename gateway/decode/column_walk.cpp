#include "decode/column_walk.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

bool ColumnWalk::key(std::string_view name) {
  if (depth_ == 1) {
    columns_.push_back({name, false, {}});
    return true;
  }
  if (depth_ > 1) {
    if (!columns_.back().list) columns_.back().events.push_back({Event::key, false, 0, name});
    return true;
  }
  path_.key(name);
  return walk_.key(name);
}

bool ColumnWalk::value(Event event) {
  event.place = place_++;
  if (depth_ == 0) {
    (void)path_.value();
    return tell(event);
  }
  Column& column = columns_.back();
  if (!column.list || depth_ == 2) column.events.push_back(event);
  return true;
}

bool ColumnWalk::begin(Event::Kind kind) {
  if (depth_ == 0) {
    if (path_.value() && kind == Event::object) {
      depth_ = 1;
      columns_.clear();
      columns_from_ = place_;
      return true;
    }
    path_.enter(kind == Event::array);
    return tell({kind, false, 0, {}});
  }
  if (depth_ >= static_cast<std::size_t>(JsonWalk::depth_max)) {
    fault_ = {Code::invalid, "nested too deeply"};
    return false;
  }
  Column& column = columns_.back();
  if (depth_ == 1 && kind == Event::array) column.list = true;
  else if (!column.list) column.events.push_back({kind, false, 0, {}});
  else if (depth_ == 2) cell_from_ = place_;
  ++depth_;
  return true;
}

bool ColumnWalk::end(Event::Kind kind) {
  if (depth_ == 0) {
    path_.leave();
    walk_.at(place_);
    return tell({kind, false, 0, {}});
  }
  if (--depth_ == 0) return tell_rows();
  Column& column = columns_.back();
  if (!column.list) {
    column.events.push_back({kind, false, 0, {}});
  } else if (depth_ == 2) {
    if (place_ > cell_from_)
      unread_.refuse({cell_from_, place_}, column.name, "a cell of a column that is no bare value");
    column.events.push_back({Event::nothing, false, 0, {}});
  }
  return true;
}

bool ColumnWalk::tell(const Event& event) {
  switch (event.kind) {
    case Event::key: return walk_.key(event.text);
    case Event::object: return walk_.begin_object();
    case Event::object_end: return walk_.end_object();
    case Event::array: return walk_.begin_array();
    case Event::array_end: return walk_.end_array();
    default: break;
  }
  walk_.at(event.place);
  switch (event.kind) {
    case Event::null: return walk_.null();
    case Event::truth: return walk_.boolean(event.flag);
    case Event::number: return walk_.number(event.text);
    case Event::string: return walk_.string(event.text);
    case Event::unreadable: return walk_.unreadable(event.text);
    default: return true;
  }
}

bool ColumnWalk::tell_rows() {
  std::size_t rows = 0;
  bool lists = false;
  repeated_ = 0;
  std::erase_if(columns_, [&](const Column& column) {
    lists = lists || column.list;
    if (column.list) rows = std::max(rows, column.events.size());
    else repeated_ += column.events.size();
    return column.events.empty();
  });
  if (!lists && !columns_.empty()) rows = 1;
  if (repeated_ > 0 && rows > repeated_max / repeated_) {
    fault_ = {Code::invalid, text("columns: ", repeated_, " values would belong to each of ", rows, " rows")};
    return false;
  }
  bool on = walk_.begin_array();
  for (std::size_t row = 0; row < rows && on; ++row) {
    // Only those that go on: a row costs what it has, however many columns there are.
    std::erase_if(columns_, [&](const Column& column) { return column.list && row >= column.events.size(); });
    on = tell_row(row, columns_from_);
  }
  columns_.clear();
  repeated_from_ += static_cast<std::uint32_t>(rows * repeated_);
  walk_.at(place_);
  return on && walk_.end_array();
}

bool ColumnWalk::tell_row(std::size_t row, std::uint32_t first) {
  walk_.at(first);
  bool on = walk_.begin_object();
  std::uint32_t again = repeated_from_ + static_cast<std::uint32_t>(row * repeated_);
  for (const Column& column : columns_) {
    if (!on) break;
    const auto begin = column.events.begin() + static_cast<std::ptrdiff_t>(column.list ? row : 0);
    const auto end = column.list ? begin + 1 : column.events.end();
    if (begin->kind == Event::nothing) continue;
    on = walk_.key(column.name);
    for (auto event = begin; event != end && on; ++event) {
      Event told = *event;
      if (told.kind >= Event::null && told.kind <= Event::unreadable) {
        if (!column.list) told.place = again++;
        row_.push_back({told.place, told.place + 1});
      } else if (!column.list) {
        walk_.at(again);  // what an object or list holds begins here, and ends
      }
      on = tell(told);
    }
  }
  walk_.at(first);
  return on && walk_.end_object();
}

void ColumnWalk::skipped(std::string_view name, std::size_t values, std::string_view why) {
  walk_.at(place_);
  walk_.skipped(name, values, why);
  place_ += static_cast<std::uint32_t>(values);
}

// What has come of columns is refused with the rest: a row may be half there.
void ColumnWalk::broken(const std::string& why) {
  walk_.at(place_);
  if (depth_ > 0) unread_.missing.push_back({columns_from_, place_});
  walk_.broken(why);
  place_ = walk_.places();
  depth_ = 0;
  columns_.clear();
  path_.clear();
}

}  // namespace millrace
