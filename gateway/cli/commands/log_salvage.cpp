// millrace log salvage: mends the log, or prints what is whole of any segment file, which needs no log around
// it.
#include "base/text.h"
#include "base/utf8.h"
#include "cli/commands/log_session.h"
#include "log/salvage.h"
#include "record/batch.h"
#include "record/record_text.h"

namespace millrace {
namespace {

struct LogSalvage : AskOptions {
  std::string file;
};
using C = LogSalvage;
using O = OptionsOf<C>;
constexpr Option options[] = {O::config(), O::json(), O::operand<&C::file>("[FILE]").offers(Offer::files)};

int salvage_file(const std::string& path) {
  if (is_no_file(path)) return complain(exit_no_input, path + " is no file");
  const std::size_t slash = path.rfind('/');
  const auto folder = open_folder(slash == std::string::npos ? "." : path.substr(0, slash + 1));
  const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  if (folder->size_of(name) == 0) return complain(exit_no_input, path + " is not there, or empty");
  std::uint64_t records = 0, undecodable = 0;
  const Status status = salvage_rows(*folder, name, [&](const Row& row) {
    std::vector<Record> decoded;
    if (!decode_batch(*row.columns, row.zstd, decoded).ok()) {
      undecodable += row.count;
      return;
    }
    for (std::size_t i = 0; i < decoded.size(); ++i)
      print(record_as_json(row.first + i, row.lane, decoded[i]) + "\n");
    records += decoded.size();
  });
  if (!status.ok()) return complain(exit_no_input, shown(status.detail(), 4000));
  if (undecodable > 0) complain(0, text(undecodable, " records are whole on disk and cannot be decoded"));
  if (records + undecodable == 0)
    return complain(exit_no, text("0 whole records; is ", path, " a segment of a log (seg-....db)?"));
  return complain(exit_ok, text(records, " whole records"));
}

int run(const C& c) { return c.file.empty() ? show(c, "log.salvage", {}, true) : salvage_file(c.file); }

}  // namespace

extern const CommandKind log_salvage_command_kind;
const CommandKind log_salvage_command_kind = command_kind<C, run>(
    "log salvage", "Read everything and mend what is damaged; with a segment FILE: print what is whole of it",
    options);

}  // namespace millrace
