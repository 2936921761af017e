#include "tests/bench/other_decoders.h"

#include <cbor.h>
#include <csv.h>
#include <simdjson.h>

#include <cstdlib>

#include "others_sparkplug.pb.h"  // protoc's for C++, not nanopb's

namespace millrace::others {
namespace {

double seen = 0;  // so that nobody leaves the work out

std::size_t values_of(simdjson::ondemand::value value) {
  std::size_t values = 0;
  switch (value.type()) {
    case simdjson::ondemand::json_type::object:
      for (auto field : value.get_object()) {
        seen += static_cast<double>(std::string_view(field.unescaped_key()).size());
        values += values_of(field.value());
      }
      return values;
    case simdjson::ondemand::json_type::array:
      for (auto element : value.get_array()) values += values_of(element.value());
      return values;
    case simdjson::ondemand::json_type::number: seen += double(value.get_double()); return 1;
    case simdjson::ondemand::json_type::string:
      seen += static_cast<double>(std::string_view(value.get_string()).size());
      return 1;
    case simdjson::ondemand::json_type::boolean: seen += bool(value.get_bool()); return 1;
    default: return 1;
  }
}

std::size_t values_of(const cbor_item_t* item) {
  std::size_t values = 0;
  switch (cbor_typeof(item)) {
    case CBOR_TYPE_MAP:
      for (std::size_t i = 0; i < cbor_map_size(item); ++i) {
        const cbor_pair& pair = cbor_map_handle(item)[i];
        seen += static_cast<double>(cbor_string_length(pair.key));
        values += values_of(pair.value);
      }
      return values;
    case CBOR_TYPE_ARRAY:
      for (std::size_t i = 0; i < cbor_array_size(item); ++i) values += values_of(cbor_array_handle(item)[i]);
      return values;
    case CBOR_TYPE_UINT: seen += static_cast<double>(cbor_get_int(item)); return 1;
    case CBOR_TYPE_STRING: seen += static_cast<double>(cbor_string_length(item)); return 1;
    case CBOR_TYPE_FLOAT_CTRL:
      seen += cbor_float_ctrl_is_ctrl(item) ? 0 : cbor_float_get_float(item);
      return 1;
    default: return 1;
  }
}

}  // namespace

std::size_t json(const std::vector<std::string>& payloads) {
  static simdjson::ondemand::parser parser;
  std::string padded;
  std::size_t values = 0;
  try {
    for (const std::string& payload : payloads) {
      padded.assign(payload);
      padded.reserve(payload.size() + simdjson::SIMDJSON_PADDING);
      auto document =
          parser.iterate(simdjson::padded_string_view(padded.data(), padded.size(), padded.capacity()));
      if (document.type() == simdjson::ondemand::json_type::object) {
        for (auto field : document.get_object()) {
          seen += static_cast<double>(std::string_view(field.unescaped_key()).size());
          values += values_of(field.value());
        }
      } else {
        for (auto element : document.get_array()) values += values_of(element.value());
      }
    }
  } catch (const simdjson::simdjson_error&) { return 0; }
  return values;
}

std::size_t cbor(const std::vector<std::string>& payloads) {
  std::size_t values = 0;
  for (const std::string& payload : payloads) {
    cbor_load_result result{};
    cbor_item_t* item =
        cbor_load(reinterpret_cast<const unsigned char*>(payload.data()), payload.size(), &result);
    if (!item) return 0;
    values += values_of(item);
    cbor_decref(&item);
  }
  return values;
}

std::size_t csv(const std::vector<std::string>& payloads) {
  std::size_t values = 0;
  for (const std::string& payload : payloads) {
    csv_parser parser;
    if (csv_init(&parser, CSV_APPEND_NULL) != 0) return 0;
    const auto cell = [](void* text, std::size_t size, void* count) {
      const char* begin = static_cast<const char*>(text);
      char* end = nullptr;
      const double number = std::strtod(begin, &end);
      seen += end == begin + size ? number : 0;
      ++*static_cast<std::size_t*>(count);
    };
    if (csv_parse(&parser, payload.data(), payload.size(), cell, nullptr, &values) != payload.size())
      return 0;
    csv_fini(&parser, cell, nullptr, &values);
    csv_free(&parser);
  }
  return values;
}

std::size_t sparkplug(const std::vector<std::string>& payloads) {
  static ::others::sparkplug::Payload message;
  std::size_t values = 0;
  for (const std::string& payload : payloads) {
    if (!message.ParseFromString(payload)) return 0;
    for (const auto& metric : message.metrics()) {
      seen += metric.has_double_value()
                  ? metric.double_value()
                  : static_cast<double>(metric.long_value() + metric.string_value().size());
      ++values;
    }
  }
  return values;
}

}  // namespace millrace::others
