#include "record/fit_letter.h"

#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

constexpr std::size_t always_fits = 64 << 10;  // half a row of the smallest log
constexpr std::size_t beside_max = 4 << 10;    // what a record takes in a row beside itself
constexpr std::size_t run_bytes_max = 16;      // of values that are missing, as they are encoded
constexpr std::size_t channel_max = 1000;

std::size_t bytes_at_most(const DeadDetail& dead) {
  const DeadPublisher& by = dead.publisher;
  std::size_t bytes = dead.payload.size() + dead.channel.size() + dead.missing.size() * run_bytes_max +
                      by.client_id.size() + by.username.size() + by.subject.size() + by.content_type.size();
  for (const auto& [name, value] : by.properties) bytes += name.size() + value.size() + run_bytes_max;
  return bytes;
}

}  // namespace

Status whole_letter(const DeadDetail& letter) {
  if (letter.whole_size == 0) return {};
  return {Code::invalid,
          text("only the first ", letter.payload.size(), " of its ", letter.whole_size, " bytes were kept")};
}

// Of a small log a payload of an eighth of it is too large, and so may be what its publisher says of itself.
void make_fit(Record& letter, std::size_t row_bytes_max) {
  const auto* whole = letter.detail ? std::get_if<DeadDetail>(&letter.detail->body) : nullptr;
  const auto fits = [&letter, row_bytes_max] {
    return encode_record(letter).size() + beside_max <= row_bytes_max;
  };
  if (!whole || bytes_at_most(*whole) <= always_fits || fits()) return;
  auto detail = std::make_shared<Detail>(*letter.detail);
  auto& dead = std::get<DeadDetail>(detail->body);
  if (dead.whole_size == 0) dead.whole_size = dead.payload.size();
  dead.payload.resize(std::min(dead.payload.size(), letter_head_bytes));
  dead.missing.resize(std::min<std::size_t>(dead.missing.size(), 1));  // it is never read again
  letter.detail = detail;
  if (!fits()) dead.publisher.properties = {};
  if (!fits()) dead.publisher = {};
  if (!fits()) dead.channel = cut_utf8(dead.channel, channel_max);
}

}  // namespace millrace
