#include "pipeline/live_payloads.h"

#include "pipeline/dead_letters.h"

namespace millrace {
namespace {

// All of it that comes from outside.
std::size_t size_of(const Record& letter) {
  const auto& dead = std::get<DeadDetail>(letter.detail->body);
  const DeadPublisher& by = dead.publisher;
  std::size_t bytes = dead.payload.size() + dead.channel.size() + by.client_id.size() + by.username.size() +
                      by.subject.size() + by.content_type.size();
  for (const auto& [name, value] : by.properties) bytes += name.size() + value.size();
  return bytes;
}

}  // namespace

void LivePayloads::keep(const Arrival& arrival, Instant now) {
  std::erase_if(watched_, [&](const auto& one) { return now - one.second.asked > asked_for; });
  const auto found = watched_.find(arrival.input);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  const std::uint64_t number = watched.next++;
  if (arrival.bytes.size() > bytes_max / 2) return;
  Record letter = DeadLetters::letter_of(arrival, "", {}, 0);
  const std::size_t bytes = size_of(letter);
  if (bytes > bytes_max / 2) return;
  watched.kept.emplace_back(number, std::move(letter));
  watched.bytes += bytes;
  while (watched.kept.size() > kept_max || watched.bytes > bytes_max) {
    watched.bytes -= size_of(watched.kept.front().second);
    watched.kept.pop_front();
  }
}

LivePayloads::Page LivePayloads::since(const std::string& input, std::uint64_t from, Instant now) {
  std::erase_if(watched_, [&](const auto& one) { return now - one.second.asked > asked_for; });
  Page page;
  if (!watched_.contains(input) && watched_.size() >= inputs_max) {
    page.refused = true;
    return page;
  }
  Watched& watched = watched_[input];
  watched.asked = now;
  page.next = watched.next;
  for (const auto& [number, letter] : watched.kept) {
    if (from != 0 && number >= from) page.letters.emplace_back(number, letter);
  }
  return page;
}

}  // namespace millrace
