#include "net/event_streams.h"

#include "base/text.h"

namespace millrace {

std::string EventStreams::event(std::string_view name, std::string_view data) {
  return text("event: ", name, "\ndata: ", data, "\n\n");
}

void EventStreams::take(std::unique_ptr<Stream> stream, const std::string& first) {
  Listener& listener = *streams_.emplace_back(std::make_unique<Listener>());
  listener.stream = std::move(stream);
  listener.since = loop_.now();
  listener.stream->write(first);
  listener.stream->read([this, at = &listener](BytesView) { leave(at); });
}

void EventStreams::leave(const Listener* listener) {
  streams_.remove_if([listener](const auto& one) { return one.get() == listener; });
}

// What the kernel holds counts, too: on a slow link it would be a minute of old events.
bool EventStreams::is_behind(Listener& listener, std::size_t more) const {
  const std::size_t unread = listener.stream->unacknowledged_bytes();
  if (unread == 0 || unread + more <= options_.unread_max) {
    listener.behind_since.reset();
    return false;
  }
  if (!listener.behind_since) listener.behind_since = loop_.now();
  return true;
}

void EventStreams::send(const std::string& event) {
  const Instant now = loop_.now();
  for (auto at = streams_.begin(); at != streams_.end();) {
    Listener& listener = **at;
    if (now - listener.since >= options_.lasts_max) {  // it comes again
      at = streams_.erase(at);
      continue;
    }
    const bool behind = is_behind(listener, event.size());
    if (behind && now - *listener.behind_since >= options_.behind_max) {
      ++dropped_;
      at = streams_.erase(at);
      continue;
    }
    if (!behind) listener.stream->write(event);
    ++at;
  }
}

}  // namespace millrace
