// Names made of a record's names: "{gateway}.{lane}", literals and names in braces. Topics, keys,
// measurements and paths of every uplink are such. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "record/record.h"

namespace millrace {

// {gateway} and {lane}; `of_records`: also {device}, {metric} and {tag.NAME}. A name that a record lacks is
// empty.
class NameTemplate {
 public:
  // `invalid`, with words for whoever wrote it, where a name is none.
  static Result<NameTemplate> parse(std::string_view source, bool of_records);
  // `record`: may be none where of_record() is false.
  void render(std::string_view gateway, Lane lane, const Record* record, std::string& out) const;
  bool of_record() const { return of_record_; }  // it names something of a record

 private:
  struct Part {
    enum Kind : std::uint8_t { literal, gateway, lane, device, metric, tag } kind;
    std::string text;
  };
  std::vector<Part> parts_;
  bool of_record_ = false;
};

}  // namespace millrace
