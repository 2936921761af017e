#include "drivers/mqtt_endpoint/left_tickets.h"

#include "base/files.h"
#include "base/logger.h"
#include "base/text.h"

namespace millrace {

std::string LeftTickets::claim(std::string_view input) { return text("TLS tickets of ", input); }

void LeftTickets::look(const Keeper::Present& present) {
  if (looked_ && present.claims == claims_) return;
  const auto folder = open_folder(folder_);
  const auto names = folder->list();
  if (!names.ok()) return;  // at the next look
  looked_ = true;
  claims_ = present.claims;
  for (const std::string& name : names.value()) {
    if (!name.starts_with(ticket_files)) continue;
    if (claims_.contains(claim(std::string_view(name).substr(ticket_files.size())))) continue;
    if (Status gone = folder->remove(name); !gone.ok()) LOG_WARN("TLS: ", gone.detail());
    else LOG_INFO("TLS: the keys of session tickets in ", name, " are nobody's any more, and gone");
  }
}

}  // namespace millrace
