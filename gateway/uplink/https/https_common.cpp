#include "uplink/https/https_common.h"

#include <algorithm>

#include "uplink/pace.h"
#include "uplink/wire_count.h"

namespace millrace {

HttpsSending::HttpsSending(Batch what, std::function<void(Outcome)> told, Instant now)
    : batch(std::move(what)), done(std::move(told)), begun(now) {
  open.resize(batch.rows.size());
  skipped.resize(batch.rows.size());
  probes = batch.control.count() > 0 ? 2 : 0;
}

void HttpsSending::note(std::uint32_t row, Verdict verdict, const std::string& reason) {
  open[row] = true;
  if (!outweighs(verdict, outcome.verdict)) return;
  outcome.verdict = verdict;
  outcome.reason = reason;
}

void HttpsSending::note_rest(Verdict verdict, const std::string& reason) {
  for (std::size_t row = begin.row; row < batch.rows.size(); ++row)
    note(static_cast<std::uint32_t>(row), verdict, reason);
}

HttpsCommon::HttpsCommon(Loop& on, HttpsUplinkConfig as, const std::string& gateway, std::uint64_t epoch,
                         Metrics& metrics)
    : loop(on),
      config(std::move(as)),
      kind(kind_of(config.dialect)),
      tls(loop, config.tls, {"uplink", config.name, "servers"}),
      login(config),
      coding(content_coding_of(config.compression)),
      growth(false, config.batch_size),
      wire(wire_count_of(config.name, metrics)),
      upload(loop, UploadRate(config.upload_max, config.batches_in_flight)) {
  for (const std::string& name : config.servers) {
    HttpUrl url = parse_http_url(name).value();
    auto dialect =
        kind.make(config.dialect.values.get(), {gateway, epoch, host_of(url), url.path, config.send_timeout});
    servers.push_back({name, std::move(url), std::move(dialect)});
  }
  const AwsAccess* access = kind.access ? kind.access(config.dialect.values.get()) : nullptr;
  if (access && access->of_role()) role = std::make_unique<AwsRole>(loop, *access);
  if (servers.front().dialect->of_rows()) growth = BatchGrowth(true, config.batch_size);
}

void HttpsCommon::finish(HttpsSending done) {
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < done.open.size(); ++i) {
    const Row& row = done.batch.rows[i];
    bytes += row.columns->size();
    if (done.open[i]) {
      done.outcome.open.push_back(i);
      continue;
    }
    stored.forget({row.first, row.last()});
    if (done.skipped[i] > 0) done.outcome.skipped.emplace_back(i, done.skipped[i]);
  }
  if (done.outcome.verdict == Verdict::acknowledged && server) {
    done.outcome.rest = std::max(server->dialect->every() - (loop.now() - done.begun), Duration{0});
  }
  const bool quick = loop.now() - done.begun < Pace::longest;
  const bool took = done.outcome.verdict == Verdict::acknowledged || done.outcome.some;
  if (took && done.asked && quick && growth.is_full(bytes)) growth.grow();
  done.outcome.unasked = !done.asked;
  done.done(std::move(done.outcome));
}

}  // namespace millrace
