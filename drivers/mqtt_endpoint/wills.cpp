#include "drivers/mqtt_endpoint/wills.h"

#include "base/logger.h"
#include "drivers/mqtt_endpoint/state_names.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint64_t form = 1;

std::size_t size_of(const EndpointWills::Pending& will) {
  const auto& [device, username, subject] = will.publisher;
  return sizeof will + will.session.size() + device.size() + username.size() + subject.size() +
         will.will.topic.size() + will.will.payload.size();
}

// Varints and strings with their length: form, delay, size of the whole payload, device, user, subject,
// topic, payload.
Bytes encode(const EndpointWills::Pending& pending) {
  const auto& [device, username, subject] = pending.publisher;
  const EndpointConnection::Will& will = pending.will;
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const std::uint64_t number :
       {form, std::uint64_t{will.delay_seconds}, std::uint64_t{will.payload_bytes}})
    writer.put_varint(number);
  for (const std::string* words : {&device, &username, &subject, &will.topic, &will.payload}) {
    writer.put_varint(words->size());
    const BytesView view = bytes_of(*words);
    bytes.insert(bytes.end(), view.begin(), view.end());
  }
  return bytes;
}

bool decode(BytesView bytes, EndpointWills::Pending& out) {
  wire::Reader reader(bytes);
  if (reader.get_varint() != form) return false;
  out.will.delay_seconds = static_cast<std::uint32_t>(reader.get_varint());
  out.will.payload_bytes = static_cast<std::size_t>(reader.get_varint());
  for (std::string* words : {&out.publisher.device, &out.publisher.username, &out.publisher.subject,
                             &out.will.topic, &out.will.payload}) {
    *words = text_of(reader.get_bytes());
  }
  return reader.ok() && !out.will.topic.empty();
}

}  // namespace

std::string EndpointWills::state_name(const std::string& session) const {
  return endpoint_states(will_states, address_) + session;
}

void EndpointWills::load(const std::function<Instant(const std::string&, std::uint32_t)>& due) {
  const std::string prefix = state_name("");
  for (const std::string& name : intake_.states(prefix)) {
    const auto bytes = intake_.state(name);
    Pending will;
    will.session = name.substr(prefix.size());
    if (!bytes || !decode(*bytes, will)) {
      LOG_ERROR("input ", input_, ": the will kept as ", name, " cannot be read; it is not published");
      (void)intake_.put_state(name, {});
      put_ = true;
      continue;
    }
    will.due = due(will.session, will.will.delay_seconds);
    const std::size_t size = size_of(will);
    kept_[will.session] = size;
    kept_bytes_ += size;
    waiting_bytes_ += size;
    waiting_.push_back(std::move(will));
  }
}

bool EndpointWills::keep(const Pending& will) {
  forget(will.session);
  const std::size_t size = size_of(will);
  if (kept_bytes_ + size > kept_max_ || !intake_.put_state(state_name(will.session), encode(will)).ok())
    return false;
  kept_[will.session] = size;
  kept_bytes_ += size;
  return put_ = true;
}

void EndpointWills::forget(const std::string& session) {
  const auto found = kept_.find(session);
  if (found == kept_.end()) return;
  (void)intake_.put_state(state_name(session), {});  // removing is never refused
  put_ = true;
  kept_bytes_ -= found->second;
  kept_.erase(found);
}

bool EndpointWills::wait(const Pending& will) {
  const std::size_t size = size_of(will);
  if (waiting_bytes_ + size > bytes_max) return false;
  waiting_bytes_ += size;
  waiting_.push_back(will);
  return true;
}

template <typename Wanted>
std::list<EndpointWills::Pending> EndpointWills::take(Wanted wanted) {
  std::list<Pending> taken;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto will = at++;
    if (!wanted(*will)) continue;
    waiting_bytes_ -= size_of(*will);
    forget(will->session);
    taken.splice(taken.end(), waiting_, will);
  }
  return taken;
}

std::list<EndpointWills::Pending> EndpointWills::take_of(const std::string& session) {
  return take([&](const Pending& will) { return will.session == session; });
}

std::list<EndpointWills::Pending> EndpointWills::take_due(Instant now) {
  return take([&](const Pending& will) { return now >= will.due; });
}

std::list<EndpointWills::Pending> EndpointWills::take_unkept() {
  return take([&](const Pending& will) { return !kept(will.session); });
}

}  // namespace millrace
