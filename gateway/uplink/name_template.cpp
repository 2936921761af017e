#include "uplink/name_template.h"

#include "base/braces.h"
#include "base/text.h"

namespace millrace {

Result<NameTemplate> NameTemplate::parse(std::string_view source, bool of_records) {
  NameTemplate out;
  const auto literal = [&out](std::string_view words) {
    out.parts_.push_back({Part::literal, std::string(words)});
  };
  const auto named = [&out, of_records](std::string_view name) -> Status {
    Part part{Part::tag, std::string(name.starts_with("tag.") ? name.substr(4) : std::string_view{})};
    if (name == "gateway") part.kind = Part::gateway;
    else if (name == "lane") part.kind = Part::lane;
    else if (name == "device") part.kind = Part::device;
    else if (name == "metric") part.kind = Part::metric;
    else if (part.text.empty()) {
      const char* more = of_records ? ", {device}, {metric}, {tag.NAME}" : "";
      return {Code::invalid, text("there is no {", name, "}; there are {gateway}, {lane}", more)};
    }
    if (part.kind != Part::gateway && part.kind != Part::lane) {
      if (!of_records)
        return {Code::invalid, text("{", name,
                                    "} is of a record; a batch has many: {gateway} and "
                                    "{lane} can be used")};
      out.of_record_ = true;
    }
    out.parts_.push_back(std::move(part));
    return {};
  };
  if (Status status = walk_braces(source, literal, named); !status.ok()) return status;
  return out;
}

void NameTemplate::render(std::string_view gateway, Lane lane, const Record* record, std::string& out) const {
  out.clear();
  for (const Part& part : parts_) {
    switch (part.kind) {
      case Part::literal: out += part.text; break;
      case Part::gateway: out += gateway; break;
      case Part::lane: out += lane_name(lane); break;
      case Part::device: out += record->device; break;
      case Part::metric: out += record->metric; break;
      case Part::tag:
        for (const auto& [key, value] : record->tags) {
          if (key == part.text) out += value;
        }
    }
  }
}

}  // namespace millrace
