#include "pipeline/input_watch.h"

#include "base/logger.h"

namespace millrace {

InputWatch::InputWatch(Metrics& metrics, const std::string& input, std::shared_ptr<const Router> router)
    : router_(std::move(router)) {
  // Registered once: an input that was removed has a watch until what it brought is decoded, and its series
  // stays retired.
  Gauge& absent = metrics.gauge(
      "millrace_input_absent_metrics",
      "What routes want by path, metrics, times, qualities and lists, and no payload has had yet",
      {{"input", input}});
  scrape_ = metrics.before_scrape(
      [&absent, router = router_] { absent.set(static_cast<double>(router->absent())); });
  router_->listen(
      {[&metrics, input](std::string_view what) {
         metrics
             .counter(
                 "millrace_input_schema_total",
                 "Readings that were not as the route's schema says: unexpected, of another type, unit or range",
                 {{"input", input}, {"what", std::string(what)}})
             .add();
       },
       [input](const std::string& line) { LOG_WARN("input ", input, ": ", line); }});
}

// Whoever still decodes by the router then is not heard any more.
InputWatch::~InputWatch() { router_->listen({}); }

}  // namespace millrace
